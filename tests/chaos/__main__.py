"""``python -m tests.chaos``: one run, a table, and an exit code."""

import random
import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.story import Outcome, Plan, Story


@click.command(epilog="Example: python -m tests.chaos --kills 50 --seed 7")
@click.option("--kills", default=1000, show_default=True, help="SIGKILLs under load.")
@click.option("--hups", default=100, show_default=True, help="SIGHUPs under load.")
@click.option("--restarts", default=100, show_default=True, help="SIGTERM and start.")
@click.option("--producers", default=2, show_default=True, help="Of each door.")
@click.option("--seed", type=int, help="Of a run that is to be repeated.")
def main(
    kills: int, hups: int, restarts: int, producers: int, seed: int | None
) -> None:
    """Kill, reload and restart a relay under load, and count what that lost."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    click.echo(f"seed {seed}")
    plan = Plan(kills, hups, restarts, seed, producers)
    with tempfile.TemporaryDirectory(prefix="lb-") as directory:
        outcome = Story(Path(directory), plan, click.echo).run()
    show(outcome)
    sys.exit(0 if outcome.verdict.is_kept and outcome.adds_up else 1)


def show(outcome: Outcome) -> None:
    """What a person wants to know."""
    verdict = outcome.verdict
    doors = ", ".join(f"{n:,} by {door}" for door, n in verdict.acknowledged.items())
    lines = {
        "kills": f"{outcome.kills:,}",
        "killed in merging": f"{outcome.merged:,} of them",
        "reloads, restarts": f"{outcome.hups:,}, {outcome.restarts:,}",
        "acknowledged": f"{sum(verdict.acknowledged.values()):,} ({doors})",
        "lost": f"{len(verdict.lost):,}",
        "taken twice": f"{len(verdict.twice):,}",
        "changed": f"{len(verdict.changed):,}",
        "came again": f"{verdict.again:,} of {verdict.received:,}, with their identity",
        "totals add up": "yes" if outcome.adds_up else f"NO: {outcome.totals}",
        "store": outcome.integrity,
        "took": f"{outcome.seconds:,.0f} s",
    }
    for name, text in lines.items():
        click.echo(f"{name:20}{text}")
    for mark in [*verdict.lost, *verdict.twice, *verdict.changed][:20]:
        click.echo(f"  {mark}")


if __name__ == "__main__":
    main()
