"""Says that it is ready, asks for /health every 20 ms until its stdin ends, then prints what it saw as JSON.

Usage: health.py PORT PID. `late_ms` is how late the machine woke this process from its own
timer: what a process that has nothing to do with the server had to wait for a processor.
"""

import json
import select
import socket
import sys
import time

from server import Figures

PORT, PID = int(sys.argv[1]), int(sys.argv[2])
EVERY, PATIENCE = 0.020, 20.0
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(connection):
    connection.sendall(REQUEST)
    data = b""
    while b"\r\n\r\n" not in data:
        data += more(connection)
    head, body = data.split(b"\r\n\r\n", 1)
    lengths = [int(l.split(b":")[1]) for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += more(connection)
    if not head.startswith(b"HTTP/1.1 200"):
        raise OSError(head[:40])


def more(connection):
    data = connection.recv(65536)
    if not data:
        raise OSError("closed")
    return data


def main():
    times, late, failed, connection = [], [], 0, None
    memory = threads = files = 0
    print("ready", flush=True)
    due = time.perf_counter()
    while not times or not select.select([sys.stdin], [], [], 0)[0]:
        due = max(due + EVERY, time.perf_counter())
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        late.append(1e3 * (start - due))
        # A connection may be closed between two requests; then another one is opened.
        for attempt in range(2):
            try:
                connection = connection or socket.create_connection(("127.0.0.1", PORT), PATIENCE)
                ask(connection)
                break
            except OSError:
                if connection:
                    connection.close()
                connection = None
                failed += attempt
        times.append(1e3 * (time.perf_counter() - start))
        try:
            now = Figures.of(PID)
        except (OSError, KeyError):
            break
        memory, threads, files = max(memory, now.memory), max(threads, now.threads), max(files, now.files)
    print(json.dumps({"ms": times, "late_ms": late, "failed": failed, "memory": memory, "threads": threads, "files": files}))


main()
