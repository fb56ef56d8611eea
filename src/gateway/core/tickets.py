"""Tickets and attempts, what a shell reports of them, and what the core decides."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

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


@mypyc_attr(allow_interpreted_subclasses=True)
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


@mypyc_attr(allow_interpreted_subclasses=True)
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


# Made for each request: plain classes, since making one that `dataclass` makes costs ten times as much when compiled.


class Head:
    """The response head came. `replayable`: the request can be sent again, all of its body read so far is kept."""

    __slots__ = ("replayable", "status")

    def __init__(self, status: int, replayable: bool) -> None:
        self.status = status
        self.replayable = replayable


class End:
    """The response is complete."""

    __slots__ = ()


class Failure:
    """The attempt failed; TRUNCATED only after the head, the other kinds only before it."""

    __slots__ = ("kind", "replayable")

    def __init__(self, kind: FailureKind, replayable: bool) -> None:
        self.kind = kind
        self.replayable = replayable


Result = Head | End | Failure


class Send:
    """Send the request to `attempt.instance`."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt


class Wait:
    """The ticket is queued; its decision will be among the woken ones, at the latest at `until`."""

    __slots__ = ("ticket", "until")

    def __init__(self, ticket: Ticket, until: float) -> None:
        self.ticket = ticket
        self.until = until


class Reject:
    """The ticket ended: refuse with `status`; `retry_after` in seconds where a time is known."""

    __slots__ = ("reason", "retry_after", "status", "ticket")

    def __init__(self, ticket: Ticket, reason: Reason, status: int, retry_after: float | None = None) -> None:
        self.ticket = ticket
        self.reason = reason
        self.status = status
        self.retry_after = retry_after


class Deliver:
    """Pass this response head on to the client, then stream."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket


class Broken:
    """The ticket ended after its head went out: abort the client's connection, never end it cleanly."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket


class Done:
    """The ticket ended: responded."""

    __slots__ = ("ticket",)

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
