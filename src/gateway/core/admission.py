"""Who may go now and who waits: the in-flight limit of a route, and its bounded first-in-first-out queue."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from gateway.core.pool import Pool
    from gateway.core.tickets import Ticket


@mypyc_attr(allow_interpreted_subclasses=True)
class Lane:
    """The waiting tickets of one route for one pool.

    A route's queue is the sum of its lanes: a backend that is busy does not hold up what waits for another.
    """

    __slots__ = ("fresh", "pool", "retries")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.retries: OrderedDict[int, Ticket] = OrderedDict()
        """Tickets that wait for a member they have not tried, oldest first; served before the fresh ones."""
        self.fresh: OrderedDict[int, Ticket] = OrderedDict()
        """Tickets that may go to any member, oldest first."""

    def __bool__(self) -> bool:
        return bool(self.retries or self.fresh)

    @property
    def head(self) -> Ticket:
        return next(iter((self.retries or self.fresh).values()))

    def candidates(self) -> Iterator[Ticket]:
        """Those of whom each could go although the ones before it cannot."""
        yield from self.retries.values()
        yield from islice(self.fresh.values(), 1)

    def queue_of(self, ticket: Ticket) -> OrderedDict[int, Ticket]:
        return self.retries if ticket.tried else self.fresh


@mypyc_attr(allow_interpreted_subclasses=True)
class Gate:
    """One route's counts: tickets in flight and tickets queued. It outlives edits of the route."""

    __slots__ = ("in_flight", "lanes", "name", "queued")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = 0
        self.queued = 0
        self.lanes: dict[Pool, Lane] = {}
        """Only lanes in which somebody waits."""

    def __bool__(self) -> bool:
        return bool(self.in_flight or self.queued)

    def full(self, limit: int) -> bool:
        return 0 < limit <= self.in_flight

    def holds_back(self, ticket: Ticket) -> bool:
        """Whether somebody waits who has to be served before this ticket; a retry takes what it finds."""
        if ticket.tried:
            return False
        lane = self.lanes.get(ticket.pool)
        return lane is not None and bool(lane.fresh)

    def join(self, ticket: Ticket) -> None:
        pool = ticket.pool
        lane = self.lanes.get(pool)
        if lane is None:
            lane = self.lanes[pool] = Lane(pool)
            pool.service.lanes[lane] = None
        lane.queue_of(ticket)[ticket.id] = ticket
        self.queued += 1

    def leave(self, ticket: Ticket) -> None:
        lane = self.lanes[ticket.pool]
        del lane.queue_of(ticket)[ticket.id]
        self.queued -= 1
        if not lane:
            del self.lanes[ticket.pool]
            del ticket.pool.service.lanes[lane]
