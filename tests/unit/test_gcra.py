"""The rate limit of one key against its two promises, and many keys in little memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.gcra import Gcra, Key

GAPS = st.lists(st.integers(0, 3000), min_size=1, max_size=60)
"""Milliseconds between requests."""
START = 1e6
"""An uptime at which floats are coarse."""
ROUNDING = Fraction(1, 500_000)


def granted(gcra: Gcra, key: Key, now: float) -> bool:
    if gcra.wait(key, now):
        return False
    gcra.take(key, now)
    return True


def grants(gcra: Gcra, times: Sequence[int]) -> list[int]:
    return [time for time in times if granted(gcra, "a", START + time / 1000)]


@given(GAPS, st.integers(1, 50), st.sampled_from([1, 60]), st.integers(1, 20))
def test_no_window_has_more_than_a_burst_and_the_rate(gaps: list[int], count: int, period: int, burst: int) -> None:
    times = grants(Gcra(count, float(period), burst, 10), list(accumulate(gaps)))
    rate = Fraction(count, period)
    for first, begin in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= burst + rate * (Fraction(end - begin, 1000) + ROUNDING)


@given(GAPS, st.integers(1, 50), st.sampled_from([1, 60]), st.integers(1, 20))
def test_who_keeps_under_the_rate_is_never_refused(gaps: list[int], count: int, period: int, burst: int) -> None:
    """A bucket that holds `burst` and is filled at the rate, counted exactly, says who does."""
    gcra = Gcra(count, float(period), burst, 10)
    tokens, before = Fraction(burst), 0
    for time in accumulate(gaps):
        tokens = min(Fraction(burst), tokens + Fraction(count * (time - before), period * 1000))
        before = time
        if tokens >= 1:
            assert granted(gcra, "a", START + time / 1000)
            tokens -= 1
        elif granted(gcra, "a", START + time / 1000):
            assert tokens > 1 - ROUNDING * count
            tokens -= 1


def test_after_the_wait_a_request_is_granted_and_not_before() -> None:
    gcra = Gcra(10, 1.0, 3, 10)
    assert [granted(gcra, "a", 5.0) for _ in range(4)] == [True, True, True, False]
    wait = gcra.wait("a", 5.0)
    assert abs(wait - 0.1) < 1e-9
    assert not granted(gcra, "a", 5.0 + wait - 0.001)
    assert granted(gcra, "a", 5.0 + wait)


def test_a_refused_request_costs_nothing() -> None:
    gcra = Gcra(1, 1.0, 1, 10)
    assert granted(gcra, "a", 0.0)
    assert not any(granted(gcra, "a", number / 100) for number in range(1, 99))
    assert granted(gcra, "a", 1.0)


def test_each_key_is_counted_apart() -> None:
    gcra = Gcra(1, 1.0, 1, 10)
    assert granted(gcra, "a", 0.0)
    assert granted(gcra, b"a", 0.0)
    assert granted(gcra, None, 0.0)
    assert not granted(gcra, "a", 0.5)


def test_keys_whose_time_has_passed_make_room_as_others_come() -> None:
    gcra = Gcra(10, 1.0, 1, 1000)
    for number in range(10_000):
        gcra.take(str(number), number / 100)
    assert len(gcra) <= 10 + 8, "ten are live at any time"
    assert not gcra.forgotten


def test_where_the_row_is_full_who_has_least_to_lose_is_forgotten() -> None:
    gcra = Gcra(1, 60.0, 5, 8)
    for number in range(8):
        for _ in range(2 if number != 5 else 1):
            gcra.take(str(number), 0.0)
    gcra.take("new", 1.0)
    assert len(gcra) == 8
    assert gcra.forgotten == 1
    assert [granted(gcra, "5", 1.0) for _ in range(6)] == [True] * 5 + [False], "it has its whole burst again"
    assert [granted(gcra, "0", 1.0) for _ in range(6)] == [True] * 3 + [False] * 3


def test_nobody_is_forgotten_while_one_in_front_has_passed() -> None:
    gcra = Gcra(1, 1.0, 5, 8)
    gcra.take("old", 0.0)
    for number in range(7):
        gcra.take(str(number), 0.9)
    gcra.take("new", 1.5)
    assert len(gcra) == 8
    assert not gcra.forgotten
    assert [granted(gcra, "0", 1.5) for _ in range(6)] == [True] * 4 + [False] * 2


def test_a_flood_of_keys_does_not_free_who_is_at_the_limit() -> None:
    gcra = Gcra(1, 60.0, 5, 1000)
    while granted(gcra, "greedy", 0.0):
        pass
    for number in range(100_000):
        gcra.take(str(number), number / 10_000)
    assert not granted(gcra, "greedy", 10.0)


def test_a_million_keys_in_bounded_memory() -> None:
    gcra = Gcra(1, 3600.0, 1, 10_000)
    sizes = set()
    for number in range(1_000_000):
        gcra.take(str(number), number / 1000)
        if number % 1000 == 0:
            sizes.add(sys.getsizeof(gcra._due))
    assert len(gcra) == 10_000
    assert gcra.forgotten == 990_000
    assert max(sizes) < 10_000 * 200
