"""What is told of each request when it has ended."""

from __future__ import annotations

from typing import Protocol

import msgspec

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, Outcome, Reason
from gateway.telemetry.trace_context import TraceContext


class AttemptRecord(msgspec.Struct):
    """`result` is a status, or the failure's kind, or `abandoned` where nothing had come when the request ended.

    Seconds: `began` after the request did, the others after the attempt did. `first_byte` is None where no response
    head came; `duration` ends with the last byte of the response.
    """

    instance: Instance
    began: float
    view_age: float | None
    """Seconds since the view of the service was confirmed, when the instance was picked; None where nobody knows."""
    span_id: str
    result: int | str = "abandoned"
    connect: float = 0.0
    first_byte: float | None = None
    duration: float = 0.0


class RequestRecord(msgspec.Struct, frozen=True):
    """`duration` in seconds, of which it waited `queue` to be sent. `status` is None where no response head went out;
    `method` and `path` are empty where none could be read. `path` is normalised, without query; it is what the client
    sent, so it is not for labels."""

    method: str
    path: str
    route: str | None
    status: int | None
    outcome: Outcome
    reason: Reason | None
    duration: float
    attempts: int
    instance: Instance | None
    bytes_in: int
    bytes_out: int
    request_id: str
    ticket: int | None
    """Its number in the core's events; None where it was refused before it had one."""
    client_ip: str
    detail: str | None
    """For people: why a request was refused or an attempt failed. May name addresses; never sent to clients."""
    trace: tuple[AttemptRecord, ...]
    queue: float = 0.0
    facts: RequestFacts | None = None
    """What the client asked, as it was read; None where it could not be."""
    context: TraceContext | None = None
    """None where no head was read."""
    identity: str | None = None
    """Who sent it, by what proof: `jwt:alice`. None where nobody was asked, or none was taken."""
    issuer: str | None = None
    """Of the token that says so, if it names one."""


class RequestObserver(Protocol):
    def view_age(self, service: str) -> float | None:
        """Seconds since the view of that service was confirmed; asked at each pick."""

    def request_ended(self, record: RequestRecord) -> None:
        """Called exactly once for each request, refused and unreadable ones too."""
