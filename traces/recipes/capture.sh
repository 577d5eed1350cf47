#!/bin/sh
# Record the traces that are shipped in traces/: capture.sh [KMEMLAB [NAME...]], from the top of the source, as root.
#
# Each is recorded on a machine whose caches were dropped, so that the trace begins with few live objects, and is
# refused when the kernel lost events. Needs: a compiler, Python 3, find; about ten seconds a trace.
set -eu
kmemlab=${1:-build/kmemlab}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- fs-scan compile sockets fork reclaim
out=${OUT:-traces}

note() {
	sed -n '2,/^set /s/^# \{0,1\}//p' "traces/recipes/$1.sh" | tr '\n' ' ' | sed 's/^Workload: //; s/ *$//'
}

for name in "$@"; do
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	"$kmemlab" capture -o "$out/$name.kmt" --interval 200ms --note "$(note "$name")" -- "traces/recipes/$name.sh"
	"$kmemlab" info "$out/$name.kmt" | grep -E '^(events|file bytes|snapshots)|lost' | sed "s/^/$name: /"
done
