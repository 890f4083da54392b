"""`top` as a table: 80 columns whatever the names, nothing left out in silence."""

import click

from leanbase_relay.cli.top_screen import Top, as_json, top_of
from leanbase_relay.cli.top_screen import table as styled
from leanbase_relay.store.look import Called

NOW = 1_000_000.0


def table(top: Top, now: float, *, shown: int, columns: int = 80) -> str:
    return click.unstyle(styled(top, now, shown=shown, columns=columns))


def called(name: str, number: int, project: str = "default", age: float = 5) -> Called:
    return Called(project, {name: number}, round((NOW - age) * 1000))


def lately(**events: int) -> dict[str, object]:
    return {
        "seconds": 300.0,
        "exact": True,
        "accepted": sum(events.values()),
        "events": [
            {"project": "default", "event": name, "events": number}
            for name, number in events.items()
        ],
    }


def test_what_waits_and_what_came_meet_name_by_name() -> None:
    waiting = [called("seen", 900, age=600), called("seen", 100), called("bought", 250)]

    shown = table(top_of(waiting, lately(seen=1000, gone=7)), NOW, shown=20)

    assert shown.splitlines() == [
        "event   project  waiting  share  oldest  came in 5 min",
        "seen    default    1,000    80%  10 min          1,000",
        "bought  default      250    20%     5 s              -",
        "gone    default        -                             7",
        "all                1,250   100%                  1,007",
    ]


def test_what_the_samples_say_is_told_as_it_is_known() -> None:
    told = {**lately(seen=37_749, bought=7), "exact": False}

    shown = table(top_of([called("seen", 900)], told), NOW, shown=20)

    assert [line.split()[-1] for line in shown.splitlines()[1:]] == [
        *("~38,000", "~7", "37,756")
    ]


def test_without_a_daemon_nobody_knows_what_came() -> None:
    shown = table(top_of([called("seen", 3)], None), NOW, shown=20)

    assert "came" not in shown
    assert shown.splitlines()[1] == "seen   default        3   100%     5 s"


def test_names_without_a_line_of_their_own_are_summed_up() -> None:
    waiting = [called(f"e{n:02}", 100 - n) for n in range(30)]

    lines = table(top_of(waiting, None), NOW, shown=2).splitlines()

    assert [line.split()[0] for line in lines] == ["event", "e00", "e01", "…", "all"]
    assert lines[3].startswith("… 28 names more")
    assert lines[3].split()[-2:] == ["2,366", "92%"]


def test_eighty_columns_are_enough_for_any_name() -> None:
    long = called("very " * 60, 12_345_678_901, project="p" * 64)

    shown = table(top_of([long], lately(seen=10**9)), NOW, shown=20, columns=200)

    assert max(map(len, shown.splitlines())) <= 80
    assert "very very" in shown


def test_a_name_cannot_move_the_cursor() -> None:
    shown = table(top_of([called("\x1b[2J\n", 1)], None), NOW, shown=20)

    assert "\x1b[2J" not in shown
    assert len(shown.splitlines()) == 3


def test_an_empty_relay_says_so() -> None:
    assert table(top_of([], None), NOW, shown=20) == "nothing waits"
    nothing = table(top_of([], lately()), NOW, shown=20)
    assert nothing == "nothing waits, and nothing came"


def test_json_has_all_names() -> None:
    waiting = [called(f"e{n}", 1) for n in range(30)]

    value = as_json(top_of(waiting, lately(gone=7)), NOW)

    assert value["seconds"] == 300.0
    assert value["came"] == 7
    assert len(value["events"]) == 31
    assert value["events"][-1] == {
        "project": "default",
        "event": "gone",
        "waiting": 0,
        "oldest_age_seconds": None,
        "came": 7,
    }
