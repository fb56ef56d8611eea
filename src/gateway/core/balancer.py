"""The balancing policies: each is one method that picks among the members a pool holds eligible."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Hashable, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import gcd
from struct import Struct
from typing import Generic, Protocol, TypeVar

from mypy_extensions import mypyc_attr

_TURN = 1 << 20
"""Leads are kept in millionths of a turn or so: integers, so that nothing drifts."""
_REPLAYED = 4096
_RING_POINTS = 160
_RING_LIMIT = 65536
_OWNER_BITS = 16
_OWNER = (1 << _OWNER_BITS) - 1

_eight = Struct(">8Q").unpack


class Weighted(Protocol):
    """What smooth weighted round robin needs of a thing it shares out turns among."""

    @property
    def key(self) -> Hashable: ...


class Member(Weighted, Protocol):
    """What the other policies need besides: how much the member has in flight."""

    in_flight: int


W = TypeVar("W", bound=Weighted)
M = TypeVar("M", bound=Member)


@mypyc_attr(allow_interpreted_subclasses=True)
class WeightedRoundRobin(Generic[W]):
    """Smooth weighted round robin that stays fair while eligibility changes.

    The algorithm is nginx's (`ngx_http_upstream_round_robin`): a pick raises every current value by its weight, takes
    the largest, and lowers that by the total weight W. Divided by W, a current value is the *lead* of its member: how
    many turns it is owed. When the members or weights change, the leads are carried over: whoever was owed a turn is
    still, who was not eligible meanwhile neither gains nor loses, and a newcomer is owed nothing. (Carrying the values
    themselves would count a turn among heavy members for more than one among light ones; starting from zero would
    starve the light.) Leads farther than one turn from their mean are cut, and within that bound the shares are exact
    over any window of W picks that begins at least W picks after the change. What is cut off, or rounded, is made up
    for among the same members: else those in a service that changes often would drift away from all others.

    Then the picks repeat with period W, so they are noted down and read off: a pick costs the same for three members
    and for three hundred.
    """

    __slots__ = ("_currents", "_leads", "_members", "_period", "_position", "_round", "_start", "_total", "_weights")

    def __init__(self) -> None:
        self._leads: dict[Hashable, int] = {}
        self._members: Sequence[W] = ()
        self._weights: Sequence[int] = ()
        self._total = 0
        self._currents: list[int] = []
        self._period = 0
        """Picks in a round; 0 where it would be too long to note down."""
        self._begin_round()

    def _begin_round(self) -> None:
        self._start = self._currents.copy()
        """The current values when the round began."""
        self._round: list[int] = []
        """The indices picked in this round, or in all rounds once they repeat."""
        self._position = -1
        """Where in the round we are, once rounds repeat; -1 before."""

    def pick(self, members: Sequence[W], weights: Sequence[int]) -> W:
        """Picks among `members`, which must not be empty, with positive integer `weights` beside them.

        Passing the very same sequence objects again means that nothing changed, and is quick.
        """
        if members is not self._members or weights is not self._weights:
            self._enter(members, weights)
        position = self._position
        if position < 0:
            return members[self._next()]
        self._position = position + 1 if position + 1 < self._period else 0
        return members[self._round[position]]

    def retain(self, keys: frozenset[Hashable]) -> None:
        """Forgets members that are gone."""
        self._put_down()
        self._leads = {key: lead for key, lead in self._leads.items() if key in keys}

    def _put_down(self) -> None:
        self._leave()
        self._members = self._weights = ()

    def succeed(self, other: WeightedRoundRobin[W]) -> None:
        """Begins with what another's members are owed."""
        other._put_down()
        self._leads = dict(other._leads)

    def _next(self) -> int:
        currents = self._currents
        best, highest = 0, None
        for index, weight in enumerate(self._weights):
            current = currents[index] = currents[index] + weight * _TURN
            if highest is None or current > highest:
                best, highest = index, current
        currents[best] -= self._total * _TURN
        if self._period:
            self._note(best)
        return best

    def _note(self, index: int) -> None:
        self._round.append(index)
        if len(self._round) == self._period:
            if self._currents == self._start:
                self._position = 0
            else:
                self._begin_round()

    def _enter(self, members: Sequence[W], weights: Sequence[int]) -> None:
        same = [member.key for member in members] == [member.key for member in self._members]
        if not same or list(weights) != list(self._weights):
            self._leave()
            self._total = sum(weights)
            self._currents = [lead * self._total for lead in self._carried(members)]
            period = self._total // gcd(*weights)
            self._period = period if period <= _REPLAYED else 0
            self._begin_round()
        self._members, self._weights = members, weights

    def _leave(self) -> None:
        """Puts the current values down as leads."""
        currents, total = self._currents, self._total
        if self._position > 0:
            for index, weight in enumerate(self._weights):
                currents[index] += self._position * weight * _TURN
            for index in self._round[: self._position]:
                currents[index] -= total * _TURN
        if self._members:
            leads = _level([current // total for current in currents], sum(currents) // total)
            for index, member in enumerate(self._members):
                self._leads[member.key] = leads[index]

    def _carried(self, members: Sequence[W]) -> list[int]:
        leads = [self._leads.get(member.key, 0) for member in members]
        owed = sum(leads)
        mean = owed // len(leads)
        while min(leads) < mean - _TURN or max(leads) > mean + _TURN:
            leads = [min(max(lead, mean - _TURN), mean + _TURN) for lead in leads]
            mean = sum(leads) // len(leads)
        return _level(leads, owed)


def _level(leads: list[int], owed: int) -> list[int]:
    """The same added to each, so that they sum to `owed`; what does not divide goes to the first."""
    missing = owed - sum(leads)
    if not missing:
        return leads
    each, rest = divmod(missing, len(leads))
    return [lead + each + (index < rest) for index, lead in enumerate(leads)]


@mypyc_attr(allow_interpreted_subclasses=True)
class LeastRequest(Generic[M]):
    """Of two members drawn by weight, the one with less in flight for its weight (power of two choices)."""

    __slots__ = ("_bounds", "_weights")

    def __init__(self) -> None:
        self._weights: Sequence[int] = ()
        self._bounds: Sequence[int] = ()

    def pick(self, members: Sequence[M], weights: Sequence[int], draw: Callable[[], float]) -> M:
        if len(members) == 1:
            return members[0]
        if weights is not self._weights:
            self._weights, self._bounds = weights, list(accumulate(weights))
        bounds = self._bounds
        first = bisect_right(bounds, int(draw() * bounds[-1]))
        weight, end = weights[first], bounds[first]
        other = int(draw() * (bounds[-1] - weight))
        second = bisect_right(bounds, other if other < end - weight else other + weight)
        if members[second].in_flight * weight < members[first].in_flight * weights[second]:
            return members[second]
        return members[first]


@mypyc_attr(allow_interpreted_subclasses=True)
class RingHash(Generic[M]):
    """Consistent hashing: a key stays with its member while the ring's membership stays.

    Points are spread by weight. How many a member has depends on its own weight and, in steps of powers of two, on
    the size of a usual weight, so that one that comes or goes moves only its own share. Members that are on the ring
    but not eligible at the moment (open circuit, already tried, busy) are walked past, which moves only their share.
    """

    __slots__ = ("_members", "_ring")

    def __init__(self, members: Sequence[M], weights: Sequence[int]) -> None:
        self._members = members
        self._ring = [
            point << _OWNER_BITS | owner
            for owner, count in enumerate(_point_counts(weights))
            for point in _points(str(members[owner].key), count)
        ]
        self._ring.sort()

    def pick(self, point: int, eligible: Container[Hashable]) -> M | None:
        """The first eligible member at or after the point; None where no member of the ring is eligible."""
        ring, count = self._ring, len(self._ring)
        start = bisect_left(ring, point << _OWNER_BITS)
        passed: set[int] = set()
        for step in range(start, start + count):
            owner = ring[step % count] & _OWNER
            member = self._members[owner]
            if member.key in eligible:
                return member
            passed.add(owner)
            if len(passed) == len(self._members):
                break
        return None


def ring_point(value: str) -> int:
    """Where a value stands on every ring, as 64 bits."""
    return _points(value, 1)[0]


def _point_counts(weights: Sequence[int]) -> Sequence[int]:
    usual = sum(weights) // len(weights) if weights else 1
    unit = 1 << (usual.bit_length() - 1)
    while sum(weights) * _RING_POINTS // unit > _RING_LIMIT:
        unit *= 2
    return [max(1, _RING_POINTS * weight // unit) for weight in weights]


def _points(name: str, count: int) -> Sequence[int]:
    """Points of 64 bits, eight from each digest."""
    data = name.encode(errors="surrogateescape")
    points: list[int] = []
    for number in range(0, count, 8):
        points += _eight(blake2b(data, salt=number.to_bytes(16)).digest())
    return points[:count]
