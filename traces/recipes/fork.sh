#!/bin/sh
# Workload: a fork storm. Generations of processes that live at the same time, fork one child each, run a program, and
# die in another order. Allocates task_struct, stacks, mm_struct, vm_area_struct, anon_vma, pids, files and page tables.
set -eu
exec /usr/bin/python3 - "${1:-4}" "${2:-22}" <<'PYTHON'
import os, random, signal, sys, time

generations, width = int(sys.argv[1]), int(sys.argv[2])
random.seed(1)

def child():
    if os.fork() == 0:
        os.execv("/bin/true", ["true"])
    os.wait()
    signal.pause()

for _ in range(generations):
    pids = []
    for _ in range(width):
        pid = os.fork()
        if pid == 0:
            child()
            os._exit(0)
        pids.append(pid)
    random.shuffle(pids)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
time.sleep(0.2)  # RCU frees the last of them
PYTHON
