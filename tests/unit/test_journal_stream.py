"""Events are numbered, and a listener that fails harms neither the core nor the other listeners."""

from __future__ import annotations

import pytest

from gateway.core.events import Event
from gateway.journal.stream import FAILED, EventStream
from tests.unit.core_support import Shell, instance, route


def test_listeners_get_all_events_with_their_numbers() -> None:
    first: list[tuple[int, Event]] = []
    second: list[tuple[int, Event]] = []
    stream = EventStream([lambda *told: first.append(told), lambda *told: second.append(told)])
    shell = Shell(trace=stream)
    shell.routes(route())
    shell.view(instance("a"))
    shell.answer(shell.send(route()))
    assert first == second
    assert [seq for seq, _ in first] == list(range(1, stream.last + 1))


def test_a_listener_that_fails_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def failing(seq: int, event: Event) -> None:
        seen.append(seq)
        if event.action == "RouteRequest":
            raise KeyError("an error of ours")

    kept: list[int] = []
    stream = EventStream([failing, lambda seq, _: kept.append(seq)])
    shell = Shell(trace=stream)
    shell.routes(route())
    shell.view(instance("a"))
    for _ in range(3):
        shell.answer(shell.send(route()))
    assert seen == [1, 2, 3, 4]
    assert kept == list(range(1, stream.last + 1))
    assert stream.failed == 1
    assert [record.message for record in caplog.records] == [FAILED]
    assert shell.core.counters.tickets == 3
