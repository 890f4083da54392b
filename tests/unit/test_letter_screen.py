"""Dead letters for people and for machines."""

import json

import click
import pytest

from leanbase_relay.cli import letter_screen
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.letters import KeptLetter

NOW = 1_800_000_000.0
LETTER = DeadLetter(
    door="upstream",
    project="shop",
    reason="answered 400 (no)",
    origin="store chunk=7",
    line=b'{"event":"seen","properties":{"total":1.10}}',
    status=400,
    event="seen",
    distinct_id="u1",
    uuid="01890a5d-ac96-774b-bcce-b302099a8057",
    accepted_at_ms=1_799_999_000_000,
)


def kept(number: int = 17, *, age_seconds: float = 200, **facts: object) -> KeptLetter:
    known = {name: getattr(LETTER, name) for name in DeadLetter.__slots__} | facts
    letter = DeadLetter(**known)
    died_at_ms = round((NOW - age_seconds) * 1000)
    return KeptLetter(number, died_at_ms, len(letter.line), letter)


def lines(*letters: KeptLetter, columns: int = 80) -> list[str]:
    return click.unstyle(letter_screen.table(letters, NOW, columns)).splitlines()


def test_a_letter_is_a_line_of_a_table() -> None:
    head, first, second = lines(kept(), kept(5, event=None, door="intake"))

    assert head == "id  died   door      project  event  reason"
    assert first == "17  3 min  upstream  shop     seen   answered 400 (no)"
    assert second == " 5  3 min  intake    shop     -      answered 400 (no)"


def test_the_table_fits_a_small_terminal_whatever_strangers_wrote() -> None:
    shown = lines(
        kept(
            10**9,
            event="an event's name that goes on and on",
            reason="a reason that is much longer than any terminal is wide " * 9,
            project="a-project-whose-name-is-long",
        )
    )

    assert max(map(len, shown)) == 80
    assert shown[1].endswith("…")
    assert "a-project…" in shown[1]


def test_a_wide_terminal_shows_more_of_the_reason() -> None:
    reason = "r" * 100

    assert reason in lines(kept(reason=reason), columns=200)[1]


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    evil = kept(
        reason="\x1b[31mred\r\n",
        event="\x07bell",
        line=b"\x1b]0;title\x07 no json \x00",
        origin="a\tb",
    )

    shown = click.unstyle(letter_screen.facts(evil, NOW)) + "".join(lines(evil))

    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "\n\n" in shown


def test_all_facts_and_the_event_are_shown() -> None:
    shown = click.unstyle(letter_screen.facts(kept(requeues=1, historical=True), NOW))

    assert (
        shown
        == """\
dead letter 17
door         upstream
project      shop
event        seen
distinct_id  u1
uuid         01890a5d-ac96-774b-bcce-b302099a8057
status       HTTP 400
reason       answered 400 (no)
origin       store chunk=7
accepted     2027-01-15T07:43:20.000Z, 16 min ago
died         2027-01-15T07:56:40.000Z, 3 min ago
requeued     1 time
import       yes
size         44 B

{
  "event": "seen",
  "properties": {
    "total": 1.10
  }
}"""
    )


def test_names_without_end_are_cut_on_the_screen_and_nowhere_else() -> None:
    long = kept(event="e" * 5000, distinct_id="d" * 201)

    shown = click.unstyle(letter_screen.facts(long, NOW))

    assert f"event        {'e' * 199}…\n" in shown
    assert f"distinct_id  {'d' * 199}…\n" in shown
    assert letter_screen.summary(long)["event"] == "e" * 5000


def test_of_a_damaged_chunk_no_bytes_are_shown() -> None:
    shown = letter_screen.facts(kept(line=b"x\x9c\x00", events=3), NOW)

    assert "stands for   3 events" in shown
    assert "export --full" in shown


def test_the_summary_has_the_members_of_the_contract() -> None:
    assert letter_screen.summary(kept(accepted_at_ms=None)) == {
        "id": 17,
        "door": "upstream",
        "project": "shop",
        "event": "seen",
        "distinct_id": "u1",
        "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
        "status": 400,
        "reason": "answered 400 (no)",
        "origin": "store chunk=7",
        "accepted_at": None,
        "died_at": "2027-01-15T07:56:40.000Z",
        "bytes": 44,
    }


@pytest.mark.parametrize(
    ("line", "member", "value"),
    [
        (b'{"a":"\xc3\xa9"}', "line", '{"a":"\u00e9"}'),
        (b"\xff\x00", "line_base64", "/wA="),
    ],
)
def test_the_whole_letter_has_its_line_as_text_or_in_base64(
    line: bytes, member: str, value: str
) -> None:
    whole = json.loads(json.dumps(letter_screen.whole(kept(line=line))))

    assert whole[member] == value
    assert {"line", "line_base64"} & whole.keys() == {member}
    assert (whole["events"], whole["requeues"], whole["historical"]) == (1, 0, False)
