"""PHP by examples/php/Leanbase.php: what is sent arrives, whatever the relay does."""

import json
import shutil
import signal
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from leanbase_relay.client import LIBRARY
from leanbase_relay.sink import Sink
from tests.support import crowd
from tests.support.process import RelayProcess
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PRODUCER = ROOT / "tests/support/producer.php"
PRODUCERS = 20

SCRIPT = r"""<?php
error_reporting(E_ALL);
ini_set('display_errors', 'stderr');
ini_set('log_errors', '0');
require '%(library)s';
function tell($kept) {
    list($became, $uuid, $why) = Leanbase::$last;
    echo json_encode(compact('kept', 'became', 'uuid', 'why')), "\n";
}
// As for the SDK: a key and a host, which are the relay's business now.
Leanbase::init('phc_app', json_decode('%(options)s', true)
    + array('host' => 'https://us.i.leanbase.com', 'timeout' => 20.0));
%(code)s
"""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        shutil.which("php") is None,
        reason="NOT TESTED: PHP; there is none here (apt-get install php-cli)",
    ),
]


@dataclass(frozen=True)
class Said:
    """What a script was told of its events, and what it wrote to stderr."""

    told: list[dict[str, Any]]
    complaints: str


def php(directory: Path, code: str, **options: Any) -> Said:
    """Run code that has Leanbase at hand, pointed at the sockets of a directory."""
    paths = {"socket": f"{directory}/relay.sock", "spool": f"{directory}/spool"}
    script = directory / "script.php"
    script.write_text(
        SCRIPT
        % {
            "library": ROOT / "examples/php/Leanbase.php",
            "options": json.dumps({**paths, **options}),
            "code": code,
        }
    )
    done = subprocess.run(["php", script], capture_output=True, check=True, timeout=30)
    lines = done.stdout.decode().splitlines()
    return Said([json.loads(line) for line in lines], done.stderr.decode())


@pytest.fixture
def spool(short_dir: Path) -> Path:
    path = short_dir / "spool"
    path.mkdir()
    return path


def events_of(spool: Path) -> list[dict[str, Any]]:
    """The events in the files; nothing else is there."""
    files = list(spool.iterdir())
    assert all(file.name.endswith(".jsonl") for file in files), files
    lines = b"".join(file.read_bytes() for file in files).splitlines()
    return [json.loads(line) for line in lines]


def test_no_event_of_twenty_processes_is_lost_or_doubled_by_a_kill(
    short_dir: Path,
) -> None:
    def commands(relay: RelayProcess) -> list[crowd.Command]:
        return [["php", PRODUCER, relay.socket, relay.spool]] * PRODUCERS

    crowd.check(crowd.around_a_kill(short_dir, commands))


def test_the_calls_of_the_sdk_arrive_in_its_shapes(short_dir: Path) -> None:
    code = """
    tell(Leanbase::capture(array('distinctId' => 'u1', 'event' => 'order placed',
        'properties' => array('total' => 12.50), 'groups' => array('company' => 'acme'),
        '$set' => array('plan' => 'pro'))));
    tell(Leanbase::capture(array('event' => 'seen')));
    tell(Leanbase::capture(array('distinctId' => 'u1', 'event' => '$pageview',
        'properties' => array('$current_url' => 'https://example.org/a'))));
    tell(Leanbase::identify(array('distinctId' => 'u1', 'properties' => array(
        'email' => 'x'), '$set_once' => array('source' => 'ad'))));
    tell(Leanbase::identify(array('distinctId' => 'u1', 'properties' => array())));
    tell(Leanbase::alias(array('distinctId' => 'u1', 'alias' => 'v9')));
    tell(Leanbase::groupIdentify(array('groupType' => 'company', 'groupKey' => 'acme',
        'properties' => array('seats' => 25))));
    Leanbase::flush();
    """
    with Sink() as sink, RelayProcess(short_dir, sink.url) as relay:
        said = php(short_dir, code)
        assert sink.wait_for(7, within_seconds=10)
        events = {event["uuid"]: event for event in sink.events}
        assert relay.stop() == 0

    assert said.complaints == ""
    assert [told["became"] for told in said.told] == ["stored"] * 7
    sent = [events[told["uuid"]] for told in said.told]
    for event in sent:
        assert UUID(event["uuid"]).version == 7
        age = datetime.now(UTC) - datetime.fromisoformat(event["timestamp"])  # noqa: TID251
        assert 0 <= age.total_seconds() < 60
        assert LIBRARY.items() <= event["properties"].items()
    assert UUID(sent[1]["distinct_id"]).version == 7
    assert [shape(event) for event in sent] == [
        (
            "order placed",
            "u1",
            {
                "total": 12.5,
                "$groups": {"company": "acme"},
                "$set": {"plan": "pro"},
            },
        ),
        ("seen", sent[1]["distinct_id"], {"$process_person_profile": False}),
        ("$pageview", "u1", {"$current_url": "https://example.org/a"}),
        ("$identify", "u1", {"$set": {"email": "x"}, "$set_once": {"source": "ad"}}),
        ("$identify", "u1", {"$set": {}}),
        ("$create_alias", "u1", {"distinct_id": "u1", "alias": "v9"}),
        (
            "$groupidentify",
            "$company_acme",
            {
                "$group_type": "company",
                "$group_key": "acme",
                "$group_set": {"seats": 25},
            },
        ),
    ]


def shape(event: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    own = {
        name: value
        for name, value in event["properties"].items()
        if name not in LIBRARY
    }
    return event["event"], event["distinct_id"], own


def test_values_become_ones_that_json_has(short_dir: Path, spool: Path) -> None:
    code = r"""
    class Sulky implements JsonSerializable {
        #[ReturnTypeWillChange]
        public function jsonSerialize() { throw new Exception('no'); }
    }
    class Mirror implements JsonSerializable {
        #[ReturnTypeWillChange]
        public function jsonSerialize() { return $this; }
    }
    class Order { public $total = INF; public $lines = array(); private $secret = 1; }
    $inside = array('name' => 'a', 'bad' => NAN);
    $inside['self'] = &$inside;
    $given = array(
        'nan' => NAN, 'inf' => -INF, 'whole' => 10.0, 'big' => PHP_INT_MAX,
        'latin' => "caf\xe9", 'text' => 'é/☃', "key\xff" => true, 'file' => STDIN,
        'when' => new DateTime('2026-03-01 12:00', new DateTimeZone('Asia/Kolkata')),
        'order' => new Order, 'map' => new stdClass, 'sulky' => new Sulky,
        'mirror' => new Mirror, 'inside' => $inside,
    );
    tell(Leanbase::capture(array('distinctId' => 7, 'event' => "caf\xe9",
        'properties' => $given, 'timestamp' => 1772366400.25, 'uuid' => 'not one')));
    if (!is_nan($inside['bad']) || !is_nan($given['nan'])) { exit(1); } // the app's own
    """
    said = php(short_dir, code)

    assert said.complaints == ""
    (event,) = events_of(spool)
    properties = event.pop("properties")
    inside = properties.pop("inside")
    assert (inside["name"], inside["bad"]) == ("a", None)
    assert event == {
        "event": "caf\ufffd",
        "distinct_id": 7,
        "uuid": "not one",
        "timestamp": "2026-03-01T12:00:00.250Z",
    }
    assert properties == LIBRARY | {
        "nan": None,
        "inf": None,
        "whole": 10.0,
        "big": 2**63 - 1,
        "latin": "caf\ufffd",
        "text": "é/☃",
        "key\ufffd": True,
        "file": None,
        "when": "2026-03-01T12:00:00.000000+05:30",
        "order": {"total": None, "lines": []},
        "map": {},
        "sulky": "Sulky",
        "mirror": None,
    }


def test_an_event_of_its_own_project_goes_there(short_dir: Path, spool: Path) -> None:
    php(short_dir, "Leanbase::capture(array('event' => 'e'));", project="shop")

    (event,) = events_of(spool)
    assert event["project"] == "shop"


def test_what_is_spooled_while_the_relay_is_away_arrives_as_it_was(
    short_dir: Path, spool: Path
) -> None:
    code = "umask(077); tell(Leanbase::capture(array('event' => 'e')));"
    said = php(short_dir, code)
    (file,) = spool.iterdir()
    mode = file.stat().st_mode & 0o777
    (before,) = events_of(spool)
    settings = {"spool": {"path": str(spool)}}
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        assert sink.wait_for(1, within_seconds=10)
        eventually(lambda: not list(spool.iterdir()))
        assert relay.stop() == 0

    assert said.complaints == ""
    assert (said.told[0]["kept"], said.told[0]["became"]) == (True, "spooled")
    assert mode == 0o644, "the relay is another user, whatever the umask"
    assert sink.events == [before]
    assert before["uuid"] == said.told[0]["uuid"]


def test_what_the_relay_refuses_is_told_and_not_spooled(
    short_dir: Path, spool: Path
) -> None:
    with RelayProcess(short_dir):
        said = php(
            short_dir,
            "tell(Leanbase::capture(array('distinctId' => '', 'event' => 'e')));",
        )

    (told,) = said.told
    assert (told["kept"], told["became"]) == (False, "refused")
    assert told["why"] == "distinct_id: empty"
    assert events_of(spool) == []


def test_where_the_store_is_full_the_spool_is_the_overflow(
    short_dir: Path, spool: Path
) -> None:
    code = """
    do {
        $given = array('random' => bin2hex(random_bytes(400 << 10)));
        $kept = Leanbase::capture(array('event' => 'e', 'properties' => $given));
    } while (Leanbase::$last[0] === 'stored');
    tell($kept);
    """
    room = {"store": {"max_bytes": "32MiB"}, "dead_letters": {"max_bytes": "1MiB"}}
    with RelayProcess(short_dir, settings=room):
        said = php(short_dir, code)

    (told,) = said.told
    assert (told["kept"], told["became"]) == (True, "spooled")
    assert told["why"] == "store full"
    assert len(events_of(spool)) == 1


def test_a_relay_that_hangs_costs_one_wait(short_dir: Path, spool: Path) -> None:
    code = """
    for ($n = 0; $n < 20; $n++) {
        tell(Leanbase::capture(array('event' => 'e')));
    }
    """
    with RelayProcess(short_dir) as relay:
        relay.signal(signal.SIGSTOP)
        said = php(short_dir, code, timeout=0.2, rest=60.0)
        relay.signal(signal.SIGCONT)

    assert said.complaints == ""
    assert {told["became"] for told in said.told} == {"spooled"}
    assert len(events_of(spool)) == 20
    why = [told["why"] for told in said.told]
    assert why[0].endswith("no answer in time")
    assert all(each.endswith("a moment ago") for each in why[1:])


def test_a_loss_is_told_and_logged_once(short_dir: Path) -> None:
    code = """
    ini_set('log_errors', '1'); ini_set('error_log', '');
    tell(Leanbase::capture(array('event' => 'secret')));
    tell(Leanbase::capture(array('event' => 'secret')));
    """
    said = php(short_dir, code)

    assert [told["became"] for told in said.told] == ["lost", "lost"]
    assert [told["kept"] for told in said.told] == [False, False]
    assert said.complaints.count("is lost: ") == 1
    assert said.told[0]["uuid"] in said.complaints
    assert "relay.sock" in said.complaints
    assert "/spool/" in said.complaints
    assert "secret" not in said.complaints


def test_an_error_handler_that_throws_at_everything_does_no_harm(
    short_dir: Path, spool: Path
) -> None:
    code = """
    set_error_handler(function ($level, $message) { throw new Exception($message); });
    tell(Leanbase::capture(array('event' => 'e')));
    """
    said = php(short_dir, code)

    assert said.complaints == ""
    assert [told["became"] for told in said.told] == ["spooled"]
    assert len(events_of(spool)) == 1


def test_the_log_of_the_sdks_file_consumer_is_taken_and_removed(
    short_dir: Path, spool: Path
) -> None:
    """As that one writes: appended, for all to write, one `fwrite` for each line."""
    log = spool / "app.jsonl"
    code = f"""
    $file = fopen('{log}', 'a');
    chmod('{log}', 0777);
    foreach (array(
        array('event' => 'order placed', 'properties' => array(), 'groups' => array()),
        array('event' => '$identify', '$set' => array(), 'properties' => array()),
        array('event' => '$create_alias', 'distinct_id' => null,
            'properties' => array('distinct_id' => 'u1', 'alias' => 'v9')),
    ) as $message) {{
        $message += array('distinct_id' => 'u1', 'timestamp' => date('c'));
        fwrite($file, json_encode($message) . "\\n");
    }}
    """
    settings = {
        "spool": {"path": str(spool), "settle": "100ms", "scan_interval": "50ms"}
    }
    with Sink() as sink, RelayProcess(short_dir, sink.url, settings) as relay:
        for _ in range(2):
            php(short_dir, code)
        assert sink.wait_for(6, within_seconds=10)
        eventually(lambda: not log.exists())
        totals = relay.status()["totals"]

    assert (totals["accepted"], totals["refused"]) == (6, 0)
    assert len(sink.rows) == 6
    assert [event["distinct_id"] for event in sink.events] == ["u1"] * 6
