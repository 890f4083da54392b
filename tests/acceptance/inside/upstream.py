"""Inside the machine: a sink that writes down what it took, a line for each request."""

import json
import sys
import threading

from leanbase_relay.sink import Request, Sink

PORT = 8020


def main(path: str) -> None:
    with open(path, "a", buffering=1) as book:  # noqa: PTH123 - a line at a time

        def note(request: Request) -> None:
            if request.status == 200:
                key = json.loads(request.body)["api_key"]
                names = [event["event"] for event in request.events]
                book.write(json.dumps({"key": key, "names": names}) + "\n")

        with Sink(PORT, keep="counts", on_request=note):
            threading.Event().wait()


main(sys.argv[1])
