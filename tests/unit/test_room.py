"""Room: a bound in bytes, and the line before it.

The loop is the test's own here, since it is the order of its steps that matters.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from leanbase_relay.intake.room import Room

LONG, AT_ONCE = 20.0, 0.0


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_what_fits_is_taken_and_what_does_not_waits_in_line() -> None:
    async def scenario() -> None:
        room = Room(10)
        await room.take(6, LONG)
        large = asyncio.ensure_future(room.take(7, LONG))
        small = asyncio.ensure_future(room.take(1, LONG))
        await asyncio.wait([large, small], timeout=0.01)
        assert not large.done()
        assert not small.done(), "it would fit, and overtake"

        room.give_back(6)
        await asyncio.gather(large, small)
        assert room.used == 8

    run(scenario())


def test_one_that_is_larger_than_all_gets_all() -> None:
    async def scenario() -> None:
        room = Room(10)
        await room.take(100, LONG)
        with pytest.raises(TimeoutError):
            await room.take(1, AT_ONCE)
        room.give_back(100)
        await room.take(10, LONG)
        assert room.used == 10

    run(scenario())


def test_who_goes_lets_the_next_one_try() -> None:
    async def scenario() -> None:
        room = Room(10)
        await room.take(6, LONG)
        large = asyncio.ensure_future(room.take(10, LONG))
        small = asyncio.ensure_future(room.take(4, LONG))
        await asyncio.wait([small], timeout=0.01)
        large.cancel()

        await small
        assert room.used == 10

    run(scenario())


def test_whose_time_is_up_just_when_there_is_room_leaves_no_trace() -> None:
    """Another one, leaving in the same moment, has taken it out of the line."""

    async def scenario() -> None:
        room = Room(10)
        await room.take(10, LONG)
        waiting = [asyncio.ensure_future(room.take(10, LONG)) for _ in range(3)]
        await asyncio.wait(waiting, timeout=0.01)
        for one in waiting:
            one.cancel()
        room.give_back(10)

        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [asyncio.CancelledError] * 3
        assert room.used == 0

    run(scenario())


def test_room_that_was_given_at_the_last_moment_is_given_back() -> None:
    async def scenario() -> None:
        room = Room(10)
        await room.take(10, LONG)
        late = asyncio.ensure_future(room.take(10, LONG))
        await asyncio.wait([late], timeout=0.01)
        room.give_back(10)
        late.cancel()

        with pytest.raises(asyncio.CancelledError):
            await late
        assert room.used == 0

    run(scenario())


def test_the_line_has_an_end() -> None:
    async def scenario() -> None:
        room = Room(10, max_waiting=1)
        await room.take(10, LONG)
        first = asyncio.ensure_future(room.take(1, LONG))
        await asyncio.wait([first], timeout=0.01)
        with pytest.raises(TimeoutError):
            await room.take(1, LONG)

        room.give_back(10)
        await first

    run(scenario())
