"""What the core shows of itself: counters, loads, circuits."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.breaker import CircuitEvent, CircuitState
from gateway.core.model import CircuitMode, InstanceKey, Outcome, Reason


@dataclass(slots=True)
class Counters:
    """Totals since the start."""

    tickets: int = 0
    attempts: int = 0
    retries: int = 0
    retries_denied: int = 0
    """Retries that the policy allowed and the budget did not."""
    openings_held: int = 0
    """Circuits that `max_open` kept closed."""
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    rejections: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(Reason, 0))


@dataclass(frozen=True, slots=True)
class CircuitChange:
    """One transition of one circuit; `now` in monotonic seconds."""

    service: str
    key: InstanceKey
    event: CircuitEvent
    before: CircuitState
    after: CircuitState
    mode: CircuitMode
    now: float


@dataclass(frozen=True, slots=True)
class CircuitView:
    """One instance's circuit. `since` and `open_until` are monotonic seconds."""

    key: InstanceKey
    service: str
    state: CircuitState
    mode: CircuitMode
    since: float
    open_until: float | None
    consecutive_failures: int
    openings: int
    in_flight: int
    probes: int = 0
    """That are out."""
    probes_passed: int = 0
    elsewhere: bool = False
    """Whether another worker has it."""


@dataclass(frozen=True, slots=True)
class RouteLoad:
    route: str
    in_flight: int
    queued: int
