"""Where the data plane's records go: the counts, the access log, and the spans of those that are sampled."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial

from gateway.core.model import Outcome
from gateway.telemetry.access import AccessEntry, AccessLog
from gateway.telemetry.counts import Counts
from gateway.telemetry.records import RequestRecord
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.span_export import SpanExport


class Observer:
    """Told once of each request, in the event loop."""

    def __init__(
        self,
        counts: Counts,
        access: AccessLog,
        redaction: Redaction,
        view_age: Callable[[str], float | None],
        spans: SpanExport | None = None,
    ) -> None:
        self._counts = counts
        self._access = access
        self._redaction = redaction
        self._spans = spans
        self.view_age = view_age

    def request_ended(self, record: RequestRecord) -> None:
        counts = self._counts
        counts.request_ended(record.method, record.route, record.status, record.reason, record.duration)
        for attempt in record.trace:
            counts.attempt_ended(attempt.instance.service, attempt.result, attempt.duration)
        if self._access.enabled:
            self._access.write(partial(_entry, record, self._redaction, time.time()))
        if self._spans is not None and record.context is not None and record.context.sampled:
            self._spans.add(record, record.context)


def _entry(record: RequestRecord, redaction: Redaction, ended: float) -> AccessEntry:
    tries: tuple[tuple[str, str, float], ...] = ()
    trace, facts, context, instance = record.trace, record.facts, record.context, record.instance
    if len(trace) > 1 or record.outcome is not Outcome.RESPONDED:
        tries = tuple((str(a.instance.key), str(a.result), _microseconds(a.duration)) for a in trace)
    connect = first_byte = view_age = None
    if trace:
        last = trace[-1]
        connect = _microseconds(last.connect)
        if last.first_byte is not None:
            first_byte = _microseconds(last.first_byte)
        if last.view_age is not None:
            view_age = round(last.view_age, 3)
    reason = record.reason
    return AccessEntry(
        datetime.fromtimestamp(ended, UTC),
        record.method,
        record.path,
        record.outcome.value,
        _microseconds(record.duration),
        record.client_ip,
        record.request_id,
        None if context is None else context.trace_id,
        record.ticket,
        record.status,
        "" if facts is None else redaction.query(facts.query),
        {} if facts is None else redaction.headers(facts.headers),
        record.route,
        None if reason is None else reason.value,
        None if instance is None else instance.service,
        None if instance is None else _name(instance.key),
        view_age,
        record.attempts,
        _microseconds(record.queue),
        connect,
        first_byte,
        record.bytes_in,
        record.bytes_out,
        record.identity,
        record.issuer,
        record.detail,
        tries,
    )


def _microseconds(seconds: float) -> float:
    """Seconds, no finer than that; `round` would take three times as long."""
    return int(seconds * 1e6 + 0.5) / 1e6


_name = lru_cache(maxsize=1024)(str)
