"""The balancing policies: each is one method that picks among the members a pool holds eligible."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

_STATES_KEPT = 16
_RING_POINTS = 160
_RING_LIMIT = 65536


class Weighted(Protocol):
    """What smooth weighted round robin needs of a thing it shares out turns among."""

    @property
    def key(self) -> Hashable: ...


class Member(Weighted, Protocol):
    """What the other policies need besides: how much the member has in flight."""

    in_flight: int


W = TypeVar("W", bound=Weighted)
M = TypeVar("M", bound=Member)


class _Turns(Generic[W]):
    """Smooth weighted round robin over one fixed set: nginx's algorithm (`ngx_http_upstream_round_robin`).

    Each pick raises every current value by its weight, takes the largest, and lowers that by the total.
    """

    __slots__ = ("currents", "members", "total", "weights")

    def __init__(self, members: Sequence[W], weights: Sequence[int], currents: list[int]) -> None:
        self.members = members
        self.weights = weights
        self.total = sum(weights)
        self.currents = currents

    def pick(self) -> W:
        currents = self.currents
        best = 0
        highest = None
        for index, weight in enumerate(self.weights):
            current = currents[index] + weight
            currents[index] = current
            if highest is None or current > highest:
                highest = current
                best = index
        currents[best] -= self.total
        return self.members[best]


class WeightedRoundRobin(Generic[W]):
    """Smooth weighted round robin that stays fair while eligibility changes.

    There is one state for each eligible subset (with its weights), the last sixteen are kept. A new one begins with
    the current values that its members had last, centred on zero and bounded by the subset's total weight W. Within
    that bound the shares are exact over any window of W picks that begins at least W picks after the change; starting
    from zero at each change instead would starve light members, since a heavy one comes first each time.
    """

    __slots__ = ("_carried", "_last", "_states")

    def __init__(self) -> None:
        self._states: OrderedDict[Hashable, _Turns[W]] = OrderedDict()
        self._carried: dict[Hashable, int] = {}
        self._last: tuple[Sequence[W], Sequence[int], _Turns[W]] | None = None

    def pick(self, members: Sequence[W], weights: Sequence[int]) -> W:
        """Picks among `members`, which must not be empty, with positive integer `weights` beside them.

        Passing the very same sequence objects again means that nothing changed, and is quick.
        """
        last = self._last
        if last is not None and last[0] is members and last[1] is weights:
            return last[2].pick()
        turns = self._turns(members, weights)
        self._last = (members, weights, turns)
        return turns.pick()

    def retain(self, keys: frozenset[Hashable]) -> None:
        """Forgets members that are gone."""
        self._carried = {key: value for key, value in self._carried.items() if key in keys}
        self._states.clear()
        if self._last is not None:
            self._remember(self._last[2], keys)
            self._last = None

    def _turns(self, members: Sequence[W], weights: Sequence[int]) -> _Turns[W]:
        if self._last is not None:
            self._remember(self._last[2], None)
        subset = tuple((member.key, weight) for member, weight in zip(members, weights, strict=True))
        known = self._states.get(subset)
        if known is not None:
            self._states.move_to_end(subset)
            known.members = members
            known.weights = weights
            return known
        turns = _Turns(members, weights, self._carry_over(members, sum(weights)))
        self._states[subset] = turns
        if len(self._states) > _STATES_KEPT:
            self._states.popitem(last=False)
        return turns

    def _remember(self, turns: _Turns[W], keys: frozenset[Hashable] | None) -> None:
        for member, current in zip(turns.members, turns.currents, strict=True):
            if keys is None or member.key in keys:
                self._carried[member.key] = current

    def _carry_over(self, members: Sequence[W], total: int) -> list[int]:
        currents = [self._carried.get(member.key, 0) for member in members]
        shift, rest = divmod(sum(currents), len(currents))
        return [
            max(-total, min(total, current - shift - (1 if index < rest else 0)))
            for index, current in enumerate(currents)
        ]


def pick_least_request(members: Sequence[M], weights: Sequence[int], draw: Callable[[], float]) -> M:
    """Of two members drawn by weight, the one with less in flight for its weight (power of two choices)."""
    bounds = list(accumulate(weights))
    first = bisect_right(bounds, draw() * bounds[-1])
    second = bisect_right(bounds, draw() * bounds[-1])
    if members[second].in_flight * weights[first] < members[first].in_flight * weights[second]:
        return members[second]
    return members[first]


class RingHash(Generic[M]):
    """Consistent hashing: a key stays with its member while the ring's membership stays.

    Points are spread by weight. Members that are on the ring but not eligible at the moment (open circuit, already
    tried, busy) are walked past, so only their share moves.
    """

    __slots__ = ("_members", "_owners", "_points")

    def __init__(self, members: Sequence[M], weights: Sequence[int]) -> None:
        self._members = len(members)
        total = sum(weights) or 1
        budget = min(_RING_LIMIT, _RING_POINTS * len(members))
        ring = [
            (_hash64(f"{member.key}#{number}".encode()), member)
            for member, weight in zip(members, weights, strict=True)
            for number in range(max(1, round(budget * weight / total)))
        ]
        ring.sort(key=lambda point: point[0])
        self._points = [point for point, _ in ring]
        self._owners = [owner for _, owner in ring]

    def pick(self, key: str, eligible: frozenset[Hashable]) -> M | None:
        """The first eligible member at or after the key's point; None where no member of the ring is eligible."""
        start = bisect_left(self._points, _hash64(key.encode("utf-8", "surrogateescape")))
        passed: set[Hashable] = set()
        count = len(self._owners)
        for step in range(count):
            owner = self._owners[(start + step) % count]
            if owner.key in passed:
                continue
            if owner.key in eligible:
                return owner
            passed.add(owner.key)
            if len(passed) == self._members:
                break
        return None


def _hash64(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
