"""The circuits that a worker shares with others: what it made of them is told, what others made of them is imposed.

A circuit that is half-open here is this worker's alone to probe. If no request comes to probe with, while perhaps the
others refuse theirs, it is handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.breaker import CircuitState, Imposition
from gateway.core.model import InstanceKey
from gateway.core.views import CircuitChange
from gateway.proxy.conductor import Conductor

PATIENCE = 0.1
"""Seconds without a probe, after which a half-open circuit is handed on; they double each time, up to a second."""
_LONGEST = 1.0

_Name = tuple[str, InstanceKey]
Tell = Callable[[str, InstanceKey, Imposition], None]


class SharedCircuits:
    """`tell` tells the parent. To be used in the event loop."""

    def __init__(self, conductor: Conductor, tell: Tell) -> None:
        self._conductor = conductor
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._looks: dict[_Name, asyncio.TimerHandle] = {}
        self._patience: dict[_Name, float] = {}
        self._alone = False

    def changed(self, change: CircuitChange) -> None:
        """A circuit made a transition here."""
        if self._alone:
            return
        name = (change.service, change.key)
        if change.after is CircuitState.HALF_OPEN:
            self._watch(name, 0)
            return
        self._forget(name)
        circuit = self._conductor.core.circuit(*name)
        if circuit is not None:
            self._tell(*name, Imposition(change.after, circuit.openings, 0, circuit.open_until or 0.0))

    def impose(self, service: str, key: InstanceKey, imposed: Imposition) -> None:
        """The parent says what other workers made of a circuit."""
        name = (service, key)
        self._conductor.impose_circuit(service, key, imposed)
        if imposed.state is CircuitState.HALF_OPEN:
            self._watch(name, imposed.probes_passed)
        elif imposed.state is CircuitState.CLOSED:
            self._forget(name)

    def go_on_alone(self) -> None:
        """Nobody is there any more to tell what others make of their circuits: each worker probes for itself."""
        self._alone = True
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()
        for circuit in tuple(self._conductor.core.circuits()):
            if circuit.elsewhere:
                own = Imposition(CircuitState.HALF_OPEN, circuit.openings)
                self._conductor.impose_circuit(circuit.service, circuit.key, own)

    def _watch(self, name: _Name, passed: int) -> None:
        before = self._looks.pop(name, None)
        if before is not None:
            before.cancel()
        patience = self._patience.setdefault(name, PATIENCE)
        self._looks[name] = self._loop.call_later(patience, self._look, name, passed)

    def _look(self, name: _Name, passed: int) -> None:
        del self._looks[name]
        circuit = self._conductor.core.circuit(*name)
        if circuit is None or circuit.state is not CircuitState.HALF_OPEN:
            self._forget(name)
        elif circuit.probes or circuit.probes_passed != passed:
            self._watch(name, circuit.probes_passed)
        else:
            self._patience[name] = min(2 * self._patience[name], _LONGEST)
            # Nobody probes from here on until somebody is told to.
            handed_on = Imposition(CircuitState.HALF_OPEN, circuit.openings, passed, self._loop.time())
            self._conductor.impose_circuit(*name, handed_on._replace(state=CircuitState.OPEN))
            self._tell(*name, handed_on)

    def _forget(self, name: _Name) -> None:
        self._patience.pop(name, None)
        look = self._looks.pop(name, None)
        if look is not None:
            look.cancel()
