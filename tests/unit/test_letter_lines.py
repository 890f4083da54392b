"""A dead letter as a line that says where it belongs."""

import pytest

from leanbase_relay.cli.letter_lines import sendable
from leanbase_relay.store.deposit import DeadLetter
from leanbase_relay.store.letters import KeptLetter


def sent(line: bytes, *, project: str = "shop", historical: bool = False) -> bytes:
    letter = DeadLetter("upstream", project, "r", "o", line, historical=historical)
    return sendable(KeptLetter(1, 0, len(line), letter))


@pytest.mark.parametrize("line", [b'{"event":"e","x":1.10}', b"no json", b""])
def test_a_line_of_the_default_project_is_left_as_it_is(line: bytes) -> None:
    assert sent(line, project="default") == line


def test_project_and_import_are_said_in_the_spelling_that_intake_knows() -> None:
    assert sent(b'{"event":"e","x":1.10}', historical=True) == (
        b'{"historical_migration":true,"project":"shop","event":"e","x":1.10}'
    )
    assert sent(b'{"event":"e"}', project="default", historical=True) == (
        b'{"historical_migration":true,"event":"e"}'
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"project":"gone","event":""}', b'{"project":"gone","event":""}'),
        (b'{"event":"","project":"gone"}', b'{"event":"","project":"gone"}'),
        (b" {\n}", b' {"project":"shop" }'),
        (b"[1]", b"[1]"),
        (b'{"a":', b'{"a":'),
        (b"\xff{}", b"\xff{}"),
    ],
)
def test_what_a_line_says_itself_is_not_said_twice_and_what_is_broken_stays(
    line: bytes, told: bytes
) -> None:
    assert sent(line) == told
