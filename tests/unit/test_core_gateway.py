"""The operations seen from a shell: each ticket ends once, everything is counted, the same inputs decide the same."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.model import (
    Balance,
    BalancePolicy,
    CircuitPolicy,
    FailureKind,
    HashOn,
    HashSource,
    Health,
    Limits,
    Outcome,
    Reason,
    RetryPolicy,
    Route,
)
from gateway.core.tickets import Attempt, Broken, Reject, Send
from tests.unit.core_support import Shell, facts, instance, name_of, policy, route, sick


@pytest.fixture
def shell() -> Shell:
    shell = Shell()
    shell.view(instance("a"), instance("b"))
    return shell


@pytest.mark.parametrize("reason", list(Reason))
def test_a_shell_may_end_a_ticket_for_any_reason(shell: Shell, reason: Reason) -> None:
    rejection = shell.reject(shell.send(route()).ticket, reason)
    assert rejection.reason is reason
    assert 400 <= rejection.status < 600
    assert shell.core.counters.rejections[reason] == 1


def test_outcomes_are_counted_once_each(shell: Shell) -> None:
    shell.answer(shell.send(route()))
    shell.abandon(shell.send(route()).ticket)
    shell.fail(shell.send(route()))
    cut = shell.send(route())
    shell.head(cut)
    assert isinstance(shell.fail(cut, FailureKind.TRUNCATED), Broken)
    counters = shell.core.counters
    assert counters.outcomes == dict.fromkeys(Outcome, 1)
    assert (counters.tickets, counters.attempts) == (4, 4)


def test_abandoning_twice_or_too_late_does_nothing(shell: Shell) -> None:
    attempt = shell.send(route())
    shell.abandon(attempt.ticket)
    shell.abandon(attempt.ticket)
    answered = shell.send(route())
    shell.answer(answered)
    shell.abandon(answered.ticket)
    assert answered.ticket.outcome is Outcome.RESPONDED
    assert shell.core.counters.outcomes[Outcome.ABANDONED] == 1
    assert [view.in_flight for view in shell.core.circuits()] == [0, 0]


def test_a_second_ending_is_a_bug_of_the_shell(shell: Shell) -> None:
    attempt = shell.send(route())
    shell.answer(attempt)
    with pytest.raises(AssertionError, match="ended twice"):
        shell.end(attempt)
    with pytest.raises(AssertionError, match="ended twice"):
        shell.reject(attempt.ticket, Reason.REQUEST_TIMEOUT)
    assert shell.core.counters.outcomes[Outcome.RESPONDED] == 1
    assert [view.in_flight for view in shell.core.circuits()] == [0, 0]


def test_a_ticket_keeps_the_version_it_matched(shell: Shell) -> None:
    before = route(retry=RetryPolicy(attempts=3))
    shell.routes(before)
    attempt = shell.send(before)
    shell.routes(route(version=2, retry=RetryPolicy(attempts=1)))
    again = shell.retried(attempt)
    assert again.ticket.route is before


def test_a_deleted_route_lets_its_requests_finish(shell: Shell) -> None:
    shell.routes(route())
    attempt = shell.send(route())
    shell.routes()
    shell.view()
    assert [(load.route, load.in_flight) for load in shell.core.loads()] == [("r", 1)]
    shell.answer(attempt)
    shell.routes()
    assert list(shell.core.loads()) == []


def test_matching_finds_the_route_in_force(shell: Shell) -> None:
    assert shell.core.match(facts()) is None
    mine = route()
    shell.routes(mine)
    assert shell.core.match(facts()) is mine


def test_routes_that_come_and_go_leave_nothing_behind(shell: Shell) -> None:
    for number in range(50):
        mine = route(f"r{number}")
        shell.routes(mine)
        shell.answer(shell.send(mine))
    shell.routes()
    core = shell.core
    assert (len(core._routes._gates), len(core._routes._splits)) == (0, 0)
    assert [len(service.pools) for service in core._services._services.values()] == [0]


def test_a_hanging_service_holds_its_own_tickets_alone_and_time_ends_what_waits(shell: Shell) -> None:
    shell.policies(policy(cap=1))
    shell.view(instance("s", service="stock"), service="stock")
    hanging = [shell.send(route()) for _ in range(2)]
    waiting = [shell.queued(route()) for _ in range(10)]
    assert shell.shares(route("other", "stock"), 50) == {"s": 50}
    shell.wait(1.0)
    assert {shell.woken_reason(ticket) for ticket in waiting} == {Reason.QUEUE_TIMEOUT}
    for attempt in hanging:
        assert isinstance(shell.fail(attempt, FailureKind.TIMEOUT), Reject)
    assert next(iter(shell.core.loads())).in_flight == 0


def test_fifty_clients_on_a_killed_instance_lose_nothing() -> None:
    """One of three dies, comes back through half-open; every request is answered by somebody."""
    shell = Shell()
    shell.view(instance("a"), instance("b"), instance("c"))
    shell.policies(policy(circuit=CircuitPolicy(consecutive_failures=5, open_for=1.0)))
    flying: list[Attempt] = []
    answered = 0
    for step in range(4000):
        dead = 500 <= step < 2500
        flying.append(shell.send(route()))
        if len(flying) >= 64:
            attempt = flying.pop(0)
            while dead and name_of(attempt) == "a":
                attempt = shell.retried(attempt, FailureKind.CONNECT_FAILURE)
            shell.answer(attempt)
            answered += 1
        shell.wait(0.005)
    assert answered == shell.core.counters.outcomes[Outcome.RESPONDED]
    assert shell.core.counters.outcomes[Outcome.REJECTED] == 0
    assert shell.states() == {"a": "closed", "b": "closed", "c": "closed"}
    assert [change.after.value for change in shell.changes][-1] == "closed"


def test_a_rolling_replacement_loses_nothing() -> None:
    shell = Shell()
    live = [instance(f"old{number}") for number in range(4)]
    shell.view(*live)
    flying: list[Attempt] = []
    for step in range(400):
        if step % 50 == 10:
            live = [*live[1:], instance(f"new{step}")]
            shell.view(*live)
        flying.append(shell.send(route()))
        assert flying[-1].instance in live
        if len(flying) > 16:
            shell.answer(flying.pop(0))
    assert shell.core.counters.outcomes[Outcome.REJECTED] == 0


# --- determinism ---


BALANCES = [
    Balance(),
    Balance(BalancePolicy.LEAST_REQUEST),
    Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP)),
]
ROUTES = [
    route("one", limits=Limits(in_flight=6, queue=5, queue_timeout=0.5)),
    route("two", "orders", "stock", limits=Limits(queue=5, queue_timeout=2.0)),
    route("three", "stock", retry=RetryPolicy(on_statuses=frozenset({503}))),
]


class Life:
    """One random but reproducible life of a core, and what was decided in it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.shell = Shell(draw=random.Random(seed + 1).random, prefer_node="n1")
        self.shell.routes(*ROUTES)
        self.told: list[str] = []
        self.flying: list[Attempt] = []

    def heed(self, decision: object) -> None:
        self.told.append(type(decision).__name__)
        if isinstance(decision, Send):
            self.told.append(f"{decision.attempt.ticket.id} {decision.attempt.instance.key}")
            self.flying.append(decision.attempt)
        elif isinstance(decision, Reject):
            self.told.append(f"{decision.ticket.id} {decision.reason} {decision.retry_after}")

    def change_a_view(self) -> None:
        chance, service = self.chance, self.chance.choice(["orders", "stock"])
        members = [
            instance(f"{service}{number}", chance.randint(1, 5), service=service, node=f"n{number % 3}")
            for number in range(chance.randint(0, 6))
        ]
        health = [chance.choice([*[Health.PASSING] * 4, *Health]) for _ in members]
        self.shell.view(*map(sick, members, health), service=service)

    def change_policies(self) -> None:
        rules = CircuitPolicy(consecutive_failures=2, open_for=0.5)
        self.shell.policies(
            *[
                policy(name, circuit=rules, balance=self.chance.choice(BALANCES), cap=self.chance.randint(0, 2))
                for name in ("orders", "stock")
            ]
        )

    def request(self) -> None:
        client = facts(client_ip=f"192.0.2.{self.chance.randint(0, 9)}")
        self.heed(self.shell.request(self.chance.choice(ROUTES), client))

    def finish(self) -> None:
        if not self.flying:
            return
        attempt = self.flying.pop(self.chance.randrange(len(self.flying)))
        fate = self.chance.random()
        if fate < 0.3:
            self.heed(self.shell.fail(attempt, FailureKind.RESET, replayable=True))
        elif fate < 0.4:
            self.shell.abandon(attempt.ticket)
        else:
            self.shell.answer(attempt, self.chance.choice([200, 503]))

    def step(self) -> None:
        steps = (self.change_a_view, self.change_policies, self.request, self.finish)
        self.chance.choices(steps, (5, 2, 43, 40))[0]()
        self.shell.wait(self.chance.random() / 10)
        for decision in self.shell.woken.values():
            self.heed(decision)
        self.shell.woken.clear()


def play(seed: int) -> str:
    life = Life(seed)
    for _ in range(1500):
        life.step()
    life.told += [f"{change.key} {change.event} {change.now}" for change in life.shell.changes]
    life.told.append(str(life.shell.core.counters))
    return hashlib.sha256("\n".join(life.told).encode()).hexdigest()


def test_the_same_inputs_and_draws_decide_the_same_whatever_the_process_hashes() -> None:
    """Sets of strings are ordered by a seed of the process: another process has to come to the same decisions."""
    root = Path(__file__).parents[2]
    program = "from tests.unit.test_core_gateway import play; print(*[play(seed) for seed in range(3)])"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join((str(root), str(root / "src")))},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_other_draws_decide_otherwise() -> None:
    assert play(1) != play(2)


def test_a_route_object_is_enough_for_the_core() -> None:
    """A ticket may be opened for a version that is no longer in force: it was matched a moment ago."""
    shell = Shell()
    shell.view(instance("a"))
    gone: Route = route("gone")
    shell.routes(route("other"))
    assert shell.shares(gone, 3) == {"a": 3}
