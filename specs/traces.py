"""Turns journals into TLA+, and has TLC take them as behaviours of `GatewayImpl` (`Trace.tla`).

What happens here only renames and reshapes: instances and values become numbers, tickets get recycled places. Who was
picked, what was judged, who waits or is rejected and why goes over as it is. Times, draws and the statuses of
rejections stay behind: the specification knows nothing of them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from specs import tlc

Line = Mapping[str, Any]
"""One event as a journal holds it: JSON."""

_PROPERTIES = (
    "TypeOK",
    "ValidServiceStates",
    "RoutingCorrectness",
    "CircuitBreakerSafety",
    "ValidCircuitTransitions",
    "HalfOpenBounded",
    "SharedCircuits",
    "RegistryConsistency",
    "NoRequestLoss",
    "BoundedQueue",
    "InFlightBounded",
    "AtMostOnePerInstance",
    "RetryElsewhere",
)
_INVARIANTS = {"TypeOK", "ValidServiceStates"}
_HEALTHS = ("passing", "warning", "critical", "maintenance")
_MILLION = 1_000_000
_SHORT = 1_000
"""Events that take less time than Java needs to compile well."""


@dataclass(frozen=True, slots=True)
class Validation:
    """`taken` events were taken of those given; the next one, if there is one, is no behaviour of the specification."""

    taken: int
    given: int
    places: int
    violated: str | None
    """What TLC said of a property that does not hold."""

    @property
    def accepted(self) -> bool:
        return self.taken == self.given and self.violated is None


def validate(lines: Sequence[Line], seconds: float = 120.0) -> Validation:
    """Raises KeyError where a line lacks what its action needs, RuntimeError where TLC cannot make sense of it."""
    journal = _Journal(lines)
    with tempfile.TemporaryDirectory(prefix="trace-") as folder:
        tlc.copy_modules(Path(folder))
        (Path(folder) / "Journal.tla").write_text(journal.module())
        config = Path(folder) / "Journal.cfg"
        config.write_text(journal.configuration())
        short = len(lines) < _SHORT
        module = Path(folder) / "Journal.tla"
        found = tlc.search(module, config, ("-deadlock",), seconds, coverage=False, short=short)
    if found.code == 0 and found.size is not None:
        return Validation(found.size.depth - 1, len(lines), journal.places, None)
    if found.code in {12, 13}:
        taken = found.output.count("\nState ") - 1
        return Validation(taken, len(lines), journal.places, found.errors.splitlines()[0])
    raise RuntimeError(f"TLC ended with {found.code}:\n{found.errors or found.output[-2000:]}")


class _Named:
    """Values by number, from 1 on, in the order in which they were named."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def number(self, value: str) -> int:
        return self.values.setdefault(value, len(self.values) + 1)

    def sequence(self) -> str:
        return "<<" + ",\n  ".join(self.values) + ">>"


class _Places:
    """Recycled places for tickets."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}
        self._free: list[int] = []
        self._live: set[int] = set()
        self.count = 1

    def open(self, ticket: int) -> int:
        if self._free:
            place = self._free.pop()
        else:
            place = len(self._live) + 1
            self.count = max(self.count, place)
        self._of[ticket] = place
        self._live.add(ticket)
        return place

    def of(self, ticket: int) -> int:
        """Where it is or was; one that was never opened is looked for where it is not."""
        return self._of.get(ticket, 1)

    def end(self, ticket: int) -> None:
        if ticket in self._live:
            self._live.remove(ticket)
            self._free.append(self._of[ticket])


class _Journal:
    def __init__(self, lines: Sequence[Line]) -> None:
        self._instances: dict[tuple[str, str, str, int], int] = {}
        self._services: dict[int, str] = {}
        self._at: dict[tuple[str, str], int] = {}
        """The place at which each service's instance was registered last."""
        self._selections = _selections(lines)
        self._route_names = sorted(
            {route["name"] for line in lines for route in line["inputs"].get("routes", ())}
            | {line["inputs"]["route"] for line in lines if line["action"] == "RouteRequest"}
        )
        self._service_names = sorted(_services(lines))
        self._versions, self._backends, self._entries = _Named(), _Named(), _Named()
        self._tables, self._policies = _Named(), _Named()
        self._known: dict[tuple[str, int], int] = {}
        self._documents: dict[tuple[str, int], Line] = {}
        self._fallbacks: dict[int, AbstractSet[_Selection]] = {}
        """Of each ticket, by what the fallbacks of its route select."""
        self._tickets = _Places()
        self._failures: dict[int, str] = {}
        """By ticket, the kind of failure that was told last, for a rejection that comes of it."""
        self._events = [f"[{_fields(self._event(line))}]" for line in lines]

    @property
    def places(self) -> int:
        return self._tickets.count

    def module(self) -> str:
        service_of = " @@ ".join(f"{number} :> {_text(name)}" for number, name in self._services.items()) or "<<>>"
        fresh = " @@ ".join(f"{_text(name)} :> NoRoute" for name in self._route_names) or '("" :> NoRoute)'
        default = _policy({})
        policies = " @@ ".join(f"{_text(name)} :> {default}" for name in self._service_names) or f'("" :> {default})'
        return "\n".join(
            [
                "---- MODULE Journal ----",
                "EXTENDS Trace",
                f"TheServices == {service_of}",
                f"TheRoutes == {{{', '.join(map(_text, self._route_names)) or _text('')}}}",
                f"NoTable == {{{fresh}}}",
                f"Defaults == {{{policies}}}",
                f"TheVersions == {self._versions.sequence()}",
                "Recorded == {TheVersions[number] : number \\in DOMAIN TheVersions}",
                f"TheBackends == {self._backends.sequence()}",
                f"TheEntries == {self._entries.sequence()}",
                f"TheTables == {self._tables.sequence()}",
                f"ThePolicies == {self._policies.sequence()}",
                "Events == <<\n" + ",\n".join(self._events) + ">>",
                "JournalSpec == TraceInit /\\ [][Walk(Events)]_traced",
                "====",
                "",
            ]
        )

    def configuration(self) -> str:
        instances = ", ".join(map(str, self._services))
        tickets = ", ".join(str(place) for place in range(1, self.places + 1))
        properties = (f"{'INVARIANT' if name in _INVARIANTS else 'PROPERTY'} {name}" for name in _PROPERTIES)
        return "\n".join(
            [
                "SPECIFICATION JournalSpec",
                "CONSTANTS",
                f"Instances = {{{instances}}}",
                f"Tickets = {{{tickets}}}",
                "Nowhere = Nowhere",
                "ServiceOf <- TheServices",
                "Routes <- TheRoutes",
                "Tables <- NoTable",
                "PolicySets <- Defaults",
                "Entries = {}",
                'Realities = {"any"}',
                f"FailuresKept = {_MILLION}",
                "FairServices = {}",
                "Versions <- TheVersions",
                "Written <- Recorded",
                "Selected <- TheBackends",
                "Mirrored <- TheEntries",
                "TablesNamed <- TheTables",
                "PoliciesNamed <- ThePolicies",
                *properties,
                "",
            ]
        )

    # --- one event ---

    def _event(self, line: Line) -> dict[str, str]:
        action, inputs, decision = line["action"], line["inputs"], line["decision"]
        event = {"action": _text(action)}
        if action == "RouteRequest":
            return event | self._route_request(inputs, decision)
        if action in {"ApplyView", "ForgetService"}:
            return event | self._view(inputs)
        if action in {"RegisterService", "UpdateHealth", "DeregisterService", "TriggerCircuitBreaker"}:
            return event | self._of_instance(action, decision)
        if action == "ApplyRoutes":
            return event | {"table": str(self._tables.number(self._table(inputs["routes"])))}
        if action == "ApplyPolicies":
            return event | {"policies": str(self._policies.number(self._policy_set(inputs["policies"])))}
        if action in {"Tick", "Prefer"}:
            return event
        if action == "ImposeCircuit":
            return event | self._imposed(inputs, decision)
        return event | self._of_ticket(action, inputs, decision)

    def _route_request(self, inputs: Line, decision: Line) -> dict[str, str]:
        superseded, steering = inputs.get("superseded"), inputs.get("steering")
        if superseded is not None:
            version = self._version(superseded)
        else:
            version = self._known.get((inputs["route"], inputs["version"]), 0)
        ticket, route = decision["ticket"], self._documents.get((inputs["route"], inputs["version"]))
        if route is not None:
            serving = None if steering is None else steering["serving"]
            version = self._versions.number(self._route(route, serving))
            self._fallbacks[ticket] = _fallbacks(route, serving)
        event = {
            "ticket": str(ticket),
            "place": str(self._tickets.open(ticket)),
            "route": str(version),
            "superseded": _bool(superseded is not None),
            "steered": _bool(steering is not None),
            "backend": str(self._backend(ticket, decision["backend"])),
            **self._placing(decision),
        }
        if decision["do"] == "reject":
            self._tickets.end(ticket)
        return event

    def _of_ticket(self, action: str, inputs: Line, decision: Line) -> dict[str, str]:
        ticket = inputs["ticket"] if "ticket" in inputs else decision["ticket"]
        event = {"ticket": str(ticket), "place": str(self._tickets.of(ticket))}
        if action == "ProcessResponse":
            event |= {
                "attempt": str(inputs["attempt"]),
                "result": _text(inputs["result"]),
                "status": str(inputs.get("status", 0)),
                "kind": _text(inputs.get("kind", "")),
                "judged": _text(decision["judged"] or "none"),
                "circuit": _text(decision["circuit"] or "none"),
                "do": _text(decision["do"]),
                "reason": _text(decision.get("reason", "")),
            }
            self._failures[ticket] = event["kind"]
        if action == "LateProbe":
            event["circuit"] = _text(decision["circuit"] or "none")
        if action in {"Retry", "Dequeue"}:
            event |= self._placing(decision)
        if action in {"Retry", "Requeue"}:
            event["backend"] = str(self._backend(ticket, decision["backend"]))
        if action == "Reject":
            event |= {"reason": _text(decision["reason"]), "kind": self._failures.get(ticket, _text(""))}
        ended = action in {"Reject", "Refuse", "Abandon"} or decision.get("do") in {"done", "break", "reject"}
        if ended:
            self._tickets.end(ticket)
        return event

    def _placing(self, decision: Line) -> dict[str, str]:
        event = {"do": _text(decision["do"])}
        if decision["do"] == "send":
            event |= {
                "attempt": str(decision["attempt"]),
                "instance": str(self._at.get((decision["service"], decision["instance"]), 0)),
                "probe": _bool(decision["probe"]),
            }
        if decision["do"] == "reject":
            event["reason"] = _text(decision["reason"])
        return event

    def _of_instance(self, action: str, decision: Line) -> dict[str, str]:
        service, name = decision["service"], decision["instance"]
        if action == "RegisterService":
            self._at[service, name] = self._instance(service, name, decision["address"], decision["port"])
        event = {"instance": str(self._at.get((service, name), 0))}
        if action in {"RegisterService", "UpdateHealth"}:
            passing, warning = decision["weights"]
            event["entry"] = str(
                self._entry(service, name, decision["health"], passing, warning, decision["tags"], decision["meta"])
            )
        return event

    def _imposed(self, inputs: Line, decision: Line) -> dict[str, str]:
        return {
            "instance": str(self._at.get((inputs["service"], "/".join(inputs["key"])), 0)),
            "state": _text(inputs["state"]),
            "passed": str(inputs["probes_passed"]),
            "taken": _bool(decision["taken"]),
        }

    def _view(self, inputs: Line) -> dict[str, str]:
        service = inputs["service"]
        view = [
            (
                self._instance(service, "/".join(each["key"]), each["address"], each["port"]),
                self._entry(
                    service,
                    "/".join(each["key"]),
                    _HEALTHS[each["health"]],
                    each["weight_passing"],
                    each["weight_warning"],
                    each["tags"],
                    each["meta"],
                ),
            )
            for each in inputs.get("instances", ())
        ]
        pairs = ", ".join(f"<<{instance}, {entry}>>" for instance, entry in view)
        return {"service": _text(service), "view": f"{{{pairs}}}"}

    # --- values ---

    def _instance(self, service: str, name: str, address: str, port: int) -> int:
        number = self._instances.setdefault((service, name, address, port), len(self._instances) + 1)
        self._services[number] = service
        return number

    def _entry(
        self, service: str, name: str, health: str, passing: int, warning: int, tags: Iterable[str], meta: Line
    ) -> int:
        chosen = ", ".join(
            _text(selected)
            for selection, selected in self._selections.items()
            if selection.service == service and selection.selects(name, set(tags), meta)
        )
        return self._entries.number(
            f"[health |-> {_text(health)}, weighs_passing |-> {_bool(passing > 0)}, "
            f"weighs_warning |-> {_bool(warning > 0)}, selections |-> {{{chosen}}}]"
        )

    def _backend(self, ticket: int, backend: Line) -> int:
        """Of a pool, which a fallback may share with other backends: it is one where the ticket's route has it so."""
        selection = _Selection.of(backend, backend["meta"].items(), backend)
        fallback = selection in self._fallbacks.get(ticket, ())
        return self._backends.number(
            _backend(backend["service"], self._selections[selection], backend["panic"], fallback)
        )

    def _version(self, route: Line) -> int:
        number = self._versions.number(self._route(route, None))
        self._known[route["name"], route["version"]] = number
        self._documents[route["name"], route["version"]] = route
        return number

    def _route(self, route: Line, serving: Sequence[Line] | None) -> str:
        """With `serving`: the version as one request sees it, whose backends hold only what it may be sent to."""
        panic = route["when_empty"]["panic"]
        backends = ", ".join(
            _backend(
                each["service"],
                self._selections[selection],
                None if panic is None else _HEALTHS[panic],
                each.get("fallback", False),
            )
            for each, selection in _selected(route, serving)
        )
        return (
            f"[name |-> {_text(route['name'])}, version |-> {route['version']}, backends |-> {{{backends}}}, "
            f"attempts |-> {route['retry']['attempts']}, in_flight |-> {route['limits']['in_flight']}, "
            f"queue |-> {route['limits']['queue']}]"
        )

    def _table(self, routes: Iterable[Line]) -> str:
        in_force = {route["name"]: self._version(route) for route in routes}
        known = {number: text for text, number in self._versions.values.items()}
        rows = (
            f"{_text(name)} :> {known[in_force[name]] if name in in_force else 'NoRoute'}" for name in self._route_names
        )
        return "(" + " @@ ".join(rows) + ")" if self._route_names else '("" :> NoRoute)'

    def _policy_set(self, policies: Iterable[Line]) -> str:
        given = {policy["service"]: policy for policy in policies}
        rows = (f"{_text(name)} :> {_policy(given.get(name, {}))}" for name in self._service_names)
        return "(" + " @@ ".join(rows) + ")" if self._service_names else f'("" :> {_policy({})})'


class _Selection(NamedTuple):
    """What a backend selects by, for one request."""

    service: str
    tags: frozenset[str]
    meta: frozenset[tuple[str, str]]
    only: frozenset[str] | None
    preferred: frozenset[str]

    @classmethod
    def of(cls, backend: Line, meta: Iterable[Sequence[str]], serving: Line) -> _Selection:
        only, preferred = serving.get("only"), serving.get("preferred", ())
        return cls(
            backend["service"],
            frozenset(backend["tags"]),
            frozenset((key, value) for key, value in meta),
            None if only is None else frozenset(map(_shown, only)),
            frozenset(map(_shown, preferred)),
        )

    def selects(self, name: str, tags: set[str], meta: Line) -> bool:
        return (
            self.tags <= tags
            and all(meta.get(key) == value for key, value in self.meta)
            and (self.only is None or name in self.only)
        )


def _shown(instance: str | Sequence[str]) -> str:
    """A decision has an instance's name, an input its parts."""
    return instance if isinstance(instance, str) else "/".join(instance)


def _selected(route: Line, serving: Sequence[Line] | None) -> Iterator[tuple[Line, _Selection]]:
    """The backends of a route that have a weight, with all that each may select by."""
    weighty = [each for each in route["backends"] if each["weight"]]
    for each, said in zip(weighty, serving or [{}] * len(weighty), strict=True):
        yield each, _Selection.of(each, each["meta"], said)
        if said.get("only") is not None and each.get("any_otherwise"):
            yield each, _Selection.of(each, each["meta"], {"preferred": said["preferred"]})


def _fallbacks(route: Line, serving: Sequence[Line] | None) -> AbstractSet[_Selection]:
    of_kind: dict[bool, set[_Selection]] = {True: set(), False: set()}
    for each, selection in _selected(route, serving):
        of_kind[each.get("fallback", False)].add(selection)
    return of_kind[True] - of_kind[False]


def _selections(lines: Iterable[Line]) -> Mapping[_Selection, str]:
    """All that backends select by, with a name for each."""
    found: dict[_Selection, str] = {}

    def add(selection: _Selection) -> None:
        found.setdefault(selection, f"s{len(found) + 1}")

    known: dict[tuple[str, int], Line] = {}
    for line in lines:
        inputs, backend = line["inputs"], line["decision"].get("backend")
        superseded, steering = inputs.get("superseded"), inputs.get("steering")
        for route in (*inputs.get("routes", ()), *([] if superseded is None else [superseded])):
            known[route["name"], route["version"]] = route
            for _, selection in _selected(route, None):
                add(selection)
        if steering is not None and (inputs["route"], inputs["version"]) in known:
            for _, selection in _selected(known[inputs["route"], inputs["version"]], steering["serving"]):
                add(selection)
        if backend is not None:
            add(_Selection.of(backend, backend["meta"].items(), backend))
    return found


def _services(lines: Iterable[Line]) -> set[str]:
    found: set[str] = set()
    for line in lines:
        inputs, decision = line["inputs"], line["decision"]
        if "service" in inputs:
            found.add(inputs["service"])
        found.update(policy["service"] for policy in inputs.get("policies", ()))
        if "backend" in decision:
            found.add(decision["backend"]["service"])
    return found


_DEFAULT_CIRCUIT: Line = {
    "consecutive_failures": 5,
    "failure_ratio": 0.5,
    "half_open_probes": 1,
    "max_open": 1.0,
    "mode": "enforce",
}


def _policy(policy: Line) -> str:
    """The defaults where there is none."""
    circuit: Line = policy.get("circuit", _DEFAULT_CIRCUIT)
    return (
        f"[consecutive_failures |-> {circuit['consecutive_failures']}, "
        f"failure_ratio |-> {_bool(circuit['failure_ratio'] > 0)}, "
        f"half_open_probes |-> {circuit['half_open_probes']}, "
        f"max_open |-> {math.ceil(circuit['max_open'] * _MILLION - 1e-3)}, mode |-> {_text(circuit['mode'])}, "
        f"in_flight_per_instance |-> {policy.get('in_flight_per_instance', 0)}]"
    )


def _backend(service: str, selection: str, panic: str | None, fallback: bool) -> str:
    return (
        f"[service |-> {_text(service)}, selection |-> {_text(selection)}, "
        f"panic |-> {_text('none' if panic is None else panic)}, fallback |-> {_bool(fallback)}]"
    )


def _fields(event: Mapping[str, str]) -> str:
    return ", ".join(f"{name} |-> {value}" for name, value in event.items())


def _text(value: str) -> str:
    """Names become strings of TLA+, which know no escapes but for these."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bool(value: bool) -> str:
    return "TRUE" if value else "FALSE"
