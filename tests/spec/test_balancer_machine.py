"""The balancer under random worlds: its picks are the specification's, whose properties hold of them.

Rules are named as the actions of `specs/Balancer.tla`. `Specified` is that module's arithmetic, with the code's turn
and without noting rounds down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.balancer import LeastRequest, RingHash, WeightedRoundRobin, ring_point
from tests.unit.balancer_support import TURN, carried, level

NAMES = "abcde"
CAP = 4
UNIT = Fraction(1, TURN)

subsets = st.sets(st.sampled_from(NAMES), min_size=1).map(sorted)
weightings = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})
FAR = st.permutations([3 * TURN, TURN // 3, 0, -(TURN // 3), -3 * TURN]).map(tuple)
pasts = st.just((0,) * len(NAMES)) | FAR
"""Leads to begin with, as `Pasts` has them: without any, a cut takes a history that is rarely found."""


class Backend:
    """Something to be picked."""

    def __init__(self, name: str) -> None:
        self.key = name
        self.in_flight = 0


class Specified:
    """The variables of the module; `currents` holds only who entered. `forgiven`: what cuts took from each or gave, and
    what was owed before anything was counted."""

    def __init__(self, past: dict[str, int]) -> None:
        self.weights: dict[str, int] = {}
        self.eligible: list[str] = []
        self.entered = False
        self.currents: dict[str, int] = {}
        self.leads = past
        self.forgiven = {name: -lead for name, lead in past.items()}

    def put_down(self) -> dict[str, int]:
        if not self.entered:
            return self.leads
        total = sum(self.weights[name] for name in self.eligible)
        floors = {name: current // total for name, current in self.currents.items()}
        return self.leads | level(floors, sum(self.currents.values()) // total)

    def pick(self, eligible: list[str], weights: dict[str, int]) -> str:
        weights = {name: weights[name] for name in eligible}
        total = sum(weights.values())
        if not self.entered or [eligible, weights] != [self.eligible, self.weights]:
            self.leads = self.put_down()
            owed = {name: self.leads[name] for name in eligible}
            begin = carried(owed)
            for name in eligible:
                self.forgiven[name] += owed[name] - begin[name]
            self.currents = {name: lead * total for name, lead in begin.items()}
            self.eligible, self.weights, self.entered = eligible, weights, True
        for name in eligible:
            self.currents[name] += weights[name] * TURN
        best = max(eligible, key=self.currents.__getitem__)
        self.currents[best] -= total * TURN
        return best

    def depart(self, name: str) -> None:
        self.leads = self.put_down() | {name: 0}
        self.eligible = [each for each in self.eligible if each != name]
        self.entered, self.currents = False, {}
        self.forgiven[name] = 0


class BalancerMachine(RuleBasedStateMachine):
    """Counts for itself what each instance is owed and what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: WeightedRoundRobin[Backend] = WeightedRoundRobin()
        self.most_owed = CAP
        self.instances = {name: Backend(name) for name in NAMES}
        self.eligible: list[str] = []
        self.weights: dict[str, int] = {}
        self.members: Sequence[Backend] = ()
        self.shares: Sequence[int] = ()
        self.changes = 0
        self.departed = False
        self.owed = dict.fromkeys(NAMES, Fraction(0))
        """Turns owed: the share of each pick that an instance was eligible for, less its own picks."""
        self.passed = dict.fromkeys(NAMES, Fraction(0))
        """Turns' worth of picks in a row that passed an instance."""
        self.since: list[str] = []
        """Picks since the last change."""

    @initialize(eligible=subsets, weights=weightings, past=pasts)
    def init(self, eligible: list[str], weights: dict[str, int], past: tuple[int, ...]) -> None:
        leads = dict(zip(NAMES, past, strict=True))
        self.turns._leads.update(leads)
        self.specified = Specified(leads)
        self.most_owed += max(past) // TURN
        self.changed(eligible, weights)

    def changed(self, eligible: list[str], weights: dict[str, int]) -> None:
        if eligible != self.eligible or weights != self.weights:
            self.since = []
            self.changes += 1
        self.eligible, self.weights = eligible, weights
        self.members = [self.instances[name] for name in eligible]
        self.shares = [weights[name] for name in eligible]

    @precondition(lambda self: self.eligible)
    @rule(count=st.sampled_from((1, 1, 2, 3, 7, 30, 100)))
    def pick(self, count: int) -> None:
        for _ in range(count):
            self.one_pick()

    def one_pick(self) -> None:
        picked = self.turns.pick(self.members, self.shares).key
        assert picked in self.eligible
        assert picked == self.specified.pick(self.eligible, self.weights)
        total = sum(self.shares)
        for name in self.eligible:
            self.owed[name] += Fraction(self.weights[name], total)
            self.passed[name] += Fraction(self.weights[name], total)
        self.owed[picked] -= 1
        self.passed[picked] = Fraction(0)
        self.since.append(picked)
        self.load_balancing_fairness()

    @rule(eligible=subsets)
    def change(self, eligible: list[str]) -> None:
        self.changed(eligible, self.weights)
        self.one_pick()

    @rule(flaps=st.lists(subsets, min_size=2, max_size=40))
    def change_at_each_pick(self, flaps: list[list[str]]) -> None:
        for eligible in flaps:
            self.change(eligible)

    @rule(weights=weightings)
    def change_weights(self, weights: dict[str, int]) -> None:
        self.changed(self.eligible or list(NAMES), weights)
        self.one_pick()

    @rule(name=st.sampled_from(NAMES))
    def depart(self, name: str) -> None:
        self.departed = True
        self.turns.retain(frozenset(NAMES) - {name})
        self.specified.depart(name)
        self.owed[name] = self.passed[name] = Fraction(0)
        if name in self.eligible:
            self.changed([each for each in self.eligible if each != name], self.weights)

    def load_balancing_fairness(self) -> None:
        whole = sum(self.shares)
        if len(self.since) >= 2 * whole:
            exactly = {name: self.weights[name] for name in self.eligible}
            assert Counter(self.since[-whole:]) == exactly, "a window of W picks that began W picks after the change"
        for name in self.eligible:
            assert self.passed[name] < CAP, f"{name} starves"

    @invariant()
    def owed_is_bounded(self) -> None:
        """By what more than three instances, and newcomers among them, may come to."""
        assert all(abs(owed) < self.most_owed for owed in self.owed.values())

    @invariant()
    def leads_are_true(self) -> None:
        """But for what cuts forgave, for less than a unit at each change, and as much again for what is under way."""
        leads, forgiven = self.specified.put_down(), self.specified.forgiven
        for name in NAMES:
            missing = self.owed[name] - (leads[name] + forgiven[name]) * UNIT
            assert abs(missing) <= 2 * (self.changes + 1) * UNIT

    @invariant()
    def turns_balance(self) -> None:
        assert self.departed or sum(self.specified.put_down().values()) == 0

    def teardown(self) -> None:
        self.turns.retain(frozenset(NAMES))
        leads = self.specified.put_down()
        assert {name: self.turns._leads.get(name, 0) for name in NAMES} == leads


class LeastRequestMachine(RuleBasedStateMachine):
    """Requests begin and end; of the two members drawn the one with more in flight for its weight is never picked."""

    def __init__(self) -> None:
        super().__init__()
        self.policy: LeastRequest[Backend] = LeastRequest()
        self.instances = {name: Backend(name) for name in NAMES}
        self.members: list[Backend] = []
        self.weights: list[int] = []

    @initialize(eligible=subsets, weights=weightings)
    def init(self, eligible: list[str], weights: dict[str, int]) -> None:
        self.change(eligible, weights)

    @rule(eligible=subsets, weights=weightings)
    def change(self, eligible: list[str], weights: dict[str, int]) -> None:
        self.members = [self.instances[name] for name in eligible]
        self.weights = [weights[name] for name in eligible]

    @rule(data=st.data())
    def pick(self, data: st.DataObject) -> None:
        drawn = [data.draw(st.floats(0, 1, exclude_max=True)) for _ in range(2)]
        picked = self.policy.pick(self.members, self.weights, iter(drawn).__next__)
        assert picked in self.members
        if len(self.members) > 1:
            first, second = self.drawn(*drawn)
            assert first is not second
            loads = {each: Fraction(each.in_flight, self.weight(each)) for each in (first, second)}
            assert picked in loads
            assert loads[picked] == min(loads.values()), "the busier of the two"
        picked.in_flight += 1

    def drawn(self, first: float, second: float) -> tuple[Backend, Backend]:
        """Each at the place that the draw points to among the weights laid end to end; the first is taken out."""
        one = self.at(first, self.members)
        return one, self.at(second, [each for each in self.members if each is not one])

    def at(self, draw: float, among: Sequence[Backend]) -> Backend:
        laid = [each for each in among for _ in range(self.weight(each))]
        return laid[int(draw * len(laid))]

    def weight(self, member: Backend) -> int:
        return self.weights[self.members.index(member)]

    @rule(name=st.sampled_from(NAMES))
    def end(self, name: str) -> None:
        self.instances[name].in_flight = max(0, self.instances[name].in_flight - 1)


class RingHashMachine(RuleBasedStateMachine):
    """A key keeps its member while that one is eligible and the ring's membership stays."""

    def __init__(self) -> None:
        super().__init__()
        self.instances = {name: Backend(name) for name in NAMES}
        self.ring: RingHash[Backend] = RingHash((), ())
        self.members: list[str] = []
        self.eligible: frozenset[str] = frozenset()
        self.found: dict[tuple[str, frozenset[str]], str] = {}

    @initialize(members=subsets, weights=weightings)
    def init(self, members: list[str], weights: dict[str, int]) -> None:
        self.change_membership(members, weights)

    @rule(members=subsets, weights=weightings)
    def change_membership(self, members: list[str], weights: dict[str, int]) -> None:
        self.members, self.eligible, self.found = members, frozenset(members), {}
        self.ring = RingHash([self.instances[name] for name in members], [weights[name] for name in members])

    @rule(eligible=subsets)
    def change_eligibility(self, eligible: list[str]) -> None:
        self.eligible = frozenset(eligible)

    @rule(number=st.integers(0, 9))
    def pick(self, number: int) -> None:
        key = f"client-{number}"
        picked = self.ring.pick(ring_point(key), self.eligible)
        among = self.eligible.intersection(self.members)
        if picked is None:
            assert not among
            return
        assert picked.key in among
        assert self.found.setdefault((key, among), picked.key) == picked.key
        home = self.ring.pick(ring_point(key), frozenset(self.members))
        assert home is not None
        assert picked is home or home.key not in among, "moved although its own member is eligible"


def of(machine: type[RuleBasedStateMachine], examples: int) -> Callable[[], object]:
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    return case


TestBalancer = of(BalancerMachine, 100)
TestLeastRequest = of(LeastRequestMachine, 50)
TestRingHash = of(RingHashMachine, 50)
