#!/bin/sh
# Workload: thousands of TCP connections on the loopback interface, in waves: each wave is opened as a whole, used, and
# closed in another order. Allocates sockets, their inodes and dentries, TCP state and packet buffers; much of it is
# freed by RCU, some time after.
set -eu
exec /usr/bin/python3 - "${1:-6}" "${2:-250}" <<'PYTHON'
import random, socket, sys, time

waves, connections = int(sys.argv[1]), int(sys.argv[2])
random.seed(1)
server = socket.create_server(("127.0.0.1", 0), backlog=connections)
address = server.getsockname()
for wave in range(waves):
    pairs = []
    for _ in range(connections):
        client = socket.create_connection(address)
        pairs.append((client, server.accept()[0]))
    for client, peer in pairs:
        client.sendall(b"x" * random.choice((64, 512, 4000)))
        peer.recv(4096)
    random.shuffle(pairs)
    for client, peer in pairs[: connections * 9 // 10 if wave < waves - 1 else connections]:
        client.close()
        peer.close()
    # A tenth stays open until the next wave is gone: long-lived objects among short-lived ones.
    kept = pairs[connections * 9 // 10 :]
server.close()
time.sleep(0.2)  # RCU frees the last of them
PYTHON
