"""What is counted as requests end: durations, refusals, failed attempts, with closed label sets only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeVar

from mypy_extensions import mypyc_attr

from gateway.core.breaker import CircuitState
from gateway.core.model import Reason
from gateway.telemetry.durations import DurationHistogram

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""Others are shown as `_OTHER` (OpenTelemetry, HTTP metrics)."""
_STATUSES = {status: str(status) for status in range(100, 600)}

V = TypeVar("V")


@mypyc_attr(allow_interpreted_subclasses=True)
class Counts:
    """Counted in one event loop; those of several are shown together by `add`. Goes from process to process."""

    def __init__(self) -> None:
        self.server = DurationHistogram(
            "http.server.request.duration",
            "Requests of clients, until the last byte of the response.",
            ("http.route", "http.request.method", "http.response.status_code"),
        )
        self.client = DurationHistogram(
            "http.client.request.duration",
            "Attempts on instances, until the last byte of the response; error.type names a failure.",
            ("gateway.service", "http.response.status_code", "error.type"),
        )
        self.refusals: Counter[Reason] = Counter(dict.fromkeys(Reason, 0))
        self.failures: Counter[tuple[str, str]] = Counter()
        """By service and kind."""
        self.circuit_changes: Counter[tuple[str, CircuitState]] = Counter()
        """By service and the state that was entered."""
        self.predicate_errors: Counter[tuple[str, str]] = Counter()
        """By route and the field that holds the predicate."""
        self.copies: Counter[tuple[str, str]] = Counter()
        """By route and result."""

    def __reduce__(self) -> tuple[Callable[..., Counts], tuple[object, ...]]:
        """For another process. Compiled classes have no other way."""
        of_names = (self.circuit_changes, self.predicate_errors, self.copies)
        return _counted, (self.server, self.client, self.refusals, self.failures, *of_names)

    def request_ended(
        self, method: str, route: str | None, status: int | None, reason: Reason | None, duration: float
    ) -> None:
        """Counts a request, refused ones too. `status` is None where no response head went out."""
        labels = (route or "", method if method in METHODS else "_OTHER", _STATUSES.get(status or 0, ""))
        self.server.record(labels, duration)
        if reason is not None:
            self.refusals[reason] += 1

    def attempt_ended(self, service: str, result: int | str, duration: float) -> None:
        """Counts an attempt. `result` is the response's status, or the kind of failure (a closed set)."""
        if isinstance(result, str):
            self.failures[service, result] += 1
            self.client.record((service, "", result), duration)
        else:
            self.client.record((service, _STATUSES.get(result, ""), ""), duration)

    def circuit_changed(self, service: str, state: CircuitState) -> None:
        """Counts a transition into `state`."""
        self.circuit_changes[service, state] += 1

    def predicate_failed(self, route: str, where: str) -> None:
        """Counts an evaluation without a result. `where` is the field of the route that holds the predicate."""
        self.predicate_errors[route, where] += 1

    def shadow_ended(self, route: str, result: str) -> None:
        """Counts a copy for a route's shadow. `result` is of a closed set."""
        self.copies[route, result] += 1

    def add(self, other: Counts) -> None:
        """Counts what another event loop counted besides."""
        self.server.add(other.server)
        self.client.add(other.client)
        self.refusals.update(other.refusals)
        self.failures.update(other.failures)
        self.circuit_changes.update(other.circuit_changes)
        self.predicate_errors.update(other.predicate_errors)
        self.copies.update(other.copies)

    def retain(self, routes: Collection[str], services: Collection[str]) -> None:
        """Routes and services that are gone leave the labels; what is counted for others stays."""
        self.server.keep(lambda labels: not labels[0] or labels[0] in routes)
        self.client.keep(lambda labels: labels[0] in services)
        _retain(self.failures, services)
        _retain(self.circuit_changes, services)
        _retain(self.predicate_errors, routes)
        _retain(self.copies, routes)


def _retain(counted: Counter[tuple[str, V]], names: Collection[str]) -> None:
    for key in [key for key in counted if key[0] not in names]:
        del counted[key]


def _counted(
    server: DurationHistogram,
    client: DurationHistogram,
    refusals: Counter[Reason],
    failures: Counter[tuple[str, str]],
    circuit_changes: Counter[tuple[str, CircuitState]],
    predicate_errors: Counter[tuple[str, str]],
    copies: Counter[tuple[str, str]],
) -> Counts:
    made = Counts()
    made.server, made.client, made.refusals, made.failures = server, client, refusals, failures
    made.circuit_changes, made.predicate_errors, made.copies = circuit_changes, predicate_errors, copies
    return made
