import gzip
import json
import zlib
from dataclasses import replace

from leanbase_relay.forward.batch import Batch, Piece
from leanbase_relay.forward.sending import BatchSending, Settled
from leanbase_relay.forward.verdict import Answer, Verdict
from leanbase_relay.store.chunk import Packed
from leanbase_relay.store.totals import Position
from tests.support.batch import batch_of, piece_of

NOW = 1_800_000_000.25
OK = Answer(200, b'{"status":"Ok"}')
BAD = Answer(400, b"no")


def sending(*events: bytes, historical: bool = False) -> BatchSending:
    return BatchSending(batch_of(*events, historical=historical))


def test_a_request_holds_key_time_and_the_very_bytes() -> None:
    request = sending(b'{"n":0}', b'{"n":1.10}').request(key='phc_"x"', now=NOW)

    assert request.path == "/batch/"
    assert json.loads(request.body) == {
        "api_key": 'phc_"x"',
        "sent_at": "2027-01-15T08:00:00.250Z",
        "batch": [{"n": 0}, {"n": 1.10}],
    }
    assert request.body.endswith(b'"batch":[{"n":0},{"n":1.10}]}')


def test_each_attempt_tells_its_own_time() -> None:
    one = sending(b"{}")

    first = json.loads(one.request(key="k", now=NOW).body)
    second = json.loads(one.request(key="k", now=NOW + 3600).body)

    assert first["sent_at"] == "2027-01-15T08:00:00.250Z"
    assert second["sent_at"] == "2027-01-15T09:00:00.250Z"


def test_an_import_says_so() -> None:
    request = sending(b"{}", historical=True).request(key="k", now=NOW)

    assert json.loads(request.body)["historical_migration"] is True
    assert b"historical" not in sending(b"{}").request(key="k", now=NOW).body


def test_what_is_delivered_is_settled_as_a_whole_and_once() -> None:
    one = sending(b"{}", b"{}")

    assert one.judge(OK, now=NOW).verdict is Verdict.DELIVERED
    assert list(one.settled()) == [Settled(Position(2, 0))]
    assert list(one.settled()) == []


def test_of_several_that_are_refused_nothing_is_decided() -> None:
    one = sending(b"{}", b"{}")

    assert one.judge(BAD, now=NOW).verdict is Verdict.REFUSED
    assert list(one.settled()) == []


def test_one_that_is_refused_alone_is_decided() -> None:
    one = sending(b"{}")

    judgement = one.judge(BAD, now=NOW)

    assert list(one.settled()) == [Settled(Position(2, 0), one.batch, judgement)]


def test_halves_come_to_the_whole() -> None:
    one = sending(b"{}", b'{"n":1}', b'{"n":2}')

    first, second = one.halves()

    assert (first.undecided, second.undecided) == (1, 2)
    assert (first.batch, second.batch) == one.batch.halves()
    assert (first.size, second.size, one.size) == (2, 15, 18)


def test_what_is_reopened_is_not_settled() -> None:
    one = sending(b"{}")
    one.judge(BAD, now=NOW)

    one.reopen()

    assert list(one.settled()) == []


def test_what_is_given_up_is_refused_event_by_event() -> None:
    one = sending(b'{"n":0}', b'{"n":1}')
    judgement = one.judge(Answer(503), now=NOW)
    assert judgement.verdict is Verdict.LATER
    assert list(one.settled()) == []

    one.give_up(judgement)

    parts = list(one.settled())
    assert [part.end for part in parts] == [Position(1, 1), Position(2, 0)]
    assert [part.refused and part.refused.event_bytes for part in parts] == [
        b'{"n":0}',
        b'{"n":1}',
    ]


def chunk_of(first: int, events: int) -> Piece:
    return piece_of(*(b'{"n":%d}' % n for n in range(first, first + events)))


def test_what_is_large_is_sent_as_it_lies_in_the_store() -> None:
    large, other = chunk_of(0, 10_000), chunk_of(10_000, 10_000)

    request = BatchSending(Batch((large, other))).request(key="k", now=NOW)

    body = json.loads(gzip.decompress(request.gzip))
    assert [one["n"] for one in body["batch"]] == list(range(20_000))
    assert gzip.decompress(request.gzip) == request.body
    assert large.packed.data[10:-10] in request.gzip
    assert other.packed.data[10:-10] in request.gzip


def test_what_is_small_is_packed_together() -> None:
    """Each alone, a thousand events would take five times as much on the wire."""
    pieces = tuple(chunk_of(number, 1) for number in range(1000))

    request = BatchSending(Batch(pieces)).request(key="k", now=NOW)

    assert gzip.decompress(request.gzip) == request.body
    assert len(json.loads(request.body)["batch"]) == 1000
    assert len(request.gzip) < len(request.body) / 2


def test_what_an_older_version_packed_is_sent_too() -> None:
    old = chunk_of(0, 10_000)
    data = zlib.compress(old.event_bytes)
    old = replace(old, packed=Packed(data, zlib.crc32(data)))

    request = BatchSending(Batch((old, chunk_of(10_000, 1)))).request(key="k", now=NOW)

    assert len(json.loads(gzip.decompress(request.gzip))["batch"]) == 10_001
