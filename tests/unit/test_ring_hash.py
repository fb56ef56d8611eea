"""Ring hash by itself: a key stays where it is, shares follow weights, the ring stays small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from gateway.core.balancer import RingHash, ring_point
from tests.unit.balancer_support import THINGS, Thing

KEYS = [f"client-{number}" for number in range(4000)]


def owners(members: Sequence[Thing], weights: Sequence[int], eligible: Sequence[Thing] | None = None) -> dict[str, str]:
    ring = RingHash(members, weights)
    keys = frozenset(member.key for member in (members if eligible is None else eligible))
    found = {}
    for key in KEYS:
        owner = ring.pick(ring_point(key), keys)
        assert owner is not None
        found[key] = owner.key
    return found


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [3, 3, 3, 3, 3], [5, 4, 5, 4, 5]])
def test_removing_a_member_moves_only_its_share(weights: list[int]) -> None:
    members = THINGS[:5]
    before = owners(members, weights)
    after = owners(members[1:], weights[1:])
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == "a"}


def test_a_member_that_is_not_eligible_moves_only_its_share() -> None:
    members = THINGS[:5]
    before = owners(members, [1] * 5)
    without = owners(members, [1] * 5, members[1:])
    assert all(before[key] in (without[key], "a") for key in KEYS)
    assert "a" not in without.values()


def test_the_share_of_one_that_left_is_spread() -> None:
    members = THINGS[:5]
    before = owners(members, [1] * 5)
    without = owners(members, [1] * 5, members[1:])
    heirs = Counter(without[key] for key in KEYS if before[key] == "a")
    assert len(heirs) == 4


def test_shares_follow_the_weights() -> None:
    seen = Counter(owners(THINGS[:3], [1, 2, 1]).values())
    assert 0.40 < seen["b"] / len(KEYS) < 0.60
    assert min(seen["a"], seen["c"]) / len(KEYS) > 0.15


def points_by_owner(ring: RingHash[Thing]) -> Counter[int]:
    return Counter(point & 0xFFFF for point in ring._ring)


def test_hundreds_of_members_with_large_weights_stay_within_bounds() -> None:
    """The bound halves the ring as often as is needed, so that what is left is at least half of what is allowed."""
    members = [Thing(f"m{number}") for number in range(300)]
    ring = RingHash(members, [1 + number * 200 for number in range(300)])
    assert 65536 // 2 <= len(ring._ring) <= 65536 + 300
    assert set(points_by_owner(ring)) == set(range(300))


@pytest.mark.parametrize("weights", [[1, 1, 1], [7, 7, 7], [90, 110, 100], [65535, 65535, 65535]])
def test_a_usual_member_has_some_hundred_points_whatever_the_scale_of_weights(weights: list[int]) -> None:
    counts = points_by_owner(RingHash(THINGS[:3], weights))
    assert all(160 * 0.85 <= count < 320 for count in counts.values())


def test_the_lightest_member_is_on_the_ring_once() -> None:
    assert points_by_owner(RingHash(THINGS[:2], [1, 60_000]))[0] == 1


def test_where_a_key_belongs_is_the_same_for_every_gateway_of_every_version() -> None:
    """Gateways of one group are not upgraded at once, and must not send a key to different members meanwhile."""
    assert ring_point("client-0") == 15073221469542419009
    found = owners(THINGS[:4], [1, 2, 3, 4])
    assert "".join(found[key] for key in KEYS[:40]) == "bdbdcbdadadddbdcacdbccdacbddcddbbcddbdcb"


def test_a_key_may_be_any_bytes_that_a_header_held() -> None:
    assert ring_point(b"\xff".decode("utf-8", "surrogateescape")) != ring_point("")


def test_nobody_on_the_ring_or_nobody_eligible() -> None:
    assert RingHash[Thing]([], []).pick(ring_point("x"), {"a"}) is None
    assert RingHash(THINGS[:3], [1, 1, 1]).pick(ring_point("x"), frozenset()) is None


def test_a_pick_with_nobody_eligible_ends_when_each_member_was_passed() -> None:
    asked = Counter[object]()

    class Nobody:
        def __contains__(self, key: object) -> bool:
            asked[key] += 1
            return False

    ring = RingHash(THINGS[:3], [1, 1, 1])
    assert ring.pick(ring_point("x"), Nobody()) is None
    assert set(asked) == set("abc")
    assert asked.total() < len(ring._ring) / 10


def test_where_a_key_belongs_does_not_depend_on_the_order_of_members() -> None:
    assert owners(THINGS[:4], [1, 2, 3, 4]) == owners(THINGS[3::-1], [4, 3, 2, 1])
