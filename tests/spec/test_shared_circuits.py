"""Circuits shared among workers, over slow pipes, while instances fail, views change and workers die.

All parts are the real ones but for the processes and the pipes between them; time is virtual, and all follows from the
seed.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import pytest

from gateway.app.workers.circuits import OpenCircuits
from gateway.app.workers.messages import Impose, Told
from gateway.app.workers.sharing import SharedCircuits
from gateway.core.breaker import CircuitState, Imposition
from gateway.core.events import Action, Event
from gateway.core.gateway import Gateway
from gateway.core.model import CircuitPolicy, FailureKind, Instance, InstanceKey, RetryPolicy
from gateway.core.tickets import Attempt, Deliver, End, Failure, Head, Send
from gateway.core.views import CircuitChange, CircuitView
from gateway.journal.monitor import Monitor
from gateway.journal.properties import Violation
from gateway.journal.stream import EventStream
from gateway.proxy.conductor import Conductor
from specs.traces import validate
from tests.spec.journals import lines_of
from tests.unit.core_support import compile_regex, facts, instance, policy, route

WORKERS = 3
LONGEST_DELAY = 0.03
ROUTE = route(retry=RetryPolicy(attempts=1))
NAMES = ("a", "b", "c")


class Skipping(selectors.SelectSelector):
    """Time passes at once, as far as the loop would wait."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


class Pipe:
    """One way: in order, each message some time under way."""

    def __init__(self, draw: random.Random, deliver: Callable[[object, int], None]) -> None:
        self.sent = 0
        self._draw = draw
        self._deliver = deliver
        self._free_at = 0.0
        self._under_way: deque[object] = deque()
        self._arrived = 0
        self.cut = False

    def send(self, message: object) -> int:
        self.sent += 1
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time() + self._draw.uniform(0.0, LONGEST_DELAY))
        self._under_way.append(message)
        loop.call_at(self._free_at, self._arrive)
        return self.sent

    def _arrive(self) -> None:
        self._arrived += 1
        message = self._under_way.popleft()
        if not self.cut:
            self._deliver(message, self._arrived)


class Worker:
    def __init__(self, number: int, world: World) -> None:
        self.number = number
        self._world = world
        loop = asyncio.get_running_loop()
        self.told: list[Event] = []
        self.violations: list[Violation] = []
        self.stream = EventStream([Monitor(self.violations.append), lambda _, event: self.told.append(event)])
        self.core = Gateway(compile_regex, world.draw.random, self._changed, trace=self.stream)
        self._conductor = Conductor(self.core, loop.time)
        self._circuits = SharedCircuits(self._conductor, self._tell)
        self._taken = 0
        self.from_parent = Pipe(world.draw, self._take)
        self.to_parent = Pipe(world.draw, lambda told, _: world.hear(self, told))
        self._conductor.apply_policies(world.policies)
        self._conductor.apply_routes([ROUTE])

    def _changed(self, change: CircuitChange) -> None:
        self._circuits.changed(change)

    def _take(self, message: object, number: int) -> None:
        self._taken = number
        if isinstance(message, Impose):
            self._circuits.impose(message.service, message.key, message.imposed)
        else:
            assert isinstance(message, tuple)
            self._conductor.apply_view("orders", message)

    def _tell(self, service: str, key: InstanceKey, circuit: Imposition) -> None:
        self.to_parent.send(Told(service, key, circuit, self._taken))

    def request(self) -> None:
        decision = self._conductor.admit(ROUTE, facts())
        if isinstance(decision, Send):
            self._world.later(0.002, lambda: self._answer(decision.attempt))

    def _answer(self, attempt: Attempt) -> None:
        if attempt.instance.key.service_id in self._world.failing:
            self._conductor.process(attempt, Failure(FailureKind.RESET, replayable=False))
        elif isinstance(self._conductor.process(attempt, Head(200, replayable=False)), Deliver):
            self.core.process_response(attempt, End(), asyncio.get_running_loop().time())

    def circuits(self) -> Mapping[str, CircuitView]:
        return {view.key.service_id: view for view in self.core.circuits()}


class World:
    def __init__(self, seed: int, open_for: float) -> None:
        circuit = CircuitPolicy(consecutive_failures=2, failure_ratio=0.0, open_for=open_for, max_open_for=4 * open_for)
        self.policies = {"orders": policy(circuit=circuit)}
        self.draw = random.Random(seed)
        self.failing: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._registered = dict.fromkeys(NAMES, 9000)
        self._rates = [30.0] * WORKERS
        self.seen: Counter[str] = Counter()
        self.workers: dict[int, Worker] = {}
        self.all_workers: list[Worker] = []
        """Those that died, too."""
        self.parent = OpenCircuits(self._impose, self._loop.call_at)
        self.parent.policies(self.policies)
        self._view = self._instances()
        for number in range(1, WORKERS + 1):
            self._start(number)
            self.later(0.0, lambda number=number: self._requests(number))  # type: ignore[misc]

    def _start(self, number: int) -> None:
        worker = self.workers[number] = Worker(number, self)
        self.all_workers.append(worker)
        sent = {number: worker.from_parent.send(self._view)}
        if not self.parent.owners():
            self.parent.instances("orders", self._view, sent)
        self.parent.joins(number)

    def _impose(self, number: int, message: Impose) -> int:
        self.seen[f"told {message.imposed.state.value}"] += 1
        return self.workers[number].from_parent.send(message)

    def hear(self, worker: Worker, told: object) -> None:
        assert isinstance(told, Told)
        self.seen[f"heard {told.circuit.state.value}"] += 1
        self.parent.told(worker.number, told)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._loop.call_later(seconds, act)

    def _requests(self, number: int) -> None:
        self.later(self.draw.expovariate(max(self._rates[number - 1], 0.5)), lambda: self._requests(number))
        if self._rates[number - 1] and number in self.workers:
            self.workers[number].request()

    def disturb(self) -> None:
        """Something happens; requests may come to one worker alone."""
        pick = self.draw.choice
        self.failing ^= {pick(NAMES)}
        if self.draw.random() < 0.3:
            self._rates = [pick((0.0, 1.0, 30.0)) for _ in range(WORKERS)]
        if self.draw.random() < 0.3 and self._registered:
            # Gone and back: its circuits are closed, whatever is still under way about them.
            name = pick(sorted(self._registered))
            port = self._registered.pop(name)
            self._deliver()
            self._registered[name] = port
            self._deliver()
        if self.draw.random() < 0.3:
            name = pick(NAMES)
            if self._registered.pop(name, None) is None:
                self._registered[name] = pick((9000, 9001))
            self._deliver()
        if self.draw.random() < 0.2 and self.workers:
            self._kill(pick(sorted(self.workers)))

    def calm(self) -> None:
        """All is well; one worker gets no request, and so nothing to probe with."""
        self.failing.clear()
        self._rates = [0.0, *[30.0] * (WORKERS - 1)]
        self._registered = dict.fromkeys(NAMES, 9000)
        self._deliver()

    def _kill(self, number: int) -> None:
        dead = self.workers.pop(number)
        dead.from_parent.cut = dead.to_parent.cut = True
        self.parent.leaves(number)
        self.later(self.draw.uniform(0.0, 5.0), lambda: self._start(number))

    def _instances(self) -> Sequence[Instance]:
        return tuple(instance(name, port=port) for name, port in self._registered.items())

    def _deliver(self) -> None:
        self._view = self._instances()
        sent = {number: worker.from_parent.send(self._view) for number, worker in self.workers.items()}
        self.parent.instances("orders", self._view, sent)

    def probers(self, name: str) -> int:
        return sum(
            (view := worker.circuits().get(name)) is not None and view.state is CircuitState.HALF_OPEN
            for worker in self.workers.values()
        )


async def _run(seed: int, open_for: float, pause: float, rounds: int = 60) -> World:
    world = World(seed, open_for)
    for _ in range(rounds):
        world.disturb()
        for _ in range(20):
            await asyncio.sleep(world.draw.uniform(0.0, pause))
            for name in NAMES:
                # Who opens it while the news of another's is still under way lets go of it when that comes.
                assert world.probers(name) <= 1 or open_for < LONGEST_DELAY, f"several workers probe {name}"
    world.calm()
    await asyncio.sleep(20.0)
    for worker in world.workers.values():
        found = {name: view.state.value for name, view in worker.circuits().items()}
        assert found == dict.fromkeys(NAMES, "closed"), f"worker {worker.number}"
    assert set(world.parent.owners().values()) == {None}
    for worker in world.all_workers:
        assert not worker.violations
        assert not worker.stream.failed
    return world


def _ran(seed: int, open_for: float, pause: float, rounds: int = 60) -> World:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_run(seed, open_for, pause, rounds))


@pytest.mark.parametrize(("open_for", "pause"), [(0.5, 0.1), (0.01, 0.02)])
def test_workers_agree_and_one_alone_probes(open_for: float, pause: float) -> None:
    """Each of their decisions is held against the specification."""
    seen: Counter[str] = Counter()
    for seed in range(80, 90):
        seen += _ran(seed, open_for, pause).seen
    for state in CircuitState:
        assert seen[f"heard {state.value}"] > 20, seen
        assert seen[f"told {state.value}"] > 20, seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "open_for", "pause", "rounds"), [(80, 0.5, 0.1, 20), (87, 0.01, 0.02, 30)])
def test_what_each_worker_does_is_a_behaviour_of_the_specification(
    seed: int, open_for: float, pause: float, rounds: int
) -> None:
    """It tells of one core, into which what others make of its circuits comes from outside: here from cores as well."""
    world = _ran(seed, open_for, pause, rounds)
    imposed: Counter[object] = Counter()
    for worker in world.all_workers:
        here = [event.inputs["state"] for event in worker.told if event.action is Action.IMPOSE_CIRCUIT]
        if not here:
            continue
        imposed.update(here)
        lines = lines_of(worker.told)
        found = validate(lines)
        assert found.accepted, f"{found}; refused: {lines[found.taken] if found.taken < len(lines) else None}"
    assert imposed.keys() == {state.value for state in CircuitState}
