"""What is told of each request when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.core.model import Instance, Outcome, Reason


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """`result` is a status, or the failure's kind, or `abandoned` where nothing had come when the request ended."""

    instance: Instance
    result: int | str
    duration: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """`duration` in seconds. `status` is None where no response head went out; `method` and `path` are empty where
    none could be read. `path` is normalised, without query; it is what the client sent, so it is not for labels."""

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
    identity: str | None = None
    """Who sent it, by what proof: `jwt:alice`. None where nobody was asked, or none was taken."""


class RequestObserver(Protocol):
    def request_ended(self, record: RequestRecord) -> None:
        """Called exactly once for each request, refused and unreadable ones too."""
