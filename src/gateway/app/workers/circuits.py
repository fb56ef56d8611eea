"""Who has which circuit: the parent's part in sharing them among workers.

A circuit is closed in all workers, or one has it, in which it opened first; in the others it is open elsewhere. The
one that has it lets its open time pass, and probes. It may hand it on, half-open; when it dies, it is handed on.

Messages cross each other. One from a worker that had not yet taken the last that was sent to it about the same circuit
is of the past, and is dropped: that last message decides what the circuit is there. So of two workers that open a
circuit at once, the one that is heard first has it, and the other is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.app.workers.messages import Impose, Told
from gateway.core.breaker import CircuitState, Imposition
from gateway.core.model import Instance, InstanceKey, ServicePolicy

_CLOSED = Imposition(CircuitState.CLOSED)
NOBODY = 0

Send = Callable[[int, Impose], int]
"""To a worker; the number of the message among all that it was sent."""


@dataclass(slots=True)
class _Circuit:
    instance: Instance
    owner: int | None = None
    """NOBODY: it is open, and no worker has it. None: it is closed."""
    told: Imposition = _CLOSED
    """What its owner said last."""
    last: dict[int, int] = field(default_factory=dict)
    """By worker, the number of the last message that decided about it."""


class OpenCircuits:
    """`later` calls something at a time, in monotonic seconds."""

    def __init__(self, send: Send, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._send = send
        self._later = later
        self._workers: list[int] = []
        self._circuits: dict[str, dict[InstanceKey, _Circuit]] = {}
        self._policies: Mapping[str, ServicePolicy] = {}

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self._policies = policies

    def instances(self, service: str, instances: Iterable[Instance], sent: Mapping[int, int]) -> None:
        """The view was sent to each worker as message `sent`. What is new, or elsewhere than before, begins closed."""
        before = self._circuits.get(service, {})
        after: dict[InstanceKey, _Circuit] = {}
        for instance in instances:
            known = before.get(instance.key)
            if known is None or known.instance.endpoint != instance.endpoint:
                known = _Circuit(instance, last=dict(sent))
            known.instance = instance
            after[instance.key] = known
        self._circuits[service] = after

    def forget(self, service: str) -> None:
        self._circuits.pop(service, None)

    def joins(self, worker: int) -> None:
        """It has taken all that is in force, and serves from now on."""
        self._workers.append(worker)
        for circuit in self._every():
            if circuit.owner is not None:
                self._impose(worker, circuit, circuit.told._replace(state=CircuitState.OPEN))
            if circuit.owner == NOBODY:
                self._hand_on_in_time(circuit)

    def leaves(self, worker: int) -> None:
        """It died, and what it had in hand is handed on when its open time ends."""
        if worker in self._workers:
            self._workers.remove(worker)
        for circuit in self._every():
            circuit.last.pop(worker, None)
            if circuit.owner == worker:
                circuit.owner = NOBODY
                self._hand_on_in_time(circuit)

    def told(self, worker: int, told: Told) -> None:
        circuit = self._circuits.get(told.service, {}).get(told.key)
        if circuit is None or worker not in self._workers or told.seen < circuit.last.get(worker, 0):
            return
        state = told.circuit.state
        if state is CircuitState.OPEN and circuit.owner is None:
            self._opened(worker, circuit, told.circuit)
        elif circuit.owner != worker:
            return
        elif state is CircuitState.HALF_OPEN:
            circuit.told, circuit.owner = told.circuit, NOBODY
            self._hand_on(circuit, after=worker)
        else:
            circuit.told = told.circuit
            if state is CircuitState.CLOSED:
                circuit.owner = None
            self._impose_on_others(worker, circuit, told.circuit)

    def owners(self) -> Mapping[InstanceKey, int | None]:
        return {circuit.instance.key: circuit.owner for circuit in self._every()}

    def _opened(self, worker: int, circuit: _Circuit, told: Imposition) -> None:
        if not self._may_open_another(circuit.instance.service):
            # Others opened as many as may be, at the same moment.
            self._impose(worker, circuit, told)
            self._impose(worker, circuit, _CLOSED)
            return
        circuit.told, circuit.owner = told, worker
        self._impose_on_others(worker, circuit, told)

    def _may_open_another(self, service: str) -> bool:
        """As each worker judges it of the circuits that it knows (`core.pool`)."""
        circuits = self._circuits[service].values()
        policy = (self._policies.get(service) or ServicePolicy(service)).circuit
        not_closed = sum(each.owner is not None for each in circuits if each.instance.weight)
        return not_closed < int(policy.max_open * len(circuits) + 1e-9)

    def _hand_on_in_time(self, circuit: _Circuit) -> None:
        """When its open time ends."""
        self._later(circuit.told.open_until, partial(self._hand_on, circuit))

    def _hand_on(self, circuit: _Circuit, after: int = NOBODY) -> None:
        if circuit.owner != NOBODY or not self._workers or not self._holds(circuit):
            return
        circuit.owner = _next(self._workers, after)
        self._impose(circuit.owner, circuit, circuit.told._replace(state=CircuitState.HALF_OPEN))

    def _impose_on_others(self, worker: int, circuit: _Circuit, imposed: Imposition) -> None:
        for other in self._workers:
            if other != worker:
                self._impose(other, circuit, imposed)

    def _impose(self, worker: int, circuit: _Circuit, imposed: Imposition) -> None:
        instance = circuit.instance
        circuit.last[worker] = self._send(worker, Impose(instance.service, instance.key, imposed))

    def _holds(self, circuit: _Circuit) -> bool:
        """Whether it is of an instance that is still there."""
        instance = circuit.instance
        return self._circuits.get(instance.service, {}).get(instance.key) is circuit

    def _every(self) -> Iterable[_Circuit]:
        return [circuit for of_service in self._circuits.values() for circuit in of_service.values()]


def _next(workers: Sequence[int], after: int) -> int:
    """In a ring, by number."""
    behind = [worker for worker in workers if worker > after]
    return min(behind or workers)
