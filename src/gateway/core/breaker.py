"""The circuit breaker of one instance: one table, and what feeds it.

Theory
------
A circuit is *closed* while its instance answers well, *open* after it did not, and *half-open* while a few probes
find out whether it does again. The table below is the whole machine; nothing else changes a state:

    closed     --TRIP-->           open        too many failures: in a row, or as a share of a window
    open       --MATURE-->         half_open   its open time is over
    half_open  --PROBES_PASSED-->  closed      as many probes in a row succeeded as are asked for
    half_open  --PROBE_FAILED-->   open        one did not; the next open time is twice as long

What this file alone decides: when a rule trips, how long an open time lasts, who is a probe, and which results still
count. What it does not know: which share of the service's instances may be open at once (`max_open` compares
circuits with each other, so the gateway asks before it trips), what counts as a failure (the route and the service
policy say so), and the clock (`now` comes in).

Results and epochs. Each transition begins a new *epoch*, and an attempt carries the epoch in which it began. A result
from an older epoch says nothing about the present state: a request sent while the circuit was closed that fails while
a probe is out must not fail the probe. So it is dropped.

Judging. In the closed state an attempt is judged when it has ended (an instance that answers well and then cuts every
body short is not well). A probe is judged at the response head, so that an event stream or a tunnel does not hold the
half-open state; if no head comes within `open_for`, the gateway judges it failed. A probe that its client abandoned
frees its place and says nothing.

Workers. Where several workers share an instance, one of them has its circuit when it is not closed: it alone lets the
open time pass, and probes. In the others the circuit is open *elsewhere*: it has no open time of its own and changes
only by what is imposed (`impose`), which is no edge of the table: it makes known here what the table made of it there.

Repeats. Each opening that follows the previous one closely doubles the open time up to a cap; jitter of up to a
tenth keeps many gateways from probing at the same moment. A circuit that has stayed closed for as long as its last
open time (and at least one window) has its repeats forgiven.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from mypy_extensions import mypyc_attr

from gateway.core.model import CircuitMode, CircuitPolicy

_BUCKETS = 10
_JITTER = 0.1


class CircuitState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitEvent(Enum):
    TRIP = "trip"
    MATURE = "mature"
    PROBES_PASSED = "probes_passed"
    PROBE_FAILED = "probe_failed"


TRANSITIONS: dict[CircuitState, dict[CircuitEvent, CircuitState]] = {
    CircuitState.CLOSED: {CircuitEvent.TRIP: CircuitState.OPEN},
    CircuitState.OPEN: {CircuitEvent.MATURE: CircuitState.HALF_OPEN},
    CircuitState.HALF_OPEN: {
        CircuitEvent.PROBES_PASSED: CircuitState.CLOSED,
        CircuitEvent.PROBE_FAILED: CircuitState.OPEN,
    },
}


class Permit(NamedTuple):
    """What an attempt carries from its circuit until its result is reported."""

    epoch: int
    probe: bool


class Imposition(NamedTuple):
    """What a circuit is to be because of other workers: open elsewhere; closed again, there; or half-open, and from now
    on this worker's to probe. Of the circuit there: its repeats, its probes that passed, when its open time ends."""

    state: CircuitState
    openings: int = 0
    probes_passed: int = 0
    open_until: float = 0.0


class Judgement(NamedTuple):
    """What judging an attempt came to: how it was judged, and what that made of its circuit."""

    failed: bool | None = None
    """None: it was not judged."""
    event: CircuitEvent | None = None
    """The transition that was made."""
    held: bool = False
    """The circuit was to open, and `max_open` forbade it."""
    changed: bool = False
    """Whether others may be picked now."""


UNJUDGED = Judgement()
PASSED, FAILED = Judgement(failed=False), Judgement(failed=True)
"""Judged, and nothing came of it."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Window:
    """Judged results of the last `length` seconds, in ten buckets."""

    __slots__ = ("_bucket_length", "_buckets", "_head", "failures", "total")

    def __init__(self, length: float) -> None:
        self._bucket_length = length / _BUCKETS
        self._buckets = [[0, 0] for _ in range(_BUCKETS)]
        self._head = 0
        self.total = 0
        self.failures = 0

    def record(self, failed: bool, now: float) -> None:
        self._expire(now)
        bucket = self._buckets[self._head % _BUCKETS]
        bucket[0] += 1
        self.total += 1
        if failed:
            bucket[1] += 1
            self.failures += 1

    def _expire(self, now: float) -> None:
        head = int(now / self._bucket_length)
        if head == self._head:
            return
        for passed in range(max(self._head + 1, head - _BUCKETS + 1), head + 1):
            bucket = self._buckets[passed % _BUCKETS]
            self.total -= bucket[0]
            self.failures -= bucket[1]
            bucket[0] = bucket[1] = 0
        self._head = head


@mypyc_attr(allow_interpreted_subclasses=True)
class Circuit:
    """The circuit of one instance. Policies come in with each call: one may change while the circuit lives on."""

    __slots__ = (
        "_last_open_time",
        "_window",
        "_window_length",
        "consecutive_failures",
        "elsewhere",
        "epoch",
        "open_until",
        "openings",
        "ordinary",
        "probes",
        "probes_passed",
        "since",
        "state",
    )

    def __init__(self, now: float, epoch: int = 0) -> None:
        self.state = CircuitState.CLOSED
        self.since = now
        self.elsewhere = False
        """Whether another worker has it: it is open, until something is imposed."""
        self.epoch = epoch
        self.ordinary = Permit(epoch, False)
        """What an attempt carries that is no probe."""
        self.open_until = 0.0
        self.consecutive_failures = 0
        self.openings = 0
        self.probes = 0
        self.probes_passed = 0
        self._last_open_time = 0.0
        self._window_length = 0.0
        self._window: Window | None = None

    @property
    def is_open(self) -> bool:
        return self.state is CircuitState.OPEN

    def permits(self, policy: CircuitPolicy) -> bool:
        if self.state is CircuitState.CLOSED or policy.mode is not CircuitMode.ENFORCE:
            return True
        return self.state is CircuitState.HALF_OPEN and self.probes < policy.half_open_probes

    def begin(self, policy: CircuitPolicy) -> Permit:
        """Takes a place for an attempt; half-open, the attempt becomes a probe while probes are wanted."""
        probe = self.state is CircuitState.HALF_OPEN and self.probes < policy.half_open_probes
        if not probe:
            return self.ordinary
        self.probes += 1
        return Permit(self.epoch, True)

    def cancel(self, permit: Permit) -> None:
        """The attempt ended without telling anything about the instance."""
        if permit.probe and permit.epoch == self.epoch:
            self.probes -= 1

    def succeed(self, permit: Permit, policy: CircuitPolicy, now: float) -> CircuitEvent | None:
        """Records a success; returns the event that the rules now call for."""
        if permit.epoch != self.epoch:
            return None
        if permit.probe:
            self.probes -= 1
            self.probes_passed += 1
            return CircuitEvent.PROBES_PASSED if self.probes_passed >= policy.half_open_probes else None
        if self.state is CircuitState.CLOSED:
            self.consecutive_failures = 0
            if policy.failure_ratio:
                self._window_for(policy).record(False, now)
        return None

    def fail(self, permit: Permit, policy: CircuitPolicy, now: float) -> CircuitEvent | None:
        """Records a failure; returns the event that the rules now call for."""
        if permit.epoch != self.epoch or policy.mode is CircuitMode.OFF:
            self.cancel(permit)
            return None
        if permit.probe:
            self.probes -= 1
            return CircuitEvent.PROBE_FAILED
        if self.state is not CircuitState.CLOSED:
            return None
        self.consecutive_failures += 1
        if 0 < policy.consecutive_failures <= self.consecutive_failures:
            if policy.failure_ratio:
                self._window_for(policy).record(True, now)
            return CircuitEvent.TRIP
        if policy.failure_ratio:
            window = self._window_for(policy)
            window.record(True, now)
            if window.total >= policy.min_requests and window.failures >= policy.failure_ratio * window.total:
                return CircuitEvent.TRIP
        return None

    def apply(self, event: CircuitEvent, policy: CircuitPolicy, now: float, draw: Callable[[], float]) -> None:
        """Makes the transition. Raises KeyError where the table has none for the event."""
        after = TRANSITIONS[self.state][event]
        if after is CircuitState.OPEN:
            closed_for = now - self.since
            if event is CircuitEvent.TRIP and closed_for >= max(self._last_open_time, policy.window):
                self.openings = 0
            self.openings += 1
            self._last_open_time = _open_time(policy, self.openings) * (1.0 + _JITTER * draw())
            self.open_until = now + self._last_open_time
        self._become(after, now)

    def impose(self, imposed: Imposition, policy: CircuitPolicy, now: float) -> bool:
        """Takes over what other workers decided; False where it is this worker's own, which then knows better.

        It may be opened whatever it is: of two workers that trip at once, one has it. Closed or handed on are only
        circuits that are open elsewhere.
        """
        opens = imposed.state is CircuitState.OPEN
        if not (opens or self.elsewhere):
            return False
        self.openings = imposed.openings
        self.open_until = imposed.open_until
        self._last_open_time = _open_time(policy, imposed.openings) if imposed.openings else 0.0
        self._become(imposed.state, now)
        self.elsewhere = opens
        if imposed.state is CircuitState.HALF_OPEN:
            self.probes_passed = imposed.probes_passed
        return True

    def _become(self, state: CircuitState, now: float) -> None:
        """Begins an epoch."""
        self.state = state
        self.since = now
        self.epoch += 1
        self.ordinary = Permit(self.epoch, False)
        self.probes = self.probes_passed = 0
        if state is CircuitState.CLOSED:
            self.consecutive_failures = 0
            self._window = None

    def _window_for(self, policy: CircuitPolicy) -> Window:
        if self._window is None or self._window_length != policy.window:
            self._window = Window(policy.window)
            self._window_length = policy.window
        return self._window


def _open_time(policy: CircuitPolicy, openings: int) -> float:
    """Seconds, without jitter, of the opening with that number in a row."""
    return min(policy.open_for * 2.0 ** min(openings - 1, 30), policy.max_open_for)
