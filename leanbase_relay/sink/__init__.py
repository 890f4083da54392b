"""The sink: a local stand-in for Leanbase, as strict as the real capture service.

For trying the relay without an account, and the upstream of the project's tests.
It takes what the real service takes, refuses what it refuses, with the same
statuses and texts, stores under the same key, and misbehaves when a script says so::

    with Sink(script=Script().then(Fault.answer(503, retry_after=1))) as sink:
        ...                                 # point a relay or an SDK at sink.url
        assert sink.wait_for(1, within_seconds=5)

The way of a request: ``wire`` reads it, ``body`` unwraps it, ``strict_json`` parses
it, ``envelope`` finds its events, ``judge`` decides about them, ``log`` keeps what
came and what was stored. ``service`` is that order, ``server`` its threads.

Not here: protocol v1 (404, as from a server without it), lz64 (refused with 400),
quotas, TLS, and whatever ingestion does after the service said 200.
"""

from leanbase_relay.sink.judge import Row
from leanbase_relay.sink.limits import Limits
from leanbase_relay.sink.log import Counts, Request
from leanbase_relay.sink.script import Fault, Script
from leanbase_relay.sink.server import Sink

__all__ = ["Counts", "Fault", "Limits", "Request", "Row", "Script", "Sink"]
