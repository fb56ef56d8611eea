"""What is told of each request when it has ended.

Plain classes: they are made for each request, which `dataclass` and msgspec make slower when compiled.
"""

from __future__ import annotations

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, Outcome, Reason
from gateway.telemetry.trace_context import TraceContext


class AttemptRecord:
    """`result` is a status, or the failure's kind, or `abandoned` where nothing had come when the request ended.

    Seconds: `began` after the request did, the others after the attempt did. `connect` is 0 where a connection was
    kept; `first_byte` is None where no response head came; `duration` ends with the last byte of the response;
    `view_age` is how long before the pick the view of the service was confirmed, None where nobody knows.
    """

    __slots__ = ("began", "connect", "duration", "first_byte", "instance", "result", "span_id", "view_age")

    def __init__(
        self,
        instance: Instance,
        began: float,
        view_age: float | None,
        span_id: str,
        result: int | str = "abandoned",
        connect: float = 0.0,
        first_byte: float | None = None,
        duration: float = 0.0,
    ) -> None:
        self.instance = instance
        self.began = began
        self.view_age = view_age
        self.span_id = span_id
        self.result = result
        self.connect = connect
        self.first_byte = first_byte
        self.duration = duration


class RequestRecord:
    """`duration` in seconds, of which it waited `queue` to be sent. `status` is None where no response head went out;
    `method` and `path` are empty where none could be read. `path` is normalised, without query; it is what the client
    sent, so it is not for labels."""

    __slots__ = (
        "attempts",
        "bytes_in",
        "bytes_out",
        "client_ip",
        "context",
        "detail",
        "duration",
        "facts",
        "identity",
        "instance",
        "issuer",
        "method",
        "outcome",
        "path",
        "queue",
        "reason",
        "request_id",
        "route",
        "status",
        "ticket",
        "trace",
    )

    def __init__(
        self,
        method: str,
        path: str,
        route: str | None,
        status: int | None,
        outcome: Outcome,
        reason: Reason | None,
        duration: float,
        attempts: int,
        instance: Instance | None,
        bytes_in: int,
        bytes_out: int,
        request_id: str,
        ticket: int | None,
        client_ip: str,
        detail: str | None,
        trace: tuple[AttemptRecord, ...],
        queue: float = 0.0,
        facts: RequestFacts | None = None,
        context: TraceContext | None = None,
        identity: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.route = route
        self.status = status
        self.outcome = outcome
        self.reason = reason
        self.duration = duration
        self.attempts = attempts
        self.instance = instance
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.request_id = request_id
        self.ticket = ticket
        """Its number in the core's events; None where it was refused before it had one."""
        self.client_ip = client_ip
        self.detail = detail
        """For people: why a request was refused or an attempt failed. May name addresses; never sent to clients."""
        self.trace = trace
        self.queue = queue
        self.facts = facts
        """What the client asked, as it was read; None where it could not be."""
        self.context = context
        """None where no head was read."""
        self.identity = identity
        """Who sent it, by what proof: `jwt:alice`. None where nobody was asked, or none was taken."""
        self.issuer = issuer
        """Of the token that says so, if it names one."""
