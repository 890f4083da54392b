"""Send an event from Python without any package: ``python3 send_plain.py [SOCKET]``."""

import json
import socket
import sys
import uuid
from datetime import datetime, timezone

event = {
    "event": "order placed",
    "distinct_id": "user-1",
    "uuid": str(uuid.uuid4()),  # made here, and may be sent again: it counts once
    "timestamp": datetime.now(timezone.utc).isoformat(),
    "properties": {"total": 12.5},
}
with socket.socket(socket.AF_UNIX) as relay:
    relay.settimeout(1)
    relay.connect(sys.argv[1] if sys.argv[1:] else "/run/leanbase-relay/relay.sock")
    relay.sendall(json.dumps(event, allow_nan=False).encode() + b"\n")
    print(relay.recv(4096).decode(), end="")  # {"stored":1,"refused":0}
