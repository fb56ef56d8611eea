"""The balancing policies by themselves: exact shares, bounded lag, less load. For ring hash see `test_ring_hash`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import nextafter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.balancer import LeastRequest, WeightedRoundRobin
from tests.unit.balancer_support import THINGS, TURN, Thing, carried
from tests.unit.core_support import draws

subsets = st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True).map(sorted)
weightings = st.lists(st.integers(1, 9), min_size=6, max_size=6)
histories = st.lists(st.tuples(subsets, st.integers(1, 12)), max_size=30)


def pick(turns: WeightedRoundRobin[Thing], subset: Sequence[int], weights: Sequence[int]) -> int:
    """As a pool does whose content was recomputed: equal sequences, but not the same objects."""
    return THINGS.index(turns.pick([THINGS[each] for each in subset], [weights[each] for each in subset]))


def picks(turns: WeightedRoundRobin[Thing], subset: Sequence[int], weights: Sequence[int], count: int) -> list[int]:
    members, shares = [THINGS[each] for each in subset], [weights[each] for each in subset]
    return [THINGS.index(turns.pick(members, shares)) for _ in range(count)]


def test_ten_to_one_is_exact_and_spread() -> None:
    seen = picks(WeightedRoundRobin(), [0, 1], [10, 1], 1100)
    assert Counter(seen) == {0: 1000, 1: 100}
    light = [step for step, index in enumerate(seen) if index == 1]
    assert {after - before for before, after in pairwise(light)} == {11}


def test_picks_are_those_of_nginx() -> None:
    assert picks(WeightedRoundRobin(), [0, 1, 2], [5, 1, 1], 7) == [0, 0, 1, 0, 2, 0, 0]


@given(weights=weightings, history=histories, last=subsets)
@settings(max_examples=400, deadline=None)
def test_shares_are_exact_from_one_round_after_the_last_change(
    weights: list[int], history: list[tuple[list[int], int]], last: list[int]
) -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for subset, count in history:
        picks(turns, subset, weights, count)
    total = sum(weights[each] for each in last)
    seen = picks(turns, last, weights, 4 * total)
    for begin in range(total, 3 * total + 1):
        assert Counter(seen[begin : begin + total]) == {each: weights[each] for each in last}


@given(weights=weightings, history=st.lists(subsets, min_size=1, max_size=400))
@settings(max_examples=300, deadline=None)
def test_nobody_is_ever_owed_more_than_a_few_turns(weights: list[int], history: list[list[int]]) -> None:
    """Owed: the sum, over the picks that a member was eligible for, of its share, less the picks it got."""
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    owed = [Fraction(0)] * 6
    waited = [Fraction(0)] * 6
    for subset in history:
        total = sum(weights[each] for each in subset)
        picked = pick(turns, subset, weights)
        assert picked in subset
        for each in subset:
            owed[each] += Fraction(weights[each], total)
            waited[each] += Fraction(weights[each], total)
        owed[picked] -= 1
        waited[picked] = Fraction(0)
        assert max(map(abs, owed)) < 3
        assert max(waited) < 4


def test_a_light_member_does_not_starve_though_its_heavy_company_changes_each_time() -> None:
    """What one value per eligible subset would let happen: each subset begins with its heavy member."""
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    light = THINGS[0]
    seen = Counter[str]()
    for step in range(2000):
        company = Thing(f"heavy{step % 40}")
        seen[turns.pick([light, company], [1, 9]).key] += 1
    assert 190 <= seen["a"] <= 210


def test_turns_among_few_and_among_many_count_alike() -> None:
    """Else a member that is owed a turn among heavy ones would be paid by many among light ones."""
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    weights = [1, 1, 1, 9, 9, 9]
    seen = Counter[tuple[int, int]]()
    for step in range(3000):
        subset = [0, 1] if step % 2 else [0, 3, 4, 5]
        seen[len(subset), pick(turns, subset, weights)] += 1
    first = seen[2, 0] + seen[4, 0]
    assert abs(first - 1500 * (1 / 2 + 1 / 28)) < 3


def test_a_newcomer_does_not_go_before_those_who_are_owed_as_little() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    assert picks(turns, [0, 1], [1, 1], 2) == [0, 1]
    assert picks(turns, [0, 1, 2], [1, 1, 1], 3) == [0, 1, 2]


def test_other_members_under_the_same_weights_are_picked_at_once() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    weights = [2, 1]
    assert [turns.pick(THINGS[:2], weights).key for _ in range(4)] == ["a", "b", "a", "a"]
    assert [turns.pick(THINGS[2:4], weights).key for _ in range(3)] == ["c", "d", "c"]


def test_other_weights_of_the_same_members_are_heeded_at_once() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    members = THINGS[:2]
    assert Counter(turns.pick(members, weights).key for weights in ([3, 1],) for _ in range(4)) == {"a": 3, "b": 1}
    assert Counter(turns.pick(members, weights).key for weights in ([1, 3],) for _ in range(4)) == {"a": 1, "b": 3}


def test_a_newcomer_is_owed_nothing() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for step in range(50):
        pick(turns, [0, 1, 2] if step % 3 else [0, 1], [3, 2, 1])
    turns.retain(frozenset("ab"))
    seen = picks(turns, [0, 1, 5], [1, 1, 1, 1, 1, 1], 6)
    assert Counter(seen) == {0: 2, 1: 2, 5: 2}


def test_a_newcomer_does_not_wait_for_what_those_before_it_took() -> None:
    """Each leaves as soon as it has been picked, so that the others are owed more and more."""
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for number in range(50):
        guest = Thing(f"guest{number}")
        for _ in range(4):
            if turns.pick([*THINGS[:2], guest], [1, 1, 1]) is guest:
                break
        else:
            raise AssertionError(f"guest {number} was not picked in four turns")
        turns.retain(frozenset("ab"))


def test_light_members_do_not_starve_though_heavy_ones_come_and_go_at_each_pick() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    seen = Counter[str]()
    for number in range(500):
        seen[turns.pick([*THINGS[:2], Thing(f"guest{number}")], [1, 1, 8]).key] += 1
        turns.retain(frozenset("ab"))
    assert 49 <= seen["a"] <= 51
    assert 49 <= seen["b"] <= 51


def test_leads_farther_apart_than_any_history_brings_them_settle_in_one_round() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    turns._leads = {"a": 50 << 20, "b": 0, "c": -(50 << 20)}
    picks(turns, [0, 1, 2], [1, 1, 1], 3)
    assert Counter(picks(turns, [0, 1, 2], [1, 1, 1], 3)) == {0: 1, 1: 1, 2: 1}


def carried_over(leads: Sequence[int]) -> list[int]:
    """The leads that members with these have when they become eligible together, by the same weights."""
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    turns._leads = dict(zip("abcdef", leads, strict=False))
    members = THINGS[: len(leads)]
    turns._enter(members, [1] * len(members))
    turns.retain(frozenset("abcdef"))
    return [turns._leads[member.key] for member in members]


@pytest.mark.parametrize(
    ("leads", "after"),
    [
        ((5,), (5,)),
        ((1, 0, -1), (1, 0, -1)),
        ((2, 3, 4), (2, 3, 4)),
        ((2, -2), (1, -1)),
        ((3, 0, -3), (1, 0, -1)),
        ((3, 0), (2.5, 0.5)),
        ((6, 0, 0), (3, 1.5, 1.5)),
        ((0, -3), (-0.5, -2.5)),
    ],
    ids=str,
)
def test_leads_farther_than_a_turn_from_the_mean_are_cut_and_made_up_for(
    leads: Sequence[int], after: Sequence[float]
) -> None:
    """Of 6, 0 and 0: within a turn of the mean that remains, once that does not move any more, are 2.5, 1 and 1; what
    is missing then, a turn and a half, is shared out."""
    assert carried_over([lead * TURN for lead in leads]) == [lead * TURN for lead in after]


def test_what_does_not_divide_goes_to_the_first() -> None:
    assert carried_over([0, 2 * TURN + 1]) == [1, 2 * TURN]
    assert carried_over([0, -2 * TURN - 1]) == [0, -2 * TURN - 1], "the mean is rounded down"


@given(leads=st.lists(st.integers(-(50 << 20), 50 << 20), min_size=1, max_size=6))
@settings(deadline=None)
def test_leads_are_carried_over_as_specified(leads: list[int]) -> None:
    """Within a turn of their mean, and with the sum that they had."""
    over = carried_over(leads)
    assert over == list(carried(dict(zip("abcdef", leads, strict=False))).values())
    mean = sum(leads) / len(leads)
    assert sum(over) == sum(leads)
    assert all(abs(lead - mean) < TURN + 10 for lead in over)
    if all(abs(lead - mean) < TURN - 10 for lead in leads):
        assert over == leads


@given(weights=weightings, history=histories)
@settings(deadline=None)
def test_no_turn_is_owed_that_another_member_does_not_owe(
    weights: list[int], history: list[tuple[list[int], int]]
) -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for subset, count in history:
        picks(turns, subset, weights, count)
    turns.retain(frozenset("abcdef"))
    assert sum(turns._leads.values()) == 0


@pytest.mark.parametrize("turns_apart", [1, 50])
def test_who_is_owed_most_goes_first_and_who_is_farthest_ahead_goes_last(turns_apart: int) -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    turns._leads = {"a": turns_apart << 20, "b": 0, "c": -(turns_apart << 20)}
    assert picks(turns, [0, 1, 2], [1, 1, 1], 6) == [0, 0, 1, 0, 1, 2]


def test_weights_with_a_common_factor_make_a_short_round() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    assert picks(turns, [0, 1], [6000, 3000], 60) == [0, 1, 0] * 20
    assert turns._position >= 0
    assert len(turns._round) == 3


@given(weights=weightings, subset=subsets)
@settings(deadline=None)
def test_content_that_was_recomputed_and_is_equal_changes_nothing(weights: list[int], subset: list[int]) -> None:
    kept: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    recomputed: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    count = 3 * sum(weights[each] for each in subset)
    assert [pick(recomputed, subset, weights) for _ in range(count)] == picks(kept, subset, weights, count)
    assert recomputed._position >= 0, "the round is not read off"


def test_who_came_back_is_not_paid_for_the_time_away() -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    picks(turns, [0, 1, 2], [1, 1, 1], 100)
    picks(turns, [0, 1], [1, 1, 1], 1000)
    assert Counter(picks(turns, [0, 1, 2], [1, 1, 1], 6)) == {0: 2, 1: 2, 2: 2}


@given(weights=weightings, history=histories)
@settings(deadline=None)
def test_reading_the_round_off_equals_computing_it(weights: list[int], history: list[tuple[list[int], int]]) -> None:
    noted: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    computed: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for subset, count in history:
        members, shares = [THINGS[each] for each in subset], [weights[each] for each in subset]
        for _ in range(10 * count):
            first = noted.pick(members, shares)
            second = computed.pick(members, shares)
            computed._period = 0
            assert first is second


@given(weights=weightings, before=subsets, after=subsets, steps=st.integers(0, 120))
@settings(deadline=None)
def test_a_change_in_the_middle_of_a_round_read_off_carries_over_the_same(
    weights: list[int], before: list[int], after: list[int], steps: int
) -> None:
    noted: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    computed: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    for _ in range(steps):
        pick(noted, before, weights)
        pick(computed, before, weights)
        computed._period = 0
    for _ in range(30):
        assert pick(noted, after, weights) == pick(computed, after, weights)


@pytest.mark.parametrize(("heavy", "noted"), [(4095, 4096), (4096, 0), (65535, 0)])
def test_weights_too_uneven_for_a_round_are_computed(heavy: int, noted: int) -> None:
    turns: WeightedRoundRobin[Thing] = WeightedRoundRobin()
    seen = picks(turns, [0, 1], [heavy, 1], 2 * (heavy + 1))
    assert Counter(seen) == {0: 2 * heavy, 1: 2}
    assert turns._period == len(turns._round) == noted


# --- least request ---


def test_of_two_the_less_loaded_is_picked_whatever_is_drawn() -> None:
    busy, idle = Thing("busy", 5), Thing("idle", 1)
    for draw in (0.0, 0.3, 0.6, nextafter(1.0, 0.0)):
        for members in ([busy, idle], [idle, busy]):
            assert LeastRequest[Thing]().pick(members, [1, 1], draws(draw)) is idle


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.9), (0.9, 0.1)])
def test_load_is_compared_by_weight(first: float, second: float) -> None:
    large, small = Thing("large", 6), Thing("small", 2)
    assert LeastRequest[Thing]().pick([small, large], [1, 4], draws(first, second)) is large


def middles(count: int) -> list[float]:
    """Draws that divide what is shared out into so many equal parts."""
    return [(part + 0.5) / count for part in range(count)]


def test_members_without_load_share_by_weight() -> None:
    policy, weights = LeastRequest[Thing](), [1, 2, 3]
    seen = Counter(policy.pick(THINGS[:3], weights, draws(draw, 0.5)).key for draw in middles(6))
    assert seen == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(("busy", "shares"), [(0, {"b": 2, "c": 3}), (1, {"a": 1, "c": 3}), (2, {"a": 1, "b": 2})])
def test_what_a_busy_member_leaves_is_shared_by_the_weights_of_the_others(busy: int, shares: dict[str, int]) -> None:
    members, weights = [Thing(name) for name in "abc"], [1, 2, 3]
    members[busy].in_flight = 100
    hits_busy = (sum(weights[:busy]) + 0.5) / 6
    policy = LeastRequest[Thing]()
    others = middles(6 - weights[busy])
    assert Counter(policy.pick(members, weights, draws(hits_busy, draw)).key for draw in others) == shares


@given(
    weights=st.lists(st.integers(1, 65535), min_size=1, max_size=6),
    first=st.floats(0, 1, exclude_max=True),
    second=st.floats(0, 1, exclude_max=True),
)
def test_any_draw_picks_one_of_two_different_members(weights: list[int], first: float, second: float) -> None:
    members = [Thing(name, in_flight) for in_flight, name in enumerate("abcdef")][: len(weights)]
    picked = LeastRequest[Thing]().pick(members, weights, draws(first, second))
    assert picked in members
    if len(members) > 1 and len(set(weights)) == 1:
        assert picked is not members[-1]


@pytest.mark.parametrize("weights", [[3], [1, 2], [1, 1, 1]])
def test_the_largest_draw_picks_somebody(weights: list[int]) -> None:
    largest = nextafter(1.0, 0.0)
    members = [Thing(name) for name in "abc"][: len(weights)]
    assert LeastRequest[Thing]().pick(members, weights, draws(largest)) in members


def test_new_weights_are_heeded() -> None:
    policy = LeastRequest[Thing]()
    members = THINGS[:3]
    policy.pick(members, [1, 1, 1], draws(0.5))
    assert policy.pick(members[:2], [1, 1], draws(0.9)) in members[:2]


def test_least_request_evens_out_slow_members() -> None:
    policy = LeastRequest[Thing]()
    members = [Thing("slow"), Thing("b"), Thing("c")]
    state = 0.0

    def draw() -> float:
        nonlocal state
        state = (state + 0.6180339887) % 1
        return state

    seen = Counter[str]()
    for _ in range(3000):
        member = policy.pick(members, [1, 1, 1], draw)
        seen[member.key] += 1
        member.in_flight += 1
        for other in members[1:]:
            other.in_flight = 0
    assert seen["slow"] < 10
