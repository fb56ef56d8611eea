"""`gateway replay JOURNAL…`: the decisions of a gateway, made again from its journal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.errors import Exit, Failed
from gateway.telemetry.text import clean

if TYPE_CHECKING:
    from gateway.journal.lines import Line
    from gateway.journal.replay import Replay, Step

_LEFT_OUT = frozenset({"routes", "policies", "instances", "superseded", "tags", "meta", "backend"})


def replay(
    segments: Annotated[
        list[Path], typer.Argument(metavar="JOURNAL...", help="Segments of one journal, the oldest first.")
    ],
    ticket: Annotated[
        int | None, typer.Option("--ticket", help="Show this request only, and at each pick who was there.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what differs.")] = False,
) -> None:
    """Makes every decision of a journal again, shows it, and fails at the first one that differs.

    Each segment begins with a checkpoint of the gateway, so that no earlier one is needed.
    """
    from gateway.discovery.regex import compile_full_match
    from gateway.journal.lines import LineError
    from gateway.journal.replay import Replay, ReplayError

    again = Replay(compile_full_match)
    count = shown = 0
    try:
        for step in again.steps(_lines(segments)):
            count += 1
            if step.difference is not None:
                _show_difference(step)
                raise typer.Exit(Exit.PROBLEMS)
            if ticket is not None and _ticket(step.line) != ticket:
                continue
            shown += 1
            if not quiet:
                _show(again, step.line, candidates=ticket is not None)
    except (LineError, ReplayError) as error:
        raise Failed(f"after {count} events: {_one_line(error)}", Exit.PROBLEMS) from error
    if count == 0:
        names = ", ".join(map(str, segments))
        raise Failed(f"no event is in {names}: it is empty, no journal, or has a checkpoint only", Exit.PROBLEMS)
    if ticket is not None and not shown:
        raise Failed(f"there is no event of ticket {ticket} among {count}", Exit.PROBLEMS)
    print(f"{count} events, all decided the same again")


def _lines(segments: Sequence[Path]) -> Iterator[Line]:
    from gateway.journal.lines import read

    for segment in segments:
        try:
            yield from read(segment, partial(_tell_cut_off, segment))
        except OSError as error:
            raise Failed(f"the journal {segment} cannot be read: {error.strerror}", Exit.USAGE) from error


def _tell_cut_off(segment: Path) -> None:
    print(f"gateway: the last line of {segment} was cut off and is left out", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """What is quoted from a damaged journal may have lines of its own."""
    return clean(" ".join(str(error).split()))


def _ticket(line: Line) -> int | None:
    found = line.inputs.get("ticket", line.decision.get("ticket"))
    return found if isinstance(found, int) else None


def _show(again: Replay, line: Line, candidates: bool) -> None:
    from gateway.journal.replay import DAMAGE, ReplayError

    try:
        print(_shown(line, again.wall_offset))
        if candidates:
            _show_candidates(again, line)
    except DAMAGE as trouble:
        raise ReplayError(f"event {line.seq} ({line.action}) cannot be shown: {trouble!r}") from trouble


def _shown(line: Line, wall_offset: float | None) -> str:
    told = {**line.inputs, **line.decision}
    parts = " ".join(f"{_value(name)}={_value(value)}" for name, value in told.items() if name not in _LEFT_OUT)
    draws = f" draws={_value(list(line.draws))}" if line.draws else ""
    when = f"{line.now:.6f}"
    if wall_offset is not None:
        when = datetime.fromtimestamp(line.now + wall_offset, UTC).isoformat(timespec="milliseconds")
    return f"{when} {line.seq:>8} {line.action:<22} {parts}{draws}"


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(_value(each) for each in value) or "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(str(value))


def _show_candidates(again: Replay, line: Line) -> None:
    """Who was there when this ticket was placed: after the decision, so the pick itself counts as in flight."""
    if line.action not in {"RouteRequest", "Retry", "Dequeue"}:
        return
    backend = line.decision.get("backend")
    service = line.decision.get("service") or (backend["service"] if isinstance(backend, Mapping) else None)
    instances = {str(each.key): each for each in again.core.services().get(str(service), ())}
    for view in again.core.circuits():
        found = instances.get(str(view.key))
        if view.service == service and found is not None:
            mark = "->" if str(view.key) == line.decision.get("instance") else "  "
            print(
                f"    {mark} {_value(view.key)}  {found.health}  weight {found.weight}  circuit {view.state.value}"
                f"  {view.in_flight} in flight  tags {_value(sorted(found.tags))}"
            )


def _show_difference(step: Step) -> None:
    line, difference = step.line, step.difference
    assert difference is not None
    print(f"event {line.seq} ({clean(line.action)}) was decided differently:", file=sys.stderr)
    print(f"  the journal: {_told(difference.told)}", file=sys.stderr)
    print(f"  now:         {_told(difference.again)}", file=sys.stderr)


def _told(claims: Mapping[str, object] | None) -> str:
    return "no event here" if claims is None else clean(str(dict(claims)), 10_000)
