"""Dead letters as lines that `send` takes back to where they were. Pure."""

from leanbase_relay.cli.lines import head
from leanbase_relay.store.letters import KeptLetter, members

_HOME = "default"  # where a line goes that names no project


def sendable(kept: KeptLetter) -> bytes:
    """The letter's line as one line, with its project and that it was an import.

    Only what is not said is added, and only to an object: what a line is that is none,
    only its author knows.
    """
    letter = kept.letter
    line = letter.line.replace(b"\n", b" ")  # between members: in a text, JSON has none
    if letter.project == _HOME and not letter.historical:
        return line
    there = members(line)
    if there is None:
        return line
    project = None if letter.project == _HOME else letter.project
    said = head(
        project=None if "project" in there else project,
        historical=letter.historical and "historical_migration" not in there,
    )
    opening = line.index(b"{") + 1
    return line[:opening] + (said if there else said[:-1]) + line[opening:]
