#!/bin/sh
# Workload: scan, reclaim, scan. Fills the dentry and inode caches, has the kernel drop them while one file in forty is
# held open, so that single objects keep slabs alive that are otherwise empty, and fills them again. Needs root.
set -eu
exec /usr/bin/python3 - "${1:-3500}" <<'PYTHON'
import os, sys, time

def scan(limit):
    paths = []
    for folder, _, names in os.walk("/usr/lib/python3/dist-packages"):
        for name in names:
            path = os.path.join(folder, name)
            os.lstat(path)
            paths.append(path)
            if len(paths) == limit:
                return paths
    return paths

files = int(sys.argv[1])
held = [open(path, "rb") for path in scan(files)[::40]]
time.sleep(0.15)
with open("/proc/sys/vm/drop_caches", "w") as drop:
    drop.write("2\n")
time.sleep(0.15)
scan(files)
for file in held:
    file.close()
time.sleep(0.15)
with open("/proc/sys/vm/drop_caches", "w") as drop:
    drop.write("2\n")
scan(files)
PYTHON
