"""A producer for tests: one client, used by threads and, after forks, by children.

``python forking_producer.py SOCKET SPOOL CHILDREN ENOUGH``. It sends until the file
ENOUGH is there, and prints what became of each event.
"""

import os
import sys
import threading
import time
from pathlib import Path

from leanbase_relay.client import Client, Outcome

THREADS = 2
MOST_SECONDS = 60.0


def say(outcome: Outcome) -> None:
    """In one write, which does not mix with those of other processes."""
    line = f"{outcome.uuid} {outcome.became} {outcome.reason}\n"
    os.write(sys.stdout.fileno(), line.encode())


def produce(client: Client, enough: Path) -> None:
    number = 0
    ends = time.monotonic() + MOST_SECONDS  # even if who started us died
    while not enough.exists() and time.monotonic() < ends:
        outcome = client.capture(f"user-{os.getpid()}", "order placed", {"n": number})
        say(outcome)
        number += 1
        # The relay is to have its share of the machine.
        time.sleep(0.05 if outcome.became == "spooled" else 0.001)


def started(client: Client, enough: Path) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=produce, args=(client, enough)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    return threads


def main(socket: str, spool: str, children: str, enough: str) -> int:
    client = Client(socket_path=socket, spool_path=spool, timeout_seconds=20)
    say(client.capture("parent", "begun"))  # the connection that the children inherit
    threads = started(client, Path(enough))
    pids = []
    for _ in range(int(children)):  # amid what the threads do
        pid = os.fork()
        if not pid:
            for thread in started(client, Path(enough)):
                thread.join()
            os._exit(0)
        pids.append(pid)
    for thread in threads:
        thread.join()
    return sum(os.waitpid(pid, 0)[1] for pid in pids)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
