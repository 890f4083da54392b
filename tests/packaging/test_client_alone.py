"""What apps import is the client and the standard library, and no more."""

import json
import subprocess
import sys
import threading

from leanbase_relay import client
from leanbase_relay.config import SocketConfig, SpoolConfig

LOOK = """
import sys
before = set(sys.modules)
import leanbase_relay.client
import json, threading
told = {
    "modules": sorted(set(sys.modules) - before),
    "threads": [thread.name for thread in threading.enumerate()],
}
print(json.dumps(told))
"""


def test_importing_it_brings_the_standard_library_alone_and_no_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK], capture_output=True, check=True
    )

    told = json.loads(done.stdout)
    others = {
        name
        for name in told["modules"]
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert others == {"leanbase_relay", "leanbase_relay.client"}
    assert told["threads"] == [threading.main_thread().name]


def test_its_paths_are_those_of_a_relay_that_is_not_configured_otherwise() -> None:
    assert SocketConfig().path == client.SOCKET_PATH
    assert SpoolConfig().path == client.SPOOL_PATH


def test_its_functions_are_those_of_a_client_at_these_paths() -> None:
    names = ("capture", "pageview", "identify", "alias", "group_identify")

    clients = {getattr(client, name).__self__ for name in names}
    assert len(clients) == 1
    assert clients.pop()._socket_path == str(client.SOCKET_PATH)
