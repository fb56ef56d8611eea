"""The circuits of a service as `specs/CircuitBreaker.tla` has them and as the code does them, step by step the same.

A rule is an action of the module, under its guard. The machine keeps the module's state beside the code's; after each
step they are equal. How far the window of the other rule has got is counted here, since the module lets it trip at
any failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.breaker import TRANSITIONS, CircuitEvent, CircuitState, Judgement, Permit
from gateway.core.model import CircuitMode, CircuitPolicy, ServicePolicy
from gateway.core.pool import Member, Service
from gateway.core.services import Services
from gateway.core.timers import Timers
from gateway.core.views import CircuitChange, Counters
from tests.unit.core_support import draws, instance

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
INSTANCES = ("a", "b", "c")
MAX_IN_FLIGHT = 4
PICKS = st.integers(0, 11)
SMALLEST_WINDOW = 4
ROUNDS = 100
"""More steps than it takes to close every circuit."""
T = TypeVar("T")


@dataclass(slots=True)
class Attempt:
    """`permit` is the code's; `epoch` and `probe` are what the module says of it."""

    instance: str
    permit: Permit
    epoch: int
    probe: bool


@dataclass(slots=True)
class Kept:
    """The module's variables for one instance."""

    state: CircuitState = CLOSED
    failures: int = 0
    probes: int = 0
    passed: int = 0
    epoch: int = 0
    judged: list[bool] = field(default_factory=list)
    """While closed, of those that count in the window: whether each failed."""


@dataclass(frozen=True, slots=True)
class Before:
    """What the last step found, as the properties have to know it."""

    state: CircuitState
    passed: int
    failures: int
    not_closed: int
    ordinary_out: bool
    probe_out: bool


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.kept = {name: Kept() for name in INSTANCES}
        self.attempts: list[Attempt] = []
        self.changes: list[CircuitChange] = []
        self.before: dict[str, Before] = {}
        self.begun: str | None = None
        self.taken: Counter[str] = Counter()

    @initialize(
        failures=st.integers(1, 3),
        probes=st.integers(1, 3),
        max_open=st.sampled_from((1, 2, 2, 3)),
        mode=st.sampled_from((CircuitMode.ENFORCE, CircuitMode.ENFORCE, CircuitMode.SHADOW)),
        ratio=st.sampled_from((0.0, 0.0, 0.75)),
        draw=st.integers(0, 9),
    )
    def begin_with(self, failures: int, probes: int, max_open: int, mode: CircuitMode, ratio: float, draw: int) -> None:
        self.policy = CircuitPolicy(
            consecutive_failures=failures,
            failure_ratio=ratio,
            window=1e9,
            min_requests=SMALLEST_WINDOW,
            open_for=10.0,
            half_open_probes=probes,
            max_open=max_open / len(INSTANCES),
            mode=mode,
        )
        self.max_open = max_open
        self.timers = Timers()
        turns = draws(*[(draw + 3 * step) % 10 / 10 for step in range(10)])
        self.services = Services(self.timers, Counters(), turns, _nobody_waits, self.changes.append, None, None)
        self.services.apply_policies({"orders": ServicePolicy("orders", circuit=self.policy)}, self.now)
        self._show(INSTANCES)
        self._look()

    # --- the guards ---

    def may_open_another(self) -> bool:
        return self._not_closed() < self.max_open

    def _not_closed(self) -> int:
        return sum(kept.state is not CLOSED for kept in self.kept.values())

    def _wants_probe(self, name: str) -> bool:
        kept = self.kept[name]
        return kept.state is HALF_OPEN and kept.probes < self.policy.half_open_probes

    def _permits(self, name: str) -> bool:
        enforced = self.policy.mode is CircuitMode.ENFORCE
        return self.kept[name].state is CLOSED or not enforced or self._wants_probe(name)

    def _calls_for_trip(self, name: str) -> bool:
        """Whether one more failure in a row, or in the window, is one too many."""
        kept, rules = self.kept[name], self.policy
        judged = [*kept.judged, True]
        by_share = len(judged) >= rules.min_requests and sum(judged) >= rules.failure_ratio * len(judged)
        return kept.failures + 1 >= rules.consecutive_failures or (rules.failure_ratio > 0 and by_share)

    def _last_probe(self, name: str) -> bool:
        return self.kept[name].passed + 1 >= self.policy.half_open_probes

    def _is_present(self, attempt: Attempt) -> bool:
        return attempt.epoch == self.kept[attempt.instance].epoch

    def _ordinary(self) -> list[Attempt]:
        return [each for each in self.attempts if self._is_present(each) and not each.probe]

    def _probing(self) -> list[Attempt]:
        return [each for each in self.attempts if self._is_present(each) and each.probe]

    def able_begin(self) -> list[str]:
        crowd = Counter(each.instance for each in self.attempts)
        return [name for name in INSTANCES if self._permits(name) and crowd[name] < MAX_IN_FLIGHT]

    def able_succeed(self) -> list[Attempt]:
        return self._ordinary()

    def _failing(self) -> list[Attempt]:
        return [each for each in self._ordinary() if self.kept[each.instance].state is CLOSED]

    def able_fail(self) -> list[Attempt]:
        return [each for each in self._failing() if not self._calls_for_trip(each.instance)]

    def able_trip(self) -> list[Attempt]:
        tripping = [each for each in self._failing() if self._calls_for_trip(each.instance)]
        return tripping if self.may_open_another() else []

    def able_hold_trip(self) -> list[Attempt]:
        tripping = [each for each in self._failing() if self._calls_for_trip(each.instance)]
        return [] if self.may_open_another() else tripping

    def able_mature(self) -> list[str]:
        return [name for name, kept in self.kept.items() if kept.state is OPEN]

    def able_pass_probe(self) -> list[Attempt]:
        return [each for each in self._probing() if not self._last_probe(each.instance)]

    def able_probes_passed(self) -> list[Attempt]:
        return [each for each in self._probing() if self._last_probe(each.instance)]

    def able_probe_failed(self) -> list[Attempt]:
        return self._probing()

    able_late_probe = able_probe_failed

    def able_drop(self) -> list[Attempt]:
        """What says nothing: of a past epoch, or an ordinary failure while not closed."""
        failing = {id(each) for each in self._failing()}
        probing = {id(each) for each in self._probing()}
        return [each for each in self.attempts if id(each) not in failing | probing]

    def able_cancel(self) -> list[Attempt]:
        return self.attempts

    def able_register_anew(self) -> list[str]:
        return list(INSTANCES)

    # --- the actions ---

    @precondition(lambda self: self.able_begin())
    @rule(pick=PICKS)
    def begin(self, pick: int) -> None:
        name = _picked(self.able_begin(), pick)
        self._look("begin")
        self.begun = name
        probe, kept = self._wants_probe(name), self.kept[name]
        permit = self.members[name].circuit.begin(self.policy)
        assert permit.probe is probe
        kept.probes += probe
        self.attempts.append(Attempt(name, permit, kept.epoch, probe))

    @precondition(lambda self: self.able_succeed())
    @rule(pick=PICKS, goes_on=st.booleans())
    def succeed(self, pick: int, goes_on: bool) -> None:
        attempt = _picked(self.able_succeed(), pick)
        kept = self.kept[attempt.instance]
        self._look("succeed")
        assert self._judge(attempt, failed=False) == Judgement(failed=False)
        kept.failures = 0
        if kept.state is CLOSED:
            kept.judged.append(False)
        if not goes_on:
            self._over(attempt)

    @precondition(lambda self: self.able_fail())
    @rule(pick=PICKS)
    def fail(self, pick: int) -> None:
        attempt = _picked(self.able_fail(), pick)
        self._look("fail")
        assert self._judge(attempt, failed=True) == Judgement(failed=True)
        self._count_failure(attempt)

    @precondition(lambda self: self.able_trip())
    @rule(pick=PICKS)
    def trip(self, pick: int) -> None:
        attempt = _picked(self.able_trip(), pick)
        self._look("trip")
        judgement = self._judge(attempt, failed=True)
        assert judgement == Judgement(failed=True, event=CircuitEvent.TRIP, changed=True)
        self._apply(attempt.instance, CircuitEvent.TRIP)
        self._over(attempt)

    @precondition(lambda self: self.able_hold_trip())
    @rule(pick=PICKS)
    def hold_trip(self, pick: int) -> None:
        attempt = _picked(self.able_hold_trip(), pick)
        self._look("hold_trip")
        assert self._judge(attempt, failed=True) == Judgement(failed=True, held=True)
        self._count_failure(attempt)

    @precondition(lambda self: self.able_mature())
    @rule(pick=PICKS)
    def mature(self, pick: int) -> None:
        """Open times that end before this one's end with it."""
        name = _picked(self.able_mature(), pick)
        self._look("mature")
        self.now = max(self.now, self.members[name].circuit.open_until)
        self.timers.run(self.now)
        matured = [change.key.service_id for change in self.changes]
        assert name in matured
        assert all(change.event is CircuitEvent.MATURE for change in self.changes)
        for each in matured:
            self._apply(each, CircuitEvent.MATURE)

    @precondition(lambda self: self.able_pass_probe())
    @rule(pick=PICKS, streams=st.booleans())
    def pass_probe(self, pick: int, streams: bool) -> None:
        attempt = _picked(self.able_pass_probe(), pick)
        kept = self.kept[attempt.instance]
        self._look("pass_probe")
        assert self._judge(attempt, failed=False) == Judgement(failed=False, changed=True)
        kept.probes -= 1
        kept.passed += 1
        self._head_came(attempt, streams=streams)

    @precondition(lambda self: self.able_probes_passed())
    @rule(pick=PICKS, streams=st.booleans())
    def probes_passed(self, pick: int, streams: bool) -> None:
        attempt = _picked(self.able_probes_passed(), pick)
        self._look("probes_passed")
        judgement = self._judge(attempt, failed=False)
        assert judgement == Judgement(failed=False, event=CircuitEvent.PROBES_PASSED, changed=True)
        self._apply(attempt.instance, CircuitEvent.PROBES_PASSED)
        self._head_came(attempt, streams=streams)

    @precondition(lambda self: self.able_probe_failed())
    @rule(pick=PICKS)
    def probe_failed(self, pick: int) -> None:
        attempt = _picked(self.able_probe_failed(), pick)
        self._look("probe_failed")
        self._probe_fails(attempt)
        self._over(attempt)

    @precondition(lambda self: self.able_late_probe())
    @rule(pick=PICKS)
    def late_probe(self, pick: int) -> None:
        """Judged like one that failed; its attempt goes on, and says nothing any more."""
        attempt = _picked(self.able_late_probe(), pick)
        self._look("late_probe")
        self._probe_fails(attempt)

    @precondition(lambda self: self.able_drop())
    @rule(pick=PICKS, failed=st.booleans())
    def drop(self, pick: int, failed: bool) -> None:
        attempt = _picked(self.able_drop(), pick)
        self._look("drop")
        failed = failed or self._is_present(attempt)
        assert self._judge(attempt, failed=failed) == Judgement(failed, changed=attempt.probe)
        self._over(attempt)

    @precondition(lambda self: self.able_cancel())
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        attempt = _picked(self.able_cancel(), pick)
        self._look("cancel")
        self.members[attempt.instance].circuit.cancel(attempt.permit)
        if attempt.probe and self._is_present(attempt):
            self.kept[attempt.instance].probes -= 1
        self._over(attempt)

    @rule(pick=PICKS)
    def register_anew(self, pick: int) -> None:
        """`DeliverGone` and `DeliverNew` of `specs/GatewayImpl.tla`: a circuit without a past."""
        name = _picked(self.able_register_anew(), pick)
        member = self.members[name]
        member.in_flight = sum(each.instance == name for each in self.attempts)
        self._show([each for each in INSTANCES if each != name])
        self._show(INSTANCES)
        known = self.members[name] is member
        assert known is (member.in_flight > 0)
        self.kept[name] = Kept(epoch=self.kept[name].epoch + 1 if known else 0)
        self._look("register_anew")

    # --- what actions are made of ---

    def _show(self, names: Sequence[str]) -> None:
        """Makes them what the mirror holds."""
        self.services.apply_view("orders", [instance(name) for name in names], self.now)
        members = self._service().members
        self.members: dict[str, Member] = {key.service_id: member for key, member in members.items()}

    def _judge(self, attempt: Attempt, *, failed: bool) -> Judgement:
        return self.services.judge(self.members[attempt.instance], attempt.permit, failed, self.now)

    def _apply(self, name: str, event: CircuitEvent) -> None:
        kept = self.kept[name]
        self.kept[name] = Kept(TRANSITIONS[kept.state][event], epoch=kept.epoch + 1)

    def _count_failure(self, attempt: Attempt) -> None:
        kept = self.kept[attempt.instance]
        kept.failures = min(kept.failures + 1, self.policy.consecutive_failures)
        kept.judged.append(True)
        self._over(attempt)

    def _probe_fails(self, attempt: Attempt) -> None:
        judgement = self._judge(attempt, failed=True)
        assert judgement == Judgement(failed=True, event=CircuitEvent.PROBE_FAILED, changed=True)
        self._apply(attempt.instance, CircuitEvent.PROBE_FAILED)

    def _head_came(self, attempt: Attempt, *, streams: bool) -> None:
        """A probe that passed may still be cut short: it goes on as an ordinary attempt of the present epoch."""
        self._over(attempt)
        if streams:
            name = attempt.instance
            ordinary = self.members[name].circuit.ordinary
            self.attempts.append(Attempt(name, ordinary, self.kept[name].epoch, probe=False))

    def _over(self, attempt: Attempt) -> None:
        self.attempts = [each for each in self.attempts if each is not attempt]

    def _look(self, action: str | None = None) -> None:
        """Before a step: what the properties compare it with."""
        self.changes.clear()
        self.begun = None
        if action is not None:
            self.taken[action] += 1
        ordinary, probing = ([each.instance for each in some] for some in (self._ordinary(), self._probing()))
        self.before = {
            name: Before(
                circuit.state,
                circuit.probes_passed,
                circuit.consecutive_failures,
                sum(each.circuit.state is not CLOSED for each in self.members.values()),
                name in ordinary,
                name in probing,
            )
            for name, circuit in ((name, member.circuit) for name, member in self.members.items())
        }

    # --- properties, of what the code holds ---

    @invariant()
    def the_code_is_in_this_state(self) -> None:
        for name, kept in self.kept.items():
            circuit = self.members[name].circuit
            assert (circuit.state, circuit.probes, circuit.probes_passed) == (kept.state, kept.probes, kept.passed)
            assert circuit.epoch == kept.epoch
            assert circuit.permits(self.policy) is self._permits(name)
            if kept.state is CLOSED:
                assert min(circuit.consecutive_failures, self.policy.consecutive_failures) == kept.failures
        assert self._service().may_open_another() is self.may_open_another()

    @invariant()
    def half_open_bounded(self) -> None:
        for name, member in self.members.items():
            circuit = member.circuit
            out = sum(each.permit == (circuit.epoch, True) for each in self.attempts if each.instance == name)
            assert circuit.probes == out
            assert out <= (self.policy.half_open_probes if circuit.state is HALF_OPEN else 0)

    @invariant()
    def valid_circuit_transitions(self) -> None:
        for name, before in self.before.items():
            circuit = self.members[name].circuit
            if circuit.state is before.state:
                continue
            enough = before.passed + 1 == self.policy.half_open_probes
            assert {
                (CLOSED, OPEN): before.ordinary_out,
                (OPEN, HALF_OPEN): True,
                (HALF_OPEN, CLOSED): before.probe_out and enough,
                (HALF_OPEN, OPEN): before.probe_out,
            }[before.state, circuit.state]
            present = [each for each in self.attempts if each.instance == name and each.permit.epoch == circuit.epoch]
            assert len(present) <= (circuit.state is CLOSED)
            assert not any(each.probe for each in present)

    @invariant()
    def circuit_breaker_safety(self) -> None:
        for name, before in self.before.items():
            circuit = self.members[name].circuit
            if self.begun == name and self.policy.mode is CircuitMode.ENFORCE:
                assert before.state is CLOSED or (before.state is HALF_OPEN and self.attempts[-1].permit.probe)
            counted = circuit.state is CLOSED and circuit.consecutive_failures > before.failures
            if counted and circuit.consecutive_failures >= self.policy.consecutive_failures:
                assert before.not_closed >= self.max_open
        assert sum(member.circuit.state is not CLOSED for member in self.members.values()) <= self.max_open

    def teardown(self) -> None:
        """Recovery: with timers, and requests that are answered, every circuit closes, whatever hangs meanwhile."""
        if not hasattr(self, "members"):
            return
        for _ in range(ROUNDS):
            if self.able_late_probe():
                self.late_probe(0)
            elif self.able_mature():
                self.mature(0)
            elif self._half_open():
                self.attempts.clear()
                name = self._half_open()[0]
                self.begin(self.able_begin().index(name))
                (self.probes_passed if self._last_probe(name) else self.pass_probe)(0, streams=False)
            self.the_code_is_in_this_state()
        assert all(member.circuit.state is CLOSED for member in self.members.values())

    def _half_open(self) -> list[str]:
        return [name for name, kept in self.kept.items() if kept.state is HALF_OPEN]

    def _service(self) -> Service:
        return self.services.get("orders")


def _nobody_waits(service: Service, now: float) -> None:
    """There are no tickets here."""


def _picked(those: Sequence[T], pick: int) -> T:
    """One of them, told by a number that need not know how many they are."""
    return those[pick % len(those)]


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)

WEIGHTS = {
    "begin": 6,
    "succeed": 2,
    "fail": 4,
    "trip": 4,
    "hold_trip": 2,
    "mature": 2,
    "pass_probe": 2,
    "probes_passed": 2,
    "probe_failed": 1,
    "late_probe": 1,
    "drop": 2,
    "cancel": 1,
    "register_anew": 1,
}
"""How often each action is drawn in a long run."""
PROPERTIES = (
    BreakerMachine.the_code_is_in_this_state,
    BreakerMachine.half_open_bounded,
    BreakerMachine.valid_circuit_transitions,
    BreakerMachine.circuit_breaker_safety,
)


def walk(machine: BreakerMachine, random: Random) -> None:
    able = [name for name in WEIGHTS if getattr(machine, f"able_{name}")()]
    (name,) = random.choices(able, [WEIGHTS[each] for each in able])
    more = [random.random() < 0.5] if name in {"succeed", "pass_probe", "probes_passed", "drop"} else []
    getattr(machine, name)(random.randrange(12), *more)


@pytest.mark.parametrize("mode", [CircuitMode.ENFORCE, CircuitMode.SHADOW])
@pytest.mark.parametrize("ratio", [0.0, 0.75])
def test_long_runs_take_every_action(mode: CircuitMode, ratio: float) -> None:
    machine, random = BreakerMachine(), Random(3)
    machine.begin_with(failures=3, probes=2, max_open=2, mode=mode, ratio=ratio, draw=0)
    for _ in range(5_000):
        walk(machine, random)
        for holds in PROPERTIES:
            holds(machine)
    machine.teardown()
    assert {name: machine.taken[name] for name in WEIGHTS if machine.taken[name] < 20} == {}
