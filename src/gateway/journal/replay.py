"""Runs a journal through a core again, and holds every decision against what the journal says.

The calls are made as the journal has them, at its times, with its draws and hash points; what the core then tells has
to be the same, event by event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.core.breaker import CircuitState, Imposition
from gateway.core.events import CALLS, Action, Event
from gateway.core.gateway import Gateway
from gateway.core.model import FailureKind, HashOn, InstanceKey, Reason, Route
from gateway.core.routing import CompileRegex
from gateway.core.serving import Steering
from gateway.core.tickets import Attempt, End, Failure, Head, Result, Ticket
from gateway.journal import checkpoint
from gateway.journal.lines import CHECKPOINT, Line, LineError, claims
from gateway.journal.values import INSTANCE, POLICY, ROUTE, STEERING

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LineError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What may come of a core that was made from a damaged checkpoint, or is given a damaged line."""


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
        self.wall_offset: float | None = None
        """From the journal's clock to seconds since the epoch, as the last checkpoint told."""

    def steps(self, lines: Iterable[Line]) -> Iterator[Step]:
        """Each event in turn, up to the first that differs. Raises ReplayError."""
        for call in _calls(lines):
            first = call.lines[0]
            if first.action == CHECKPOINT:
                self._restore(first)
                continue
            if not self._started and first.seq != 1:
                raise ReplayError(
                    f"the journal begins with event {first.seq} and no checkpoint before it: it is not the whole of a "
                    "segment"
                )
            self._started = True
            for step in self._call(call):
                yield step
                if step.difference is not None:
                    return

    # --- one call and what follows from it ---

    def _call(self, call: _Call) -> Iterator[Step]:
        lines = call.lines
        self._told.clear()
        self._draws.extend(draw for line in lines for draw in line.draws)
        self._points.extend(line.inputs.get("hash") for line in lines if "hash" in line.inputs)
        first = lines[0]
        try:
            self._make(first, first.now)
            again = [claims(event) for event in self._told]  # a damaged core may tell what no line can hold
        except DAMAGE as trouble:
            raise ReplayError(f"event {first.seq} ({first.action}) cannot be run again: {trouble!r}") from trouble
        for index, line in enumerate(lines):
            told = line.claims
            made = again[index] if index < len(again) else None
            yield Step(line, None if made == told else Difference(told, made))
        if len(again) > len(lines) and call.whole:
            yield Step(lines[-1], Difference(None, again[len(lines)]))
        self._draws.clear()
        self._points.clear()

    def _make(self, line: Line, now: float) -> None:
        core, inputs = self.core, line.inputs
        action = Action(line.action)
        if action is Action.ROUTE_REQUEST:
            core.route_request(self._version(inputs), self._facts(inputs["method"]), now, _steering(inputs))
        elif action is Action.PROCESS_RESPONSE:
            core.process_response(self._attempt(inputs), _result(inputs), now)
        elif action is Action.ABANDON:
            core.abandon(self._ticket(inputs), now)
        elif action is Action.REFUSE:
            core.reject(self._ticket(inputs), Reason(inputs["reason"]), now)
        elif action is Action.TICK:
            core.tick(now)
        elif action is Action.APPLY_VIEW:
            core.apply_view(inputs["service"], map(INSTANCE.made, inputs["instances"]), now)
        elif action is Action.APPLY_ROUTES:
            core.apply_routes(self._versions([ROUTE.made(each) for each in inputs["routes"]]), now)
        elif action is Action.APPLY_POLICIES:
            policies = map(POLICY.made, inputs["policies"])
            core.apply_policies({policy.service: policy for policy in policies}, now)
        elif action is Action.FORGET_SERVICE:
            core.forget_service(inputs["service"], now)
        elif action is Action.IMPOSE_CIRCUIT:
            core.impose_circuit(inputs["service"], InstanceKey(*inputs["key"]), _imposition(inputs), now)
        else:
            assert action is Action.PREFER, f"{action.value} is no call"
            core.prefer(inputs["node"], now)
        core.take_woken()

    def _ticket(self, inputs: Mapping[str, Any]) -> Ticket:
        ticket = self.core.traced_tickets.get(inputs["ticket"])
        if ticket is None:
            raise ValueError(f"ticket {inputs['ticket']} is not in the gateway")
        return ticket

    def _attempt(self, inputs: Mapping[str, Any]) -> Attempt:
        attempt = self._ticket(inputs).attempt
        if attempt is None or attempt.number != inputs["attempt"]:
            raise ValueError(f"ticket {inputs['ticket']} has no attempt {inputs['attempt']} out")
        return attempt

    def _versions(self, routes: Sequence[Route]) -> Sequence[Route]:
        """The same objects for what stays the same, as discovery keeps them."""
        before = self.core.table.routes
        kept = [before.get(route.name) for route in routes]
        return [old if old is not None and old == new else new for old, new in zip(kept, routes, strict=True)]

    def _version(self, inputs: Mapping[str, Any]) -> Route:
        if "superseded" in inputs:
            return ROUTE.made(inputs["superseded"])
        route = self.core.table.routes.get(inputs["route"])
        if route is None or route.version != inputs["version"]:
            raise ValueError(f"version {inputs['version']} of route {inputs['route']!r} is not in force")
        return route

    def _facts(self, method: str) -> _RecordedFacts:
        return _RecordedFacts(method, self._points)

    def _draw(self) -> float:
        """Where the core draws more than it did, any number will do: the events differ by it."""
        return self._draws.popleft() if self._draws else 0.5

    def _restore(self, line: Line) -> None:
        self.wall_offset = None if line.wall is None else line.wall - line.now
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
            raise ReplayError(f"the checkpoint before event {line.seq + 1} cannot be used: {damage}") from damage
        self._started = True


def _steering(inputs: Mapping[str, Any]) -> Steering | None:
    told = inputs.get("steering")
    return None if told is None else STEERING.made(told)


def _imposition(inputs: Mapping[str, Any]) -> Imposition:
    state = CircuitState(inputs["state"])
    return Imposition(state, inputs["openings"], inputs["probes_passed"], inputs["open_until"])


def _result(inputs: Mapping[str, Any]) -> Result:
    if inputs["result"] == "head":
        return Head(inputs["status"], inputs["replayable"])
    if inputs["result"] == "failure":
        return Failure(FailureKind(inputs["kind"]), inputs["replayable"])
    return End()


class _Call(NamedTuple):
    """A call with what follows from it, or a checkpoint. Not `whole`: the journal ends in it, perhaps cut off."""

    lines: Sequence[Line]
    whole: bool = True


def _calls(lines: Iterable[Line]) -> Iterator[_Call]:
    """Raises ReplayError where numbers are missing."""
    group: list[Line] = []
    last: int | None = None
    for line in lines:
        is_checkpoint, is_call = line.action == CHECKPOINT, line.action in CALLS
        gap = None if last is None else _gap(last, line)
        if group and (is_checkpoint or is_call or gap is not None):
            yield _Call(group, whole=gap is None)
            group = []
        if gap is not None:
            raise ReplayError(gap)
        last = line.seq
        if is_checkpoint:
            yield _Call([line])
        elif is_call or group:
            group.append(line)
        else:
            raise ReplayError(f"event {line.seq} ({line.action}) follows from no call")
    if group:
        yield _Call(group, whole=False)


def _gap(last: int, line: Line) -> str | None:
    """What is wrong about a line after event `last`. A checkpoint has the number of the event before it."""
    if line.action != CHECKPOINT:
        return None if line.seq == last + 1 else f"event {line.seq} comes after event {last}: there is a gap"
    if line.seq == last:
        return None
    if line.seq < last:
        return (
            f"a segment that begins after event {line.seq} comes after event {last}: the oldest has to be first, and a "
            "segment of another run has to be replayed by itself"
        )
    return (
        f"events {last + 1} to {line.seq} are missing: a segment is left out, or they were lost; what comes after them "
        "can be replayed by itself"
    )
