from leanbase_relay.forward.limit import GROW_AFTER, Limit

MAX = 4_000_000


def full(limit: Limit, times: int) -> None:
    for _ in range(times):
        limit.delivered(limit.of(MAX), MAX)


def test_where_nothing_was_learnt_the_configuration_holds() -> None:
    limit = Limit()

    assert limit.of(MAX) == MAX
    assert not limit.delivered(MAX, MAX)
    assert limit.learnt == 0


def test_what_was_seen_to_be_taken_is_the_limit() -> None:
    limit = Limit()

    assert limit.refused(MAX, 1_000_000)

    assert limit.of(MAX) == limit.learnt == 1_000_000
    assert limit.of(500_000) == 500_000
    assert not limit.refused(2_000_000, 1_000_000)  # the second half, told again


def test_a_limit_of_an_earlier_life_still_holds() -> None:
    assert Limit(1_000_000).of(MAX) == 1_000_000


def test_a_limit_grows_by_a_quarter_after_many_full_requests() -> None:
    limit = Limit(1_000_000)

    full(limit, GROW_AFTER - 1)
    assert limit.of(MAX) == 1_000_000
    full(limit, 1)

    assert limit.of(MAX) == 1_250_000
    assert limit.learnt == 1_000_000, "a trial is not known to be taken"
    assert limit.delivered(1_250_000, MAX)
    assert limit.learnt == 1_250_000


def test_small_requests_prove_nothing() -> None:
    limit = Limit(1_000_000)

    for _ in range(10 * GROW_AFTER):
        limit.delivered(1000, MAX)

    assert limit.of(MAX) == 1_000_000


def test_a_trial_that_fails_leaves_the_limit_and_the_next_comes_later() -> None:
    limit = Limit(1_000_000)
    full(limit, GROW_AFTER)

    assert not limit.refused(1_250_000, 625_000)

    assert limit.of(MAX) == limit.learnt == 1_000_000
    full(limit, GROW_AFTER)
    assert limit.of(MAX) == 1_000_000
    full(limit, GROW_AFTER)
    assert limit.of(MAX) == 1_250_000


def test_an_upstream_that_becomes_stricter_is_believed() -> None:
    limit = Limit(1_000_000)

    assert limit.refused(1_000_000, 300_000)

    assert limit.of(MAX) == 300_000


def test_in_the_end_only_the_configuration_is_left() -> None:
    limit = Limit(1_000_000)

    requests = 0
    while limit.learnt:
        full(limit, 1)
        requests += 1
        assert requests < 20 * GROW_AFTER

    assert limit.of(MAX) == MAX


def test_events_that_seldom_fill_a_request_let_it_grow_all_the_same() -> None:
    limit = Limit(300)

    for _ in range(100 * GROW_AFTER):
        taken = limit.of(MAX) // 300 * 300  # whole events
        limit.delivered(taken, MAX)

    assert limit.of(MAX) == MAX
