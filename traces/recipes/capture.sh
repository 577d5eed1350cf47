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

# The whole machine is recorded: wait, CALM_SECONDS at most, until it has been four fifths idle for half a second.
idle_percent() {
	awk 'NR == FNR { idle = $5; for (i = 2; i <= NF; i++) all += $i; nextfile }
		{ for (i = 2; i <= NF; i++) now += $i; print int(100 * ($5 - idle) / (now - all + 0.001)); exit }' "$1" "$2"
}
wait_until_calm() {
	before=$(mktemp)
	for _ in $(seq $((2 * ${CALM_SECONDS:-60}))); do
		head -n 1 /proc/stat >"$before"
		sleep 0.5
		[ "$(head -n 1 /proc/stat | idle_percent "$before" -)" -lt 80 ] || break
	done
	rm -f "$before"
}

for name in "$@"; do
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	wait_until_calm
	"$kmemlab" capture -o "$out/$name.kmt" --interval 100ms --note "$(note "$name")" -- "traces/recipes/$name.sh"
	"$kmemlab" info "$out/$name.kmt" | grep -E '^(events|file bytes|snapshots)|lost' | sed "s/^/$name: /"
done
