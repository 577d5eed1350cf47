"""Bytes alive at the busiest moment of a trace: kmemlab export TRACE.kmt -o t.npz; python3 traces/examples/read_npz.py t.npz"""
import sys
import numpy as np

z = np.load(sys.argv[1])
op = z["op_name"][z["op"]]
change = z["size_bytes"].astype("i8") * ((op == b"alloc").astype("i8") - (op == b"free"))
alive = np.cumsum(change)
peak = alive.argmax()
print(f"{len(op)} events, {len(z['cache_name'])} caches; {alive[peak]} bytes of objects alive at {z['time_ns'][peak] / 1e9:.6f} s")
