"""What whoever serves requests knows of itself, at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.views import CircuitView, Counters, RouteLoad
from gateway.pipeline.rate_limits import RateLoad
from gateway.proxy.server_certificates import CertificateStanding
from gateway.telemetry.counts import Counts


@dataclass(frozen=True, slots=True)
class Figures:
    """Goes from process to process: plain values only."""

    counters: Counters = field(default_factory=Counters)
    counts: Counts = field(default_factory=Counts)
    circuits: Sequence[CircuitView] = ()
    loads: Sequence[RouteLoad] = ()
    rate_limits: Sequence[RateLoad] = ()
    violations: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    connections_dropped: int = 0
    certificates: Sequence[CertificateStanding] = ()
    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    dropped_log_lines: int = 0
    dropped_spans: int = 0
    dropped_journal_events: int = 0
    lag: float = 0.0
    """Seconds."""
