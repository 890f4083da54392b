"""Inside the machine: producers that must not be refused, and remember what was stored.

Each connects, sends one event, waits for `stored`, hangs up, and begins anew, until
standard input ends. What is not answered is sent again, as an app would that wants to
lose nothing. Standard library alone: it runs on the machine's own Python.
"""

import json
import select
import socket
import sys
import threading
import time
from collections import Counter

SOCKET = "/run/leanbase-relay/relay.sock"
PRODUCERS = 4
WITHIN_SECONDS = 60.0

ended = threading.Event()
lock = threading.Lock()
troubles = Counter()
waits = []


def main(prefix, path):
    with open(path, "a", buffering=1) as book:  # noqa: PTH123 - a line at a time
        threads = [
            threading.Thread(target=produce, args=(f"{prefix}-{number}", book))
            for number in range(PRODUCERS)
        ]
        for thread in threads:
            thread.start()
        select.select([sys.stdin], [], [])
        ended.set()
        for thread in threads:
            thread.join()
    said = {
        "troubles": troubles,
        "stored": len(waits),
        "longest": max(waits, default=0),
    }
    print(json.dumps(said))


def produce(prefix, book):
    number = 0
    while not ended.is_set():
        name = f"{prefix}-{number}"
        began = time.monotonic()
        while not stored(name):
            if time.monotonic() - began > WITHIN_SECONDS:
                trouble("given up")
                return
        with lock:
            waits.append(time.monotonic() - began)
            book.write(name + "\n")
        number += 1
        ended.wait(0.002)


def stored(name):
    """Whether the relay said so; False if the connection ended before."""
    line = json.dumps({"event": name, "distinct_id": "u"}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(WITHIN_SECONDS)
        try:
            sock.connect(SOCKET)
        except OSError as error:
            trouble(f"refused: {error}")
            ended.wait(0.05)
            return False
        try:
            sock.sendall(line)
            answer = sock.recv(4096)
        except OSError as error:
            # A relay that stops may hang up on what it has not read: nothing was
            # promised.
            trouble(f"cut off: {error}")
            return False
    return b'"stored":1' in answer


def trouble(kind):
    with lock:
        troubles[kind] += 1


main(*sys.argv[1:])
