"""Who may go now and who waits: the in-flight limit of a route, and its bounded first-in-first-out queue."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.pool import Pool
    from gateway.core.tickets import Ticket


class Lane:
    """The waiting tickets of one route for one pool, oldest first.

    A route's queue is the sum of its lanes: a backend that is busy does not hold up what waits for another.
    """

    __slots__ = ("fresh", "gate", "pool", "tickets")

    def __init__(self, gate: Gate, pool: Pool) -> None:
        self.gate = gate
        self.pool = pool
        self.tickets: OrderedDict[int, Ticket] = OrderedDict()
        self.fresh = 0
        """Tickets that may go to any member; the others wait for one that they have not tried."""

    def __bool__(self) -> bool:
        return bool(self.tickets)

    @property
    def head(self) -> Ticket:
        return next(iter(self.tickets.values()))


class Gate:
    """One route's counts: tickets in flight and tickets queued. It outlives edits of the route."""

    __slots__ = ("in_flight", "lanes", "name", "queued")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = 0
        self.queued = 0
        self.lanes: dict[Pool, Lane] = {}
        """Only lanes in which somebody waits."""

    def full(self, limit: int) -> bool:
        return 0 < limit <= self.in_flight

    def holds_back(self, ticket: Ticket) -> bool:
        """Whether somebody waits who would have to be served before this ticket."""
        lane = self.lanes.get(ticket.pool)
        return lane is not None and (lane.fresh > 0 or bool(ticket.tried))

    def join(self, ticket: Ticket) -> None:
        """Queues a ticket for its pool: a new one at the end, one that waits to be retried in front."""
        pool = ticket.pool
        lane = self.lanes.get(pool)
        if lane is None:
            lane = self.lanes[pool] = Lane(self, pool)
            pool.service.lanes[lane] = None
        lane.tickets[ticket.id] = ticket
        if ticket.tried:
            lane.tickets.move_to_end(ticket.id, last=False)
        else:
            lane.fresh += 1
        self.queued += 1

    def leave(self, ticket: Ticket) -> None:
        lane = self.lanes[ticket.pool]
        del lane.tickets[ticket.id]
        lane.fresh -= not ticket.tried
        self.queued -= 1
        if not lane:
            del self.lanes[ticket.pool]
            del ticket.pool.service.lanes[lane]
