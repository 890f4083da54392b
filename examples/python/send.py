"""Send an event from Python: ``python3 send.py [SOCKET]``; needs this package."""

import sys

from leanbase_relay.client import SOCKET_PATH, Client

relay = Client(socket_path=sys.argv[1] if sys.argv[1:] else SOCKET_PATH)

outcome = relay.capture("user-1", "order placed", {"total": 12.5, "plan": "pro"})

print(outcome.became, outcome.uuid, outcome.reason)
