"""Runs a journal through a core again, and holds every decision against what the journal says.

The calls are made as the journal has them, at its times, with its draws and hash points; what the core then tells has
to be the same, event by event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from gateway.core.events import CALLS, Action, Event
from gateway.core.gateway import Gateway
from gateway.core.model import FailureKind, HashOn, Instance, Reason, Route, ServicePolicy
from gateway.core.routing import CompileRegex
from gateway.core.tickets import Attempt, End, Failure, Head, Result, Send, Ticket, Wait
from gateway.journal import checkpoint
from gateway.journal.lines import CHECKPOINT, Line, claims

_routes = TypeAdapter(tuple[Route, ...])
_policies = TypeAdapter(tuple[ServicePolicy, ...])
_instances = TypeAdapter(tuple[Instance, ...])
_route = TypeAdapter(Route)


class ReplayError(Exception):
    """What keeps a journal from being replayed, and at which event."""


class Difference(NamedTuple):
    """`told` is what the journal says, `again` what the core decided now; None where one has no event there."""

    told: Mapping[str, object] | None
    again: Mapping[str, object] | None


class Step(NamedTuple):
    """One event of the journal, run again."""

    line: Line
    difference: Difference | None


class _RecordedFacts:
    """A request of which the method is known, and the hash points that were asked of it."""

    __slots__ = ("_points", "method")

    def __init__(self, method: str, points: deque[int | None]) -> None:
        self.method = method
        self._points = points

    def hash_point(self, on: HashOn) -> int | None:  # noqa: ARG002 - which it was is in the journal's order
        return self._points.popleft() if self._points else None


class Replay:
    """A core that goes through a journal's lines, given in order."""

    def __init__(self, compile_regex: CompileRegex) -> None:
        self._compile_regex = compile_regex
        self._draws: deque[float] = deque()
        self._points: deque[int | None] = deque()
        self._told: list[Event] = []
        self.core = Gateway(compile_regex, self._draw, trace=self._told.append)
        self._started = False
        self._tickets: dict[int, Ticket] = {}
        self._routes: dict[tuple[str, int], Route] = {}
        self._table: dict[str, Route] = {}

    def steps(self, lines: Iterable[Line]) -> Iterator[Step]:
        """Each event in turn, up to the first that differs. Raises ReplayError."""
        for call in _calls(lines):
            if call[0].action == CHECKPOINT:
                self._restore(call[0])
                continue
            if not self._started and call[0].seq != 1:
                raise ReplayError(f"the journal begins with event {call[0].seq}, and no checkpoint before it")
            self._started = True
            for step in self._call(call):
                yield step
                if step.difference is not None:
                    return

    # --- one call and what follows from it ---

    def _call(self, lines: Sequence[Line]) -> Iterator[Step]:
        self._told.clear()
        self._draws.extend(draw for line in lines for draw in line.draws)
        self._points.extend(line.inputs.get("hash") for line in lines if "hash" in line.inputs)
        first = lines[0]
        try:
            self._make(first, first.now)
        except (KeyError, TypeError, ValueError, ValidationError, AssertionError, AttributeError) as trouble:
            raise ReplayError(f"event {first.seq} ({first.action}) cannot be run again: {trouble!r}") from trouble
        self._forget()
        again = [claims(event) for event in self._told]
        for index, line in enumerate(lines):
            told = line.claims
            made = again[index] if index < len(again) else None
            yield Step(line, None if made == told else Difference(told, made))
        if len(again) > len(lines):
            yield Step(lines[-1], Difference(None, again[len(lines)]))
        self._draws.clear()
        self._points.clear()

    def _make(self, line: Line, now: float) -> None:
        core, inputs = self.core, line.inputs
        action = Action(line.action)
        if action is Action.ROUTE_REQUEST:
            self._note(core.route_request(self._version(inputs), self._facts(inputs["method"]), now))
        elif action is Action.PROCESS_RESPONSE:
            core.process_response(self._attempt(inputs), _result(inputs), now)
        elif action is Action.ABANDON:
            core.abandon(self._ticket(inputs), now)
        elif action is Action.REFUSE:
            core.reject(self._ticket(inputs), Reason(inputs["reason"]), now)
        elif action is Action.TICK:
            core.tick(now)
        elif action is Action.APPLY_VIEW:
            core.apply_view(inputs["service"], _instances.validate_python(inputs["instances"]), now)
        elif action is Action.APPLY_ROUTES:
            core.apply_routes(self._versions(_routes.validate_python(inputs["routes"])), now)
        elif action is Action.APPLY_POLICIES:
            policies = _policies.validate_python(inputs["policies"])
            core.apply_policies({policy.service: policy for policy in policies}, now)
        elif action is Action.FORGET_SERVICE:
            core.forget_service(inputs["service"], now)
        else:
            assert action is Action.PREFER, f"{action.value} is no call"
            core.prefer(inputs["node"], now)
        core.take_woken()

    def _note(self, decision: object) -> None:
        if isinstance(decision, Send | Wait):
            ticket = decision.attempt.ticket if isinstance(decision, Send) else decision.ticket
            self._tickets[ticket.id] = ticket

    def _forget(self) -> None:
        """Tickets that have ended are not named again."""
        for event in self._told:
            number = event.inputs.get("ticket", event.decision.get("ticket"))
            if isinstance(number, int) and number in self._tickets and self._tickets[number].outcome is not None:
                del self._tickets[number]

    def _ticket(self, inputs: Mapping[str, Any]) -> Ticket:
        number = inputs["ticket"]
        if number not in self._tickets:
            raise ValueError(f"ticket {number} is not in the gateway")
        return self._tickets[number]

    def _attempt(self, inputs: Mapping[str, Any]) -> Attempt:
        attempt = self._ticket(inputs).attempt
        if attempt is None or attempt.number != inputs["attempt"]:
            raise ValueError(f"ticket {inputs['ticket']} has no attempt {inputs['attempt']} out")
        return attempt

    def _versions(self, routes: Sequence[Route]) -> Sequence[Route]:
        """The same objects for what is the same, as discovery keeps them."""
        kept = [self._routes.get((route.name, route.version)) for route in routes]
        now = [old if old == new and old is not None else new for old, new in zip(kept, routes, strict=True)]
        self._routes.update({(route.name, route.version): route for route in now})
        self._table = {route.name: route for route in now}
        return now

    def _version(self, inputs: Mapping[str, Any]) -> Route:
        if "superseded" in inputs:
            return _route.validate_python(inputs["superseded"])
        route = self._table.get(inputs["route"])
        if route is None or route.version != inputs["version"]:
            raise ValueError(f"version {inputs['version']} of route {inputs['route']!r} is not in force")
        return route

    def _facts(self, method: str) -> _RecordedFacts:
        return _RecordedFacts(method, self._points)

    def _draw(self) -> float:
        if not self._draws:
            raise ValueError("the core draws a number where the journal has none")
        return self._draws.popleft()

    def _restore(self, line: Line) -> None:
        if self._started:
            return
        try:
            self.core = checkpoint.restore(
                line.state,
                compile_regex=self._compile_regex,
                draw=self._draw,
                facts=self._facts,
                trace=self._told.append,
            )
        except checkpoint.CheckpointError as damage:
            raise ReplayError(f"the checkpoint before event {line.seq + 1} is damaged: {damage}") from damage
        self._started = True
        self._tickets = dict(self.core.traced_tickets)
        self._table = dict(self.core.table.routes)
        self._routes = {(route.name, route.version): route for route in self._table.values()}


def _result(inputs: Mapping[str, Any]) -> Result:
    if inputs["result"] == "head":
        return Head(inputs["status"], inputs["replayable"])
    if inputs["result"] == "failure":
        return Failure(FailureKind(inputs["kind"]), inputs["replayable"])
    return End()


def _calls(lines: Iterable[Line]) -> Iterator[Sequence[Line]]:
    """Each call with what follows from it; a checkpoint alone. Raises ReplayError where numbers are missing."""
    group: list[Line] = []
    last: int | None = None
    for line in lines:
        if line.action == CHECKPOINT:
            if last is not None and line.seq != last:
                raise ReplayError(f"events {last + 1} to {line.seq} are missing")
        elif last is not None and line.seq != last + 1:
            raise ReplayError(f"after event {last} comes event {line.seq}: what is between them is missing")
        last = line.seq
        if group and (line.action == CHECKPOINT or line.action in CALLS):
            yield group
            group = []
        if not group and line.action not in CALLS and line.action != CHECKPOINT:
            raise ReplayError(f"event {line.seq} ({line.action}) follows from no call")
        group.append(line)
        if line.action == CHECKPOINT:
            yield group
            group = []
    if group:
        yield group
