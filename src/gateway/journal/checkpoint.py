"""The whole state of a core as plain values, and a core made from them again.

A core is a graph of small objects that point at each other, and its decisions depend on which are the very same
(balancers compare sequences by identity). So the graph goes over as it is: a list of nodes, each naming others by
number. What a core was given from outside (draws, the regular expressions' compiler, its listeners) stays outside: the
new core is given its own. Of a request, only its method goes over.

Nothing in a checkpoint is executed: classes and methods are looked up in fixed tables.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from types import FunctionType, MethodType, ModuleType

from gateway.core import admission, balancer, breaker, model, pool, registry, retry, split, tickets, timers, views
from gateway.core import gateway as gateway_module
from gateway.core import routes as routes_module
from gateway.core import services as services_module
from gateway.core.events import Event, Recorder
from gateway.core.facts import TicketFacts
from gateway.core.gateway import Gateway
from gateway.core.routing import CompileRegex, RoutingTable

State = Sequence[object]
"""Nodes: JSON in, JSON out. The first is the core with the tickets in it, which only its shell holds."""

_MODULES: Sequence[ModuleType] = (
    admission,
    balancer,
    breaker,
    gateway_module,
    model,
    pool,
    registry,
    retry,
    routes_module,
    services_module,
    split,
    tickets,
    timers,
    views,
)
_CLASSES: Mapping[str, type] = {
    name: found
    for module in _MODULES
    for name, found in inspect.getmembers(module, inspect.isclass)
    if found.__module__ == module.__name__
}
_METHODS = frozenset({"_expire", "_late_probe", "_mature", "_wake_service", "changed"})
"""What timers run, and what a change of services calls."""
_OUTSIDE: Mapping[type, frozenset[str]] = {
    Gateway: frozenset({"_draw", "_recorder"}),
    services_module.Services: frozenset({"_draw", "_on_circuit", "_recorder"}),
    routes_module.Routes: frozenset({"_compile_regex"}),
}
"""What a core is given."""
_NOTHING: frozenset[str] = frozenset()
_UNUSED_BY_DECISIONS: Mapping[type, frozenset[str]] = {
    model.Route: frozenset({"filters", "matches", "hostnames", "timeouts"}),
    model.ServicePolicy: frozenset({"connect"}),
}
"""Left to their defaults: they may be large, or hold secrets."""


class CheckpointError(Exception):
    """A checkpoint that no core can be made from: what is wrong with it, and at which node."""


def take(core: Gateway) -> State:
    """The state of `core` between two of its steps. The core goes on untouched."""
    return _Taker().take(core)


def restore(
    state: object,
    *,
    compile_regex: CompileRegex,
    draw: Callable[[], float],
    facts: Callable[[str], TicketFacts],
    trace: Callable[[Event], None],
) -> Gateway:
    """A core in that state. `facts` makes the facts of a request that is in the gateway from its method.

    Raises CheckpointError.
    """
    recorder = Recorder(trace, draw)
    outside: dict[str, object] = {
        "_draw": recorder.draw,
        "_compile_regex": compile_regex,
        "_on_circuit": None,
        "_recorder": recorder,
    }
    core, live = _Restorer(state, outside, compile_regex, facts).restored()
    recorder.tickets.update((ticket.id, ticket) for ticket in live)
    return core


class _Taker:
    def __init__(self) -> None:
        self._nodes: list[object] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []
        """What was numbered stays alive until the end, so that no number is given twice."""

    def take(self, core: Gateway) -> State:
        self._value((core, list(core.traced_tickets.values())))
        return self._nodes

    def _value(self, value: object) -> object:
        if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
            return value
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._nodes)
            self._kept.append(value)
            self._nodes.append(None)
            self._nodes[number] = self._node(value)
        return {"#": number}

    def _node(self, value: object) -> object:
        name = type(value).__name__
        if isinstance(value, Enum):
            return ["enum", name, value.name]
        if isinstance(value, tuple):
            kind = ["named", name] if hasattr(value, "_fields") else ["tuple"]
            return [*kind, [self._value(each) for each in value]]
        if isinstance(value, list):
            return ["list", [self._value(each) for each in value]]
        if isinstance(value, frozenset):
            return ["frozenset", [self._value(each) for each in sorted(value, key=str)]]
        if isinstance(value, dict):
            kind = ["ordered"] if isinstance(value, OrderedDict) else ["dict"]
            return [*kind, [[self._value(key), self._value(each)] for key, each in value.items()]]
        if isinstance(value, MethodType) and value.__name__ in _METHODS:
            return ["method", self._value(value.__self__), value.__name__]
        if isinstance(value, partial) and not value.keywords:
            return ["partial", self._value(value.func), [self._value(each) for each in value.args]]
        if isinstance(value, RoutingTable):
            return ["routes", [self._value(route) for route in value.routes.values()]]
        if _CLASSES.get(name) is type(value):
            return ["object", name, {each: self._attribute(value, each) for each in _attributes(value)}]
        raise AssertionError(f"the core holds a {type(value)!r}, which no checkpoint knows")

    def _attribute(self, owner: object, name: str) -> object:
        value = getattr(owner, name)
        if isinstance(owner, tickets.Ticket) and name == "facts":
            return owner.facts.method
        if isinstance(value, balancer.RingHash):
            return True  # made anew from `_ring_of`: it is large
        return self._value(value)


def _attributes(value: object) -> Iterator[str]:
    left_out = _UNUSED_BY_DECISIONS.get(type(value), _NOTHING) | _OUTSIDE.get(type(value), _NOTHING)
    names = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    names += vars(value) if hasattr(value, "__dict__") else []
    return (name for name in names if name not in left_out)


class _Restorer:
    def __init__(
        self,
        state: object,
        outside: Mapping[str, object],
        compile_regex: CompileRegex,
        facts: Callable[[str], TicketFacts],
    ) -> None:
        if not isinstance(state, list) or not state:
            raise CheckpointError("a checkpoint's state is a list of nodes")
        self._nodes = state
        self._outside = outside
        self._compile_regex = compile_regex
        self._facts = facts
        self._made: dict[int, object] = {}
        self._making: set[int] = set()
        self._to_fill: list[int] = []
        self._ringed: list[pool.Pool] = []

    def restored(self) -> tuple[Gateway, Sequence[tickets.Ticket]]:
        first = self._node(0)
        while self._to_fill:
            self._fill(self._to_fill.pop())
        match first:
            case (Gateway() as core, list() as live) if all(isinstance(each, tickets.Ticket) for each in live):
                pass
            case _:
                raise CheckpointError("the first node of a checkpoint is the core with its tickets")
        for ringed in self._ringed:
            ringed._ring = balancer.RingHash(*ringed._ring_of)  # noqa: SLF001 - state is what this module is for
        return core, live

    def _value(self, value: object) -> object:
        if isinstance(value, dict):
            number = value.get("#")
            if not isinstance(number, int) or not 0 <= number < len(self._nodes):
                raise CheckpointError(f"{value!r} names no node")
            return self._node(number)
        if isinstance(value, list):
            raise CheckpointError(f"{str(value)[:60]} stands where a value belongs")
        return value

    def _node(self, number: int) -> object:
        """Immutable values are made whole; what may change is made empty, so that others can point at it."""
        if number in self._made:
            return self._made[number]
        if number in self._making:
            raise CheckpointError(f"node {number} contains itself")
        self._making.add(number)
        try:
            made = self._made[number] = self._make(number)
        except CheckpointError:
            raise
        except (TypeError, ValueError, KeyError, AttributeError, LookupError) as trouble:
            raise CheckpointError(f"node {number}: {trouble}") from trouble
        self._making.discard(number)
        return made

    def _make(self, number: int) -> object:
        kind, *rest = self._nodes[number]
        if kind in {"list", "dict", "ordered"}:
            self._to_fill.append(number)
            return [] if kind == "list" else OrderedDict() if kind == "ordered" else {}
        if kind == "enum":
            return self._enum(rest[0])[rest[1]]
        if kind == "tuple":
            return tuple(self._value(each) for each in rest[0])
        if kind == "named":
            return self._class(rest[0])(*(self._value(each) for each in rest[1]))
        if kind == "frozenset":
            return frozenset(self._value(each) for each in rest[0])
        if kind == "method":
            if rest[1] not in _METHODS:
                raise CheckpointError(f"node {number}: no step is called {rest[1]!r}")
            return getattr(self._value(rest[0]), rest[1])
        if kind == "partial":
            method = self._value(rest[0])
            if not isinstance(method, MethodType):
                raise CheckpointError(f"node {number}: a step is a method and its arguments")
            return partial(method, *(self._value(each) for each in rest[1]))
        if kind == "routes":
            return RoutingTable([self._route(each) for each in rest[0]], self._compile_regex)
        if kind == "object":
            return self._object(number, self._class(rest[0]), rest[1])
        raise CheckpointError(f"node {number} is of no known kind: {kind!r}")

    def _object(self, number: int, cls: type, attributes: Mapping[str, object]) -> object:
        if is_dataclass(cls) and cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            known = {each.name for each in fields(cls)}
            return cls(**{name: self._value(each) for name, each in attributes.items() if name in known})
        self._to_fill.append(number)
        return object.__new__(cls)

    def _route(self, value: object) -> model.Route:
        route = self._value(value)
        if not isinstance(route, model.Route):
            raise CheckpointError("a table of routes holds something else")
        return route

    def _class(self, name: str) -> type:
        found = _CLASSES.get(name)
        if found is None:
            raise CheckpointError(f"{name!r} is no class that a checkpoint may name")
        return found

    def _enum(self, name: str) -> type[Enum]:
        found = self._class(name)
        if not issubclass(found, Enum):
            raise CheckpointError(f"{name!r} is no enumeration")
        return found

    def _fill(self, number: int) -> None:
        made, rest = self._made[number], self._nodes[number][1:]
        try:
            if isinstance(made, list):
                made += [self._value(each) for each in rest[0]]
            elif isinstance(made, dict):
                made.update((self._value(key), self._value(each)) for key, each in rest[0])
            else:
                for name, each in rest[1].items():
                    self._set(number, made, name, each)
                for name in _OUTSIDE.get(type(made), _NOTHING):
                    setattr(made, name, self._outside[name])
        except (TypeError, ValueError, AttributeError, LookupError) as trouble:
            raise CheckpointError(f"node {number}: {trouble}") from trouble

    def _set(self, number: int, made: object, name: str, value: object) -> None:
        if isinstance(getattr(type(made), name, None), FunctionType | property):
            raise CheckpointError(f"node {number}: {name!r} is no state")
        if isinstance(made, tickets.Ticket) and name == "facts":
            setattr(made, name, self._facts(str(value)))
        elif isinstance(made, pool.Pool) and name == "_ring" and value is True:
            self._ringed.append(made)
        else:
            setattr(made, name, self._value(value))
