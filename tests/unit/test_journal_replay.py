"""What a journal says is decided again, event by event; what it says wrongly is found where it stands."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.core.events import CALLS
from gateway.core.filters import Redirect
from gateway.core.model import Balance, BalancePolicy, HashOn, HashSource, RetryPolicy, Route
from gateway.journal import checkpoint
from gateway.journal.lines import CHECKPOINT, Line, encode, encode_checkpoint, parse
from gateway.journal.replay import ReplayError
from tests.unit.core_support import STEADY, Shell, facts, instance, policy, route
from tests.unit.journal_support import first_difference, lines_of, made_again, segment_from


@pytest.fixture(scope="module")
def run() -> Sequence[Line]:
    return lines_of(56, 5000, every=250)


def at(lines: Sequence[Line], seq: int) -> int:
    return next(place for place, line in enumerate(lines) if line.seq == seq and line.action != CHECKPOINT)


def test_a_run_is_decided_the_same_again() -> None:
    lines = lines_of(52, 5000)
    steps = made_again(lines)
    assert len(steps) == len(lines) > 5000
    assert all(step.difference is None for step in steps)


def test_checkpoints_on_the_way_are_passed(run: Sequence[Line]) -> None:
    steps = made_again(run)
    assert len(steps) == sum(line.action != CHECKPOINT for line in run)
    assert all(step.difference is None for step in steps)


def changed(line: Line) -> Line:
    """The line with one thing in its decision that was not so."""
    decision = dict(line.decision)
    name = min(decision)
    decision[name] = {"x": decision[name]}
    return replace(line, decision=decision)


def test_a_changed_decision_is_found_at_its_event(run: Sequence[Line]) -> None:
    dice = random.Random(3)
    by_action: dict[str, list[Line]] = {}
    for line in run:
        if line.decision and line.seq > 300:
            by_action.setdefault(line.action, []).append(line)
    assert len(by_action) >= 13
    for lines in by_action.values():
        for line in dice.sample(lines, min(3, len(lines))):
            segment = list(segment_from(run, line.seq))[:600]
            place = at(segment, line.seq)
            segment[place] = changed(line)
            assert first_difference(segment) == line.seq, line


@pytest.mark.parametrize(
    "change",
    [
        lambda line: replace(line, now=line.now + 1e-6),
        lambda line: replace(line, draws=(0.25,) if line.draws != (0.25,) else ()),
        lambda line: replace(line, action="Tick"),
    ],
)
def test_so_is_another_time_draw_or_action_of_what_follows_from_a_call(
    run: Sequence[Line], change: Callable[[Line], Line]
) -> None:
    line = next(line for line in run if line.seq > 500 and line.action == "Dequeue")
    segment = list(segment_from(run, line.seq))[:600]
    segment[at(segment, line.seq)] = change(line)
    if change(line).action == "Tick":  # now it reads as a call, before which something is missing
        assert first_difference(segment) == line.seq - 1
    else:
        assert first_difference(segment) == line.seq


def told(line: Line, **inputs: object) -> Line:
    return replace(line, inputs={**line.inputs, **inputs})


INPUTS: Mapping[str, tuple[Callable[[Line], bool], Callable[[Line], Line]]] = {
    "a good head told as a bad one": (
        lambda line: line.inputs.get("status") == 200 and line.decision["judged"] == "succeeded",
        lambda line: told(line, status=503),
    ),
    "a failure that could not be repeated": (
        lambda line: line.decision.get("do") == "again" and line.inputs["replayable"],
        lambda line: told(line, replayable=False),
    ),
    "another health": (
        lambda line: line.action == "ApplyView" and any(not each["health"] for each in line.inputs["instances"]),
        lambda line: told(line, instances=[{**each, "health": 2} for each in line.inputs["instances"]]),
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_changed_input_is_found_where_it_makes_a_difference(run: Sequence[Line], name: str) -> None:
    fits, change = INPUTS[name]
    line = next(line for line in run if line.seq > 500 and fits(line))
    segment = list(segment_from(run, line.seq))[:600]
    segment[at(segment, line.seq)] = change(line)
    found = first_difference(segment)
    assert found is not None
    assert line.seq <= found <= line.seq + 6  # at the latest by what follows from that call


def test_a_missing_event_is_told_by_its_number(run: Sequence[Line]) -> None:
    place = at(run, 700)
    with pytest.raises(ReplayError, match="event 701 comes after event 699: there is a gap"):
        made_again([*run[:place], *run[place + 1 :]])


def test_a_missing_event_whose_number_was_given_away_is_found(run: Sequence[Line]) -> None:
    line = next(line for line in run if line.seq > 500 and line.action == "Dequeue")
    segment = list(segment_from(run, line.seq))
    place = at(segment, line.seq)
    rest = [replace(each, seq=each.seq - 1) for each in segment[place + 1 :]]
    assert first_difference([*segment[:place], *rest]) in {line.seq, line.seq - 1}


def test_what_cannot_follow_is_told() -> None:
    lines = lines_of(53, 300)
    with pytest.raises(ReplayError, match="begins with event 2 and no checkpoint before it"):
        made_again(lines[1:])
    register = next(line for line in lines if line.action == "RegisterService")
    with pytest.raises(ReplayError, match=rf"event {register.seq} \(RegisterService\) follows from no call"):
        made_again([register])
    with pytest.raises(ReplayError, match=r"event 1 \(Explode\) follows from no call"):
        made_again([replace(lines[0], action="Explode")])


@pytest.mark.parametrize(
    ("action", "inputs", "message"),
    [
        ("RouteRequest", {"route": "nowhere"}, "of route 'nowhere' is not in force"),
        ("RouteRequest", {"version": -1}, "version -1 of route '.*' is not in force"),
        ("ProcessResponse", {"ticket": 10**6}, "ticket 1000000 is not in the gateway"),
        ("ProcessResponse", {"attempt": 9}, "has no attempt 9 out"),
        ("ProcessResponse", {"result": "failure", "kind": "boredom"}, "'boredom' is not a valid FailureKind"),
        ("ApplyView", {"instances": 7}, "not iterable"),
        ("ApplyView", {"instances": [{"key": 7}]}, "validation error"),
        ("ApplyRoutes", {"routes": [{"name": 7}]}, "validation error"),
    ],
)
def test_a_call_that_cannot_be_made_is_told(action: str, inputs: Mapping[str, Any], message: str) -> None:
    lines = list(lines_of(54, 400))
    place = next(place for place, line in enumerate(lines) if line.action == action and "superseded" not in line.inputs)
    lines[place] = told(lines[place], **inputs)
    where = rf"event {lines[place].seq} \({action}\) cannot be run again"
    with pytest.raises(ReplayError, match=rf"(?s){where}: .*{message}"):
        made_again(lines)


def test_segments_have_to_be_in_order_and_whole(run: Sequence[Line]) -> None:
    starts = [place for place, line in enumerate(run) if line.action == CHECKPOINT]
    first, second, third = (run[starts[n] : starts[n + 1]] for n in range(3))
    assert len(made_again([*first, *second])) == len(first) + len(second) - 2
    with pytest.raises(ReplayError, match="the oldest has to be first, and a segment of another run"):
        made_again([*second, *first])
    with pytest.raises(ReplayError, match=rf"events {second[0].seq + 1} to {third[0].seq} are missing: a segment is"):
        made_again([*first, *third])


def test_a_damaged_checkpoint_is_told_before_its_events(run: Sequence[Line]) -> None:
    start = next(place for place, line in enumerate(run) if line.action == CHECKPOINT)
    broken = replace(run[start], state={"nodes": 1})
    with pytest.raises(ReplayError, match=rf"the checkpoint before event {broken.seq + 1} cannot be used: it has no"):
        made_again([broken, *run[start + 1 :]])


def test_a_checkpoint_whose_damage_shows_later_is_told_at_the_event(run: Sequence[Line]) -> None:
    """A service's name that is no text, but the service: no line can hold it, which used to end in a traceback.

    Compiled, the service does not take it to begin with.
    """
    start = next(place for place, line in enumerate(run) if line.action == CHECKPOINT)
    state = run[start].state
    name = 1 + state["attributes"]["Service"].index("name")
    nodes = [
        [*node[:name], [number], *node[name + 1 :]] if node[0] == "Service" else node
        for number, node in enumerate(state["nodes"])
    ]
    broken = replace(run[start], state={**state, "nodes": nodes})
    trouble = r"run again: TypeError\(.Encoding objects|used: node \d+: str object expected"
    with pytest.raises(ReplayError, match=trouble):
        made_again([broken, *run[start + 1 :]])


def test_a_journal_that_was_cut_off_amid_a_call_is_right_as_far_as_it_goes() -> None:
    lines = lines_of(55, 1500)
    amid = [end for end in range(1, len(lines)) if lines[end].action not in CALLS]
    assert len(amid) > 100
    for end in amid[::10]:
        steps = made_again(lines[:end])
        assert len(steps) == end
        assert all(step.difference is None for step in steps)


def test_a_request_without_what_is_hashed_does_not_take_the_point_of_another() -> None:
    """Two that are let go by one call: the first has no such header, the second has."""
    told_events: list[Line] = []
    shell = Shell(trace=lambda event: told_events.append(parse(encode(len(told_events) + 1, event), "")))
    balance = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))
    instances = [instance(f"i{number}") for number in range(8)]
    r = route("r", retry=RetryPolicy(attempts=1))
    shell.policies(policy(balance=balance, circuit=STEADY, cap=1))
    shell.routes(r)
    shell.view(*instances[:1])
    shell.send(r)
    waiting = [shell.queued(r, facts(headers=[("x-user", name)] if name else [])) for name in ("", "ann", "", "ben")]
    shell.view(*instances)
    assert all(shell.woken_attempt(ticket) for ticket in waiting)
    dequeued = [line.inputs["hash"] for line in told_events if line.action == "Dequeue"]
    assert [point is None for point in dequeued] == [True, False, True, False]
    assert not [step for step in made_again(told_events) if step.difference is not None]
    astray = [told(told_events[0], hash=5), *told_events[1:]]
    assert not [step for step in made_again(astray) if step.difference is not None], "each call has its own points"


def test_a_route_that_answers_itself_is_told_kept_and_made_again() -> None:
    lines: list[Line] = []
    shell = Shell(trace=lambda event: lines.append(parse(encode(len(lines) + 1, event), "")))
    sends, answers = route("sends"), Route("answers", 1, (), answer=Redirect(path="/x"))
    shell.routes(sends, answers)
    shell.view(instance("a"))
    shell.answer(shell.send(sends))
    kept = encode_checkpoint(len(lines), shell.now, 0.0, checkpoint.take(shell.core))
    before = len(lines)
    shell.answer(shell.send(sends))
    shell.routes(answers)
    for segment in (lines, [parse(kept, ""), *lines[before:]]):
        assert not [step for step in made_again(segment) if step.difference is not None]
