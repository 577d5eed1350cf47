#!/bin/sh
# Workload: walk a file system and look at every entry, twice. The first walk fills the dentry and inode caches from
# disk, the second finds them full. Allocates dentry, inode and directory-block objects that live on; little is freed.
set -eu
LC_ALL=C
export LC_ALL

# Folders of some eight thousand entries together that a machine with a compiler and Python has.
roots="/usr/lib/python3/dist-packages/numpy /usr/lib/python3/dist-packages/pandas /usr/lib/python3/dist-packages/scipy /usr/include/linux"
scan() {
	# shellcheck disable=SC2086
	find $roots -xdev -size +1000000k -print
}

scan
sleep 0.1
scan
