"""Where the data plane's records go: the metrics and the access log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from gateway.core.model import Instance, Outcome, Reason
from gateway.telemetry.access import AccessEntry, AccessLog
from gateway.telemetry.metrics import Metrics


class AttemptLike(Protocol):
    @property
    def instance(self) -> Instance: ...
    @property
    def result(self) -> int | str: ...
    @property
    def duration(self) -> float: ...


class RecordLike(Protocol):
    """What is read of a request that ended; durations in seconds."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def route(self) -> str | None: ...
    @property
    def status(self) -> int | None: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def reason(self) -> Reason | None: ...
    @property
    def duration(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def instance(self) -> Instance | None: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def request_id(self) -> str: ...
    @property
    def ticket(self) -> int | None: ...
    @property
    def client_ip(self) -> str: ...
    @property
    def identity(self) -> str | None: ...
    @property
    def detail(self) -> str | None: ...
    @property
    def trace(self) -> Sequence[AttemptLike]: ...


class Observer:
    """Told once of each request, in the event loop."""

    def __init__(self, metrics: Metrics, access: AccessLog) -> None:
        self._metrics = metrics
        self._access = access

    def request_ended(self, record: RecordLike) -> None:
        metrics = self._metrics
        metrics.request_ended(record.method, record.route, record.status, record.reason, record.duration)
        for attempt in record.trace:
            metrics.attempt_ended(attempt.instance.service, attempt.result, attempt.duration)
        if self._access.enabled:
            self._access.write(_entry(record))


def _entry(record: RecordLike) -> AccessEntry:
    tries: tuple[tuple[str, str, float], ...] = ()
    if len(record.trace) > 1 or record.outcome is not Outcome.RESPONDED:
        tries = tuple((str(a.instance.key), str(a.result), round(a.duration, 6)) for a in record.trace)
    return AccessEntry(
        ts=datetime.now(UTC),
        method=record.method,
        path=record.path,
        route=record.route,
        status=record.status,
        outcome=record.outcome.value,
        reason=record.reason and record.reason.value,
        duration=round(record.duration, 6),
        client_ip=record.client_ip,
        identity=record.identity,
        request_id=record.request_id,
        ticket=record.ticket,
        instance=None if record.instance is None else str(record.instance.key),
        attempts=record.attempts,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        detail=record.detail,
        tries=tries,
    )
