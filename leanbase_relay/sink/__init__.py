"""The sink: a local stand-in for Leanbase, as strict as the real capture service.

For trying the relay without an account, and the upstream of the project's tests.
It takes what the real service takes, refuses what it refuses, with the same
statuses and texts, stores under the same key, and misbehaves when a script says so::

    with Sink(script=Script().then(Fault.answer(503, retry_after=1))) as sink:
        ...                                 # point a relay or an SDK at sink.url
        assert sink.wait_for(1, within_seconds=5)

The way of a request: ``wire`` reads it, ``service`` finds who takes it.

- Protocol v0, ``v0``: ``body`` unwraps it (``inflate``, ``lz64``), ``strict_json``
  parses it, ``envelope`` finds its events, ``judge`` decides about them.
- Protocol v1, ``v1``: ``v1_context`` reads the headers, ``v1_batch`` decides about the
  events, ``v1_results`` says so.
- ``bend`` makes of an honest outcome what a ``fault`` wants; ``script`` says which
  fault, ``script_file`` reads a script from YAML.
- ``log`` keeps what came and what was stored; ``server`` has the threads.

Not here: br and zstd on v1 (415), quotas, TLS, and whatever ingestion does after the
service said 200.
"""

from leanbase_relay.sink.fault import Fault, Ruling
from leanbase_relay.sink.limits import Limits
from leanbase_relay.sink.log import Counts, Request
from leanbase_relay.sink.row import Row
from leanbase_relay.sink.script import Script, Step
from leanbase_relay.sink.server import Sink

__all__ = [
    "Counts",
    "Fault",
    "Limits",
    "Request",
    "Row",
    "Ruling",
    "Script",
    "Sink",
    "Step",
]
