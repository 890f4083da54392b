"""`python -m tests.powercut`: cuts the power, and says what was lost."""

import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from leanbase_relay.sink import Fault, Script, Sink
from tests.powercut.disk import held_by
from tests.powercut.guest import HOST, WIRES
from tests.powercut.image import CannotBuild, Debian, file_system, relay_disk
from tests.powercut.load import KEY, Ledger, Switchboard
from tests.powercut.machine import Machine
from tests.powercut.verdict import Verdict, judged
from tests.support.waiting import eventually

CACHE = Path("~/.cache/leanbase-relay-powercut").expanduser()
DATA_SIZE = "512M"
LIFE_SECONDS = 0.2, 6.0
DRAIN_SECONDS = 300.0
NOT_RUN = 77

BUSY = Fault.answer(503, "transient error, please retry")
NUISANCES = (BUSY, Fault.partial(3), Fault.cut_off(), Fault.hang(1))
MOODS = (*NUISANCES, *[Fault()] * 2 * len(NUISANCES))
HEAD = "    cut  acknowledged  waiting  in files  delivered   log MiB  lost  twice"


class Run:
    """One machine, cut again and again.

    Args:
        work: a directory of its own, on a disk (not in memory).
        synchronous: ``full`` is what the relay does; with ``off`` it loses events.
    """

    def __init__(
        self, debian: Debian, work: Path, *, seed: int, synchronous: str
    ) -> None:
        self.ledger = Ledger()
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._work = work
        self._house = ExitStack()
        self.sink = self._house.enter_context(Sink())
        self._board = self._house.enter_context(Switchboard(self.ledger, seed))
        relay, self._data = work / "relay.img", work / "data.img"
        relay_disk(
            relay,
            settings=_settings(self.sink.url),
            port=self._board.port,
            synchronous=synchronous,
        )
        file_system(self._data, DATA_SIZE)
        self.console = work / "console"
        self._machine = self._house.enter_context(
            Machine(debian, relay=relay, data=self._data, console=self.console)
        )

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self._house.close()

    def cut(self, upstream: Script | None = None) -> Verdict:
        """Start the machine, put it under load, and cut its power."""
        self.sink.follow(upstream or self._nuisance())
        with self._on():
            self._board.produce()
            time.sleep(self._rng.uniform(*LIFE_SECONDS))
        return self._look()

    def drain(self) -> Verdict:
        """Start it once more, let everything arrive, and look a last time."""
        self.sink.follow(Script())
        with self._on():
            eventually(self._is_empty, within=DRAIN_SECONDS)
        return self._look()

    @contextmanager
    def _on(self) -> Iterator[None]:
        self._machine.switch_on()
        try:
            if not self._board.connect(WIRES, while_=lambda: self._machine.is_on):
                raise NotUp(self.console)
            yield
        finally:
            self._machine.cut()
            self._board.hang_up()

    def _nuisance(self) -> Script:
        """An upstream that is away, or has its moods."""
        if self._rng.random() < 0.25:
            return Script().then_always(BUSY)
        return Script().then(*self._rng.choices(MOODS, k=100))

    def _is_empty(self) -> bool:
        look = self._board.status()
        left: int = look["backlog"]["events"] + look["spool"]["waiting_files"]
        return left == 0

    def _look(self) -> Verdict:
        held = held_by(self._data)
        delivered = {uuid for *_, uuid in self.sink.rows}
        ledger = self.ledger
        verdict = judged(
            held,
            acknowledged=ledger.acknowledged,
            sent=ledger.sent,
            delivered=delivered,
        )
        click.echo(
            f"{len(ledger.acknowledged):14,}{len(held.backlog):9,}"
            f"{len(held.spooled):10,}{len(delivered):11,}{held.log_bytes / 2**20:10.1f}"
            f"{len(verdict.lost):6}{verdict.twice:7}"
        )
        return verdict


class NotUp(Exception):
    """The relay did not come up."""

    def __init__(self, console: Path) -> None:
        end = "\n".join(console.read_text(errors="replace").splitlines()[-15:])
        super().__init__(f"the relay did not come up; the console's end:\n{end}")


@click.command(epilog="Example: python -m tests.powercut --cuts 5 --seed 7")
@click.option("--cuts", default=20, type=click.IntRange(1), show_default=True)
@click.option("--seed", type=int, help="To repeat a run; else any.")
@click.option(
    "--synchronous",
    default="full",
    type=click.Choice(["full", "normal", "off"]),
    show_default=True,
    help="Other than full: patched into the machine's copy, which then loses events.",
)
@click.option(
    "--cache",
    default=CACHE,
    type=click.Path(file_okay=False, path_type=Path),
    show_default=True,
    help="Keeps Debian's image (1 GB; made as root), and what a failed run left.",
)
def main(*, cuts: int, seed: int | None, synchronous: str, cache: Path) -> None:
    """Cut a machine's power under load, and compare with what was acknowledged.

    A last cut is the control: of a relay that does not sync, which has to lose.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    work = cache / f"run-{seed}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    click.echo(f"seed {seed}, synchronous {synchronous}")
    try:
        debian = Debian.kept_in(cache)
        with Run(debian, work, seed=seed, synchronous=synchronous) as run:
            is_good = _cut_all(run, cuts)
        if synchronous == "full":
            with Run(debian, work, seed=seed, synchronous="off") as run:
                is_good &= _loses(run)
    except CannotBuild as cannot:
        shutil.rmtree(work)
        click.echo(f"NOT RUN: power cuts: {cannot}", err=True)
        sys.exit(NOT_RUN)
    if is_good:
        shutil.rmtree(work)
    else:
        click.echo(f"what is left of it is in {work}", err=True)
    sys.exit(0 if is_good else 1)


def _cut_all(run: Run, cuts: int) -> bool:
    """Cut so often, or until something is wrong; True if nothing is."""
    began = time.monotonic()
    click.echo(HEAD)
    done, verdict = 0, Verdict()
    try:
        while verdict.is_good and done < cuts:
            done += 1
            click.echo(f"{done:7}", nl=False)
            verdict = run.cut()
        if verdict.is_good:
            click.echo("  drain", nl=False)
            verdict = run.drain()
    except NotUp as not_up:
        verdict = Verdict(faults=(str(not_up),))
    faults = [*verdict.faults, *run.ledger.complaints]
    for fault in faults:
        click.echo(fault, err=True)
    again = run.sink.counts.duplicates
    click.echo(
        f"cuts {done}, acknowledged {len(run.ledger.acknowledged):,}, "
        f"lost {len(verdict.lost):,}, counted twice {verdict.twice:,}, "
        f"sent again with the same identity {again:,}, "
        f"{time.monotonic() - began:.0f} s"
    )
    return verdict.is_good and not faults


def _loses(run: Run) -> bool:
    """Whether a relay that does not sync is found out."""
    click.echo("control", nl=False)
    lost = len(run.cut(upstream=Script().then_always(BUSY)).lost)
    click.echo(
        f"control: with synchronous off {lost:,} are lost by one cut"
        if lost
        else "control: NOTHING IS LOST with synchronous off: all this proves nothing"
    )
    return lost > 0


def _settings(url: str) -> dict[str, dict[str, Any]]:
    return {
        "upstream": {"url": url.replace("127.0.0.1", HOST)},
        "projects": {"default": {"api_key": KEY}},
        "batch": {"max_wait": "200ms", "max_events": 500},
        "retry": {"first_delay": "200ms", "max_delay": "1s"},
        "store": {"path": "/data/store/relay.db"},
        "socket": {"path": "/run/relay.sock"},
        "http": {"listen": ["unix:/run/http.sock"]},
        "control": {"path": "/run/control.sock"},
        "spool": {"path": "/data/spool", "scan_interval": "500ms"},
    }


if __name__ == "__main__":
    main()
