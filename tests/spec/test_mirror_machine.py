"""A watch of one service as `specs/RegistryMirror.tla` has it and as the code does it, step by step the same.

A rule is an action of the module, under its guard, and the machine keeps the module's state beside the code's. Two
things are finer than there: a grace ends by the clock, and an answer may say by its header that it was filtered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.model import Health
from tests.spec.scripted_consul import GRACE, State, WatchedService

INSTANCES = ("a", "b", "c")
MAX_INDEX = 6
names = st.sampled_from(INSTANCES)
healths = st.sampled_from(tuple(Health))
entries = st.sampled_from((*Health, None))
rights = st.sampled_from((frozenset(INSTANCES), frozenset(INSTANCES), frozenset(), frozenset("a"), frozenset("bc")))
unsure = st.sampled_from((None, None, None, "leaderless", "old"))
meanwhile = st.sampled_from((None, None, None, "fail", "rouse", "rights", "restart"))
PICKS = st.integers(0, MAX_INDEX - 1)


@dataclass(frozen=True, slots=True)
class Answered:
    """`truth` is what the server holds, `visible` whom of it it shows, `filtered` whether it says that by a header."""

    truth: State
    visible: frozenset[str]
    index: int
    unsure: bool
    filtered: bool = False

    @property
    def shown(self) -> State:
        return seen(self.truth, self.visible)


def seen(state: Mapping[str, Health], visible: frozenset[str]) -> State:
    return {name: health for name, health in state.items() if name in visible}


class MirrorMachine(RuleBasedStateMachine):
    """The attributes have the names of the module's variables; `doubt` holds when each grace ends."""

    def __init__(self) -> None:
        super().__init__()
        self.code = WatchedService()
        self.log: list[State] = [{}]
        self.rights = frozenset(INSTANCES)
        self.starting = False
        self.phase = "idle"
        self.question = (0, self.rights)
        self.reply = Answered({}, frozenset(), 0, unsure=False)
        self.index = 0
        self.highest = 0
        self.reconnected = False
        self.roused = False
        self.mirror: State = {}
        self.doubt: dict[str, float] = {}
        self.fallen: set[str] = set()
        self.looked: set[str] = set()
        self.ever: set[tuple[str, Health]] = set()
        """Each instance with each health that the catalog ever held of it."""
        self.graces: dict[str, tuple[float, bool]] = {}
        """Of what has been missing since an answer with a sign: when it has to be gone, and whether the index fell."""

    @initialize(tells=st.booleans(), first=st.dictionaries(names, healths, min_size=1))
    def begin(self, tells: bool, first: dict[str, Health]) -> None:
        """To a first view, by the steps below."""
        self.tells = tells
        for name, health in first.items():
            self.catalog_changes(name, health)
        self.turn(0, None, None, None, self.rights)

    @property
    def catalog(self) -> State:
        return self.log[-1]

    def in_doubt(self, name: str) -> str:
        if name not in self.doubt:
            return "none"
        return "running" if self.code.now < self.doubt[name] else "over"

    # --- Consul ---

    @precondition(lambda self: len(self.log) < MAX_INDEX)
    @rule(name=names, entry=entries)
    def catalog_changes(self, name: str, entry: Health | None) -> None:
        state = {other: health for other, health in self.catalog.items() if other != name}
        if entry is not None:
            state[name] = entry
            self.ever.add((name, entry))
        self.log.append(state)

    @precondition(lambda self: len(self.log) > 1)
    @rule(pick=PICKS)
    def catalog_restored(self, pick: int) -> None:
        del self.log[1 + pick % (len(self.log) - 1) :]

    @rule(these=rights)
    def rights_change(self, these: frozenset[str]) -> None:
        if self.looked & self.rights <= these:
            self.rights = self.code.source.rights = these

    @rule(loses=st.booleans(), asked=st.booleans())
    def agent_restarts(self, loses: bool, asked: bool) -> None:
        """Most often while a question is out."""
        if self.phase == "idle" and asked:
            self.ask()
        if loses:
            self.log = [{}]
        self.starting = True
        if self.code.phase == "parked":
            self.code.fail()
        else:
            self.code.kick()
        self.rouse()

    @precondition(lambda self: self.starting)
    @rule()
    def agent_started(self) -> None:
        self.starting = False

    # --- the watch ---

    @precondition(lambda self: self.phase == "idle")
    @rule()
    def ask(self) -> None:
        self.code.source.rights = self.rights
        index = self.code.ask()
        assert index in {self.index, 0}
        assert index in {self.highest, 0}, "NeverAsksAhead"
        self.question = (index, self.rights)
        self.phase, self.index = "parked", 0

    def passed(self, index: int) -> bool:
        return self.question[0] == 0 or index > self.question[0]

    def answered_with(self, index: int, unsure: str | None) -> None:
        truth, may_see = self.log[index - 1], self.question[1]
        visible = frozenset() if self.starting else may_see
        filtered = self.tells and not truth.keys() <= may_see
        self.reply = Answered(truth, visible, index, unsure is not None, filtered)
        self.code.answer(self.reply.shown, index, unsure=unsure, filtered=filtered)
        self.phase = "answered"
        if self.code.phase == "idle":
            # byte for byte the answer that is in force: the code does not judge it anew
            self.take()

    @precondition(lambda self: self.phase == "parked" and self.passed(len(self.log)))
    @rule(unsure=unsure)
    def answer(self, unsure: str | None) -> None:
        self.answered_with(len(self.log), unsure)

    @precondition(lambda self: self.phase == "parked" and any(map(self.passed, range(1, len(self.log)))))
    @rule(pick=PICKS, unsure=unsure)
    def answer_behind(self, pick: int, unsure: str | None) -> None:
        behind = [index for index in range(1, len(self.log)) if self.passed(index)]
        self.answered_with(behind[-1 - pick % len(behind)], unsure)

    @precondition(lambda self: self.phase == "parked" and not self.passed(1))
    @rule(pick=PICKS, unsure=unsure)
    def wait_ends(self, pick: int, unsure: str | None) -> None:
        held = [index for index in range(1, len(self.log) + 1) if not self.passed(index)]
        self.answered_with(held[-1 - pick % len(held)], unsure)

    @precondition(lambda self: self.phase != "idle")
    @rule(at_the_question=st.booleans())
    def fail(self, at_the_question: bool) -> None:
        is_asked = bool(self.mirror.keys() - self.reply.shown.keys()) or not self.reply.shown
        self.code.fail(at_the_question=at_the_question and is_asked)
        self.given_up()

    def given_up(self) -> None:
        self.phase, self.index, self.reconnected, self.roused = "idle", 0, True, False

    @rule()
    def roused_by_the_lighthouse(self) -> None:
        self.code.kick()
        self.rouse()

    def rouse(self) -> None:
        if self.phase == "answered":
            self.roused = True
        else:
            self.given_up()

    @precondition(lambda self: self.doubt)
    @rule(early=st.sampled_from((0.0, 0.0, 1.0)))
    def grace_ends(self, early: float) -> None:
        self.code.now = max(self.code.now, min(self.doubt.values()) - early)

    @rule(seconds=st.sampled_from((0.5, 3.0)))
    def time_passes(self, seconds: float) -> None:
        self.code.now += seconds

    @precondition(lambda self: self.phase == "idle")
    @rule(pick=PICKS, unsure=unsure, first=meanwhile, then=meanwhile, these=rights)
    def turn(self, pick: int, unsure: str | None, first: str | None, then: str | None, these: frozenset[str]) -> None:
        """All steps of a turn in one, so that a short run gets further. Any server answers, most often the leader."""
        self.ask()
        self.happens(first, these)
        if self.phase == "parked":
            self.answered_with(max(1, len(self.log) - max(0, pick - 2)), unsure)
        if self.phase == "answered":
            self.happens(then, these)
        if self.phase == "answered":
            self.take()

    def happens(self, what: str | None, these: frozenset[str]) -> None:
        match what:
            case "fail":
                self.fail(at_the_question=True)
            case "rouse":
                self.roused_by_the_lighthouse()
            case "rights":
                self.rights_change(these)
            case "restart":
                self.agent_restarts(loses=False, asked=False)

    # --- what an answer means ---

    @precondition(lambda self: self.phase == "answered")
    @rule()
    def take(self) -> None:
        reply, before = self.reply, self.mirror
        missing = before.keys() - reply.shown.keys()
        fell = reply.index < self.highest
        signs = self.reconnected or reply.unsure or fell
        begun = dict(self.doubt)
        for name in before if signs else ():
            if name not in begun or (fell and name not in self.fallen):
                begun[name] = self.code.now + GRACE
        fallen = set(before) if fell else self.fallen
        doubted = {name for name in missing & begun.keys() if not reply.shown or name in fallen}
        held = {name for name in doubted if self.code.now < begun[name]}
        hidden = missing - self.rights
        looked_for = missing - held - hidden - self.looked
        kept = held | hidden | looked_for
        after = {name: before[name] for name in kept} | reply.shown
        self.grant(missing, signs=signs, fell=fell)
        if self.code.phase == "answered":
            self.code.judge()
            denied = bool(hidden) or reply.filtered or not (self.rights or reply.shown)
            assert (self.code.view.state == "doubted") == (bool(held) and not denied)
        assert self.code.mirror == after
        self.judged(before, after, hidden)
        self.phase, self.mirror = "idle", after
        self.doubt = {name: begun[name] for name in doubted & kept}
        self.fallen = fallen & doubted & kept
        self.looked = set(looked_for)
        self.highest = reply.index
        self.index = 0 if fell or looked_for or self.roused else reply.index
        self.reconnected, self.roused = self.roused, False

    def grant(self, missing: set[str], *, signs: bool, fell: bool) -> None:
        """One grace from the first sign on, and one more where the index falls later."""
        until = self.code.now + GRACE
        for name in missing:
            known = self.graces.get(name)
            if (signs and known is None) or (fell and known is not None and not known[1]):
                self.graces[name] = (until, fell)
        self.graces = {
            name: grace for name, grace in self.graces.items() if name in missing and (grace[1] or not self.reply.shown)
        }

    def judged(self, before: State, after: State, hidden: set[str]) -> None:
        """The module's properties of this step, asked of what the core was told and not of the steps above."""
        reply = self.reply
        for name in before.keys() - after.keys():
            state = self.in_doubt(name)
            assert state == "over" or name not in reply.truth, "TroubleTakesNothing"
            if state != "over":
                sign = self.reconnected or reply.unsure or state == "running"
                assert reply.index >= self.highest, "DoubtHolds"
                assert reply.shown or not sign, "DoubtHolds"
                assert state == "none" or name not in self.fallen, "DoubtHolds"
        for name in (before.keys() & after.keys()) - reply.shown.keys() - hidden:
            in_grace = name in self.graces and self.code.now < self.graces[name][0]
            assert in_grace or name not in self.looked, "GraceIsBounded"

    # --- invariants ---

    @invariant()
    def no_deadlock(self) -> None:
        assert self.code.phase == self.phase

    @invariant()
    def registry_consistency(self) -> None:
        assert self.code.mirror == self.mirror
        assert set(self.mirror.items()) <= self.ever

    @invariant()
    def valid_service_states(self) -> None:
        assert all(isinstance(health, Health) for health in self.code.mirror.values())
        assert self.doubt.keys() <= self.mirror.keys()
        view, running = self.code.view, {name for name in self.doubt if self.in_doubt(name) == "running"}
        if view.state in {"pending", "live"}:
            assert not running
        if view.state == "failing":
            assert not self.mirror

    def teardown(self) -> None:
        """MirrorConvergence: Consul stays as it is, shows all, and answers; failures do no harm."""
        try:
            if hasattr(self, "tells"):
                self.comes_to_rest()
        finally:
            self.code.close()

    def comes_to_rest(self) -> None:
        self.starting = False
        self.rights = self.code.source.rights = frozenset(INSTANCES)
        for step in range(8):
            if self.phase == "answered":
                self.take()
            if self.phase == "idle":
                self.ask()
            if step in {1, 4}:
                self.fail(at_the_question=False)
                continue
            self.answered_with(len(self.log), None)
            if self.phase == "answered":
                self.take()
            self.code.now += GRACE
        assert self.code.mirror == self.catalog
        assert not self.doubt
        assert self.code.view.state == "live"


TestMirror = MirrorMachine.TestCase
TestMirror.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
