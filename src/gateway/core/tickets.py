"""Tickets and attempts, what a shell reports of them, and what the core decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.facts import TicketFacts
from gateway.core.model import FailureKind, Instance, InstanceKey, Outcome, Reason, Route, ServicePolicy

if TYPE_CHECKING:
    from gateway.core.admission import Gate
    from gateway.core.breaker import Permit
    from gateway.core.pool import Member, Pool
    from gateway.core.split import Ways
    from gateway.core.timers import Timer


class TicketState(Enum):
    NEW = "new"
    QUEUED = "queued"
    ATTEMPTING = "attempting"
    RESPONDING = "responding"
    ENDED = "ended"


class Ticket:
    """One accepted request. It keeps the version of the route it matched, and ends exactly once."""

    __slots__ = (
        "attempt",
        "attempts",
        "expiry",
        "facts",
        "gate",
        "id",
        "outcome",
        "pool",
        "queued_until",
        "route",
        "state",
        "tried",
        "ways",
    )

    def __init__(
        self, ticket_id: int, route: Route, facts: TicketFacts, pool: Pool, gate: Gate, ways: Ways | None = None
    ) -> None:
        self.id = ticket_id
        self.route = route
        self.facts = facts
        self.pool = pool
        self.gate = gate
        self.ways = ways
        """Of a request that says where it may go; other tickets go wherever their route does."""
        self.state = TicketState.NEW
        self.outcome: Outcome | None = None
        self.attempt: Attempt | None = None
        self.attempts = 0
        self.tried: tuple[InstanceKey, ...] = ()
        self.queued_until = 0.0
        self.expiry: Timer | None = None


class Attempt:
    """One try of a ticket on one instance, under the service policy of that moment."""

    __slots__ = ("instance", "judged", "member", "number", "permit", "policy", "ticket")

    def __init__(self, ticket: Ticket, number: int, member: Member, policy: ServicePolicy, permit: Permit) -> None:
        self.ticket = ticket
        self.number = number
        self.member = member
        self.instance: Instance = member.instance
        self.policy = policy
        self.permit = permit
        self.judged = False


@dataclass(slots=True)
class Head:
    """The response head came. `replayable`: the request can be sent again, all of its body read so far is kept."""

    status: int
    replayable: bool


@dataclass(slots=True)
class End:
    """The response is complete."""


@dataclass(slots=True)
class Failure:
    """The attempt failed; TRUNCATED only after the head, the other kinds only before it."""

    kind: FailureKind
    replayable: bool


Result = Head | End | Failure


@dataclass(slots=True)
class Send:
    """Send the request to `attempt.instance`."""

    attempt: Attempt


@dataclass(slots=True)
class Wait:
    """The ticket is queued; its decision will be among the woken ones, at the latest at `until`."""

    ticket: Ticket
    until: float


@dataclass(slots=True)
class Reject:
    """The ticket ended: refuse with `status`; `retry_after` in seconds where a time is known."""

    ticket: Ticket
    reason: Reason
    status: int
    retry_after: float | None = None


@dataclass(slots=True)
class Deliver:
    """Pass this response head on to the client, then stream."""

    ticket: Ticket


@dataclass(slots=True)
class Broken:
    """The ticket ended after its head went out: abort the client's connection, never end it cleanly."""

    ticket: Ticket


@dataclass(slots=True)
class Done:
    """The ticket ended: responded."""

    ticket: Ticket
