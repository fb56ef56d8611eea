"""The whole state of a core as plain values, and a core made from them again.

A core is a graph of small objects that point at each other, and its decisions depend on which are the very same
(balancers compare sequences by identity). So the graph goes over as it is: a list of nodes, each naming others by
number. What a core was given from outside (draws, the regular expressions' compiler, its listeners) stays outside: the
new core is given its own. Of a request, only its method goes over.

Nothing in a checkpoint is executed: classes, attributes and steps are looked up in fixed tables.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from operator import attrgetter
from types import BuiltinMethodType, MethodType, ModuleType
from typing import Any, TypeVar, cast

from gateway.core import (
    admission,
    balancer,
    breaker,
    model,
    pool,
    registry,
    retry,
    serving,
    split,
    tickets,
    timers,
    views,
)
from gateway.core import gateway as gateway_module
from gateway.core import routes as routes_module
from gateway.core import services as services_module
from gateway.core.events import Event, Recorder
from gateway.core.facts import TicketFacts
from gateway.core.gateway import Gateway
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.routing import CompileRegex, RoutingTable
from gateway.core.when import no_when
from gateway.journal.values import INSTANCE, POLICY, ROUTE, bare

State = Mapping[str, object]
"""`attributes`, by class, and `nodes`: JSON in, JSON out. The first node is the core with the tickets in it."""

T = TypeVar("T")
_Node = list[object]

_MODULES: Sequence[ModuleType] = (
    admission,
    balancer,
    breaker,
    gateway_module,
    pool,
    registry,
    retry,
    routes_module,
    services_module,
    serving,
    split,
    tickets,
    timers,
    views,
)
_CLASSES: Mapping[str, type] = {
    name: found
    for module in (*_MODULES, model)
    for name, found in inspect.getmembers(module, inspect.isclass)
    if found.__module__ == module.__name__
}
_STEPS = frozenset({"_expire", "_late_probe", "_mature", "_wake_service", "changed"})
"""What timers run, and what a change of services calls."""
_OUTSIDE: Mapping[type, frozenset[str]] = {
    Gateway: frozenset({"_draw", "_recorder"}),
    services_module.Services: frozenset({"_draw", "_on_circuit", "_recorder"}),
    routes_module.Routes: frozenset({"_compile_regex", "_compile_when", "_on_predicate_error"}),
}
"""What a core is given."""
_DERIVED: Mapping[type, Mapping[str, Callable[[Any], object]]] = {
    breaker.Circuit: {"ordinary": lambda circuit: breaker.Permit(circuit.epoch, False)},
    pool.Pool: {
        "_permitted_keys": lambda each: each._permitted.keys(),  # noqa: SLF001 - state is what this module is for
        "_eligible_keys": lambda each: each._eligible.keys(),  # noqa: SLF001 - as above
        "_instances": lambda _: (),
        "_seen_view": lambda _: -1,
        "_ring": lambda each: balancer.RingHash(*each._ring_of) if each._ring_of.members else None,  # noqa: SLF001
    },
}
"""What follows from the other attributes, and would make a checkpoint large."""
_LEAVES: Mapping[str, Callable[[object], object]] = {
    "Instance": INSTANCE.made,
    "Route": ROUTE.made,
    "ServicePolicy": POLICY.made,
}
"""Frozen values that go over whole, as they stand in events."""
_COMPILED = "__mypyc_attrs__"
_NOTHING: Mapping[str, Callable[[Any], object]] = {}
_PLAIN = frozenset({type(None), bool, int, float, str})


class CheckpointError(Exception):
    """A checkpoint that no core can be made from: what is wrong with it, and at which node."""


def take(core: Gateway) -> State:
    """The state of `core` between two of its steps. The core goes on untouched."""
    nodes = _Taker().nodes((core, list(core.traced_tickets.values())))
    return {"attributes": _ATTRIBUTES, "nodes": nodes}


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
        "_compile_when": no_when,
        "_on_predicate_error": None,
        "_on_circuit": None,
        "_recorder": recorder,
    }
    restorer = _Restorer(_nodes(state), outside, compile_regex, lambda method: recorder.watched(facts(method)))
    core, live = restorer.restored()
    for ticket in live:
        recorder.tickets[_is(int, ticket.id)] = ticket
    return core


def _attributes() -> Mapping[str, tuple[str, ...]]:
    """Of each class of mutable objects, the attributes that go over; without slots, those that a new core has.

    A compiled class (hatch_build.py) has neither slots nor a dictionary, but a list of all that it has.
    """
    core = Gateway(lambda _: bool, float)
    services = core._services  # noqa: SLF001 - as above
    unslotted = (core, services, services._registry, core._routes)  # noqa: SLF001
    known: dict[type, set[str]] = {type(each): {*vars(each)} for each in unslotted if hasattr(each, "__dict__")}
    found: dict[str, tuple[str, ...]] = {}
    for name, cls in _CLASSES.items():
        if issubclass(cls, tuple) or cls.__module__ == model.__name__:
            continue
        listed = {each for base in cls.__mro__ for each in getattr(base, _COMPILED, getattr(base, "__slots__", ()))}
        names = known.get(cls, listed) - {"__dict__", *_OUTSIDE.get(cls, ()), *_DERIVED.get(cls, ())}
        if names:
            found[name] = tuple(sorted(names))
    return found


_ATTRIBUTES = _attributes()


class _Taker:
    """Goes through the graph breadth first, however deep it is."""

    def __init__(self) -> None:
        self._found: list[object] = []
        """By number. What is in it stays alive until the end, so that no address is met twice."""
        self._numbers: dict[int, int] = {}

    def nodes(self, root: object) -> Sequence[_Node]:
        self._number(root)
        return [self._node(value) for value in self._found]  # the list grows meanwhile

    def _number(self, value: object) -> object:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._found)
            self._found.append(value)
        return [number]

    def _values(self, values: Iterable[object]) -> Iterable[object]:
        return [value if type(value) in _PLAIN else self._number(value) for value in values]

    def _node(self, value: object) -> _Node:
        cls = type(value)
        name = cls.__name__
        getter = _GETTERS.get(cls)
        if getter is not None:
            return [name, *self._values(getter(value))]
        if isinstance(value, tuple):
            return ["named" if hasattr(value, "_fields") else "tuple", name, *self._values(value)]
        if isinstance(value, list):
            return ["list", *self._values(value)]
        if isinstance(value, dict):
            kind = "ordered" if isinstance(value, OrderedDict) else "dict"
            return [kind, *map(self._values, value.items())]
        if isinstance(value, Instance | Route | ServicePolicy):
            return [name, bare(value)]
        if isinstance(value, frozenset):
            return ["frozenset", *self._values(sorted(value, key=str))]
        if isinstance(value, Enum):
            return ["enum", name, value.name]
        if isinstance(value, RoutingTable):
            return ["routes", *self._values(value.routes.values())]
        return self._step(value)

    def _step(self, value: object) -> _Node:
        function, arguments = (value.func, value.args) if isinstance(value, partial) else (value, ())
        if isinstance(function, MethodType | BuiltinMethodType) and function.__name__ in _STEPS:
            return ["step", self._number(function.__self__), function.__name__, *self._values(arguments)]
        raise AssertionError(f"the core holds a {type(value)!r}, which no checkpoint knows")


def _getter(name: str) -> Callable[[object], Iterable[object]]:
    names = _ATTRIBUTES[name]
    if len(names) == 1:
        return lambda value: (getattr(value, names[0]),)
    return cast(Callable[[object], Iterable[object]], attrgetter(*names))


def _ticket(value: object) -> Iterable[object]:
    assert isinstance(value, tickets.Ticket)
    return (value.facts.method if name == "facts" else getattr(value, name) for name in _ATTRIBUTES["Ticket"])


_GETTERS: Mapping[type, Callable[[object], Iterable[object]]] = {
    **{_CLASSES[name]: _getter(name) for name in _ATTRIBUTES},
    tickets.Ticket: _ticket,
}


def _nodes(state: object) -> Sequence[object]:
    if not isinstance(state, dict) or not isinstance(state.get("nodes"), list) or not state["nodes"]:
        raise CheckpointError("it has no nodes")
    attributes = {name: list(names) for name, names in _ATTRIBUTES.items()}
    if state.get("attributes") != attributes:
        raise CheckpointError("its classes are not those of this gateway: another version wrote it")
    return cast(Sequence[object], state["nodes"])


class _Restorer:
    def __init__(
        self,
        nodes: Sequence[object],
        outside: Mapping[str, object],
        compile_regex: CompileRegex,
        facts: Callable[[str], TicketFacts],
    ) -> None:
        self._nodes = nodes
        self._outside = outside
        self._compile_regex = compile_regex
        self._facts = facts
        self._made: dict[int, object] = {}
        self._making: set[int] = set()
        self._to_fill: list[int] = []

    def restored(self) -> tuple[Gateway, Sequence[tickets.Ticket]]:
        first = self._node(0)
        for number in self._to_fill:  # it grows meanwhile
            self._at(number, self._fill)
        match first:
            case (Gateway() as core, list() as live) if all(isinstance(each, tickets.Ticket) for each in live):
                pass
            case _:
                raise CheckpointError("node 0 is not a core with its tickets")
        for number in self._to_fill:
            self._at(number, self._derive)
        return core, live

    def _at(self, number: int, work: Callable[[int], T]) -> T:
        try:
            return work(number)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as trouble:
            raise CheckpointError(f"node {number}: {trouble}") from trouble

    def _value(self, value: object) -> object:
        if not isinstance(value, list):
            return value
        (number,) = value
        if type(number) is not int or not 0 <= number < len(self._nodes):
            raise CheckpointError(f"there is no node {number!r}")
        return self._node(number)

    def _values(self, values: Iterable[object]) -> Iterator[object]:
        return map(self._value, values)

    def _node(self, number: int) -> object:
        """Immutable values are made whole; what may change is made empty, so that others can point at it."""
        if number in self._made:
            return self._made[number]
        if number in self._making:
            raise CheckpointError(f"node {number} contains itself")
        self._making.add(number)
        made = self._made[number] = self._at(number, self._make)
        self._making.discard(number)
        return made

    def _make(self, number: int) -> object:
        kind, *rest = cast(_Node, self._nodes[number])
        if kind in {"list", "dict", "ordered"}:
            self._to_fill.append(number)
            return [] if kind == "list" else OrderedDict() if kind == "ordered" else {}
        if kind == "tuple":
            return tuple(self._values(rest[1:]))
        if kind == "named":
            return _class(rest[0], tuple)(*self._values(rest[1:]))
        if kind == "frozenset":
            return frozenset(self._values(rest))
        if kind == "enum":
            return _class(rest[0], Enum)[str(rest[1])]  # type: ignore[index] # an enumeration's class
        if kind == "routes":
            return RoutingTable([_is(Route, each) for each in self._values(rest)], self._compile_regex)
        if kind == "step":
            return self._step(*rest)
        if kind in _LEAVES:
            return _LEAVES[str(kind)](rest[0])
        if kind not in _ATTRIBUTES:
            raise CheckpointError(f"node {number} is of no known kind: {str(kind)[:60]!r}")
        self._to_fill.append(number)
        cls: type[object] = _CLASSES[str(kind)]
        return cls.__new__(cls)

    def _step(self, owner: object, name: object, *arguments: object) -> object:
        if name not in _STEPS:
            raise CheckpointError(f"no step is called {str(name)[:60]!r}")
        step = getattr(self._value(owner), str(name))
        return partial(step, *self._values(arguments)) if arguments else step

    def _fill(self, number: int) -> None:
        made, rest = self._made[number], cast(_Node, self._nodes[number])[1:]
        if isinstance(made, list):
            made += self._values(rest)
        elif isinstance(made, dict):
            made.update((self._value(key), self._value(each)) for key, each in cast(Sequence[_Node], rest))
        else:
            for name, value in zip(_ATTRIBUTES[type(made).__name__], rest, strict=True):
                is_facts = name == "facts" and isinstance(made, tickets.Ticket)
                setattr(made, name, self._facts(_is(str, value)) if is_facts else self._value(value))
            for name in _OUTSIDE.get(type(made), ()):
                setattr(made, name, self._outside[name])

    def _derive(self, number: int) -> None:
        made = self._made[number]
        for name, of in _DERIVED.get(type(made), _NOTHING).items():
            setattr(made, name, of(made))


def _class(name: object, base: type) -> type:
    found = _CLASSES.get(str(name))
    if found is None or not issubclass(found, base):
        raise CheckpointError(f"{str(name)[:60]!r} is no class that may stand here")
    return found


def _is(cls: type[T], value: object) -> T:
    if not isinstance(value, cls):
        raise CheckpointError(f"{str(value)[:60]!r} stands where a {cls.__name__} belongs")
    return value
