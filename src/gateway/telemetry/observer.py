"""Where the data plane's records go: the metrics, the access log, and the spans of those that are sampled."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from gateway.core.model import Outcome
from gateway.telemetry.access import AccessEntry, AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.records import RecordLike
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.span_export import SpanExport


class Observer:
    """Told once of each request, in the event loop."""

    def __init__(
        self,
        metrics: Metrics,
        access: AccessLog,
        redaction: Redaction,
        view_age: Callable[[str], float | None],
        spans: SpanExport | None = None,
    ) -> None:
        self._metrics = metrics
        self._access = access
        self._redaction = redaction
        self._spans = spans
        self.view_age = view_age

    def request_ended(self, record: RecordLike) -> None:
        metrics = self._metrics
        metrics.request_ended(record.method, record.route, record.status, record.reason, record.duration)
        for attempt in record.trace:
            metrics.attempt_ended(attempt.instance.service, attempt.result, attempt.duration)
        if self._access.enabled:
            self._access.write(_entry(record, self._redaction))
        if self._spans is not None and record.context is not None and record.context.sampled:
            self._spans.add(record, record.context)


def _entry(record: RecordLike, redaction: Redaction) -> AccessEntry:
    tries: tuple[tuple[str, str, float], ...] = ()
    if len(record.trace) > 1 or record.outcome is not Outcome.RESPONDED:
        tries = tuple((str(a.instance.key), str(a.result), round(a.duration, 6)) for a in record.trace)
    last = record.trace[-1] if record.trace else None
    facts = record.facts
    return AccessEntry(
        ts=datetime.now(UTC),
        method=record.method,
        path=record.path,
        query="" if facts is None else redaction.query(facts.query),
        headers={} if facts is None else redaction.headers(facts.headers),
        route=record.route,
        status=record.status,
        outcome=record.outcome.value,
        reason=record.reason and record.reason.value,
        duration=round(record.duration, 6),
        queue=round(record.queue, 6),
        connect=None if last is None else round(last.connect, 6),
        first_byte=None if last is None or last.first_byte is None else round(last.first_byte, 6),
        view_age=None if last is None or last.view_age is None else round(last.view_age, 3),
        client_ip=record.client_ip,
        identity=record.identity,
        request_id=record.request_id,
        trace_id=None if record.context is None else record.context.trace_id,
        ticket=record.ticket,
        instance=None if record.instance is None else str(record.instance.key),
        attempts=record.attempts,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        detail=record.detail,
        tries=tries,
    )
