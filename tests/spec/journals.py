"""Journals for the tests of trace validation: events as a journal's lines hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from gateway.core.events import Event
from gateway.core.model import CircuitPolicy, FailureKind, Health, Limits, RetryPolicy
from specs.traces import Line
from tests.spec.simulation import line
from tests.unit.core_support import Shell, instance, no_jitter, policy, route, sick


def lines_of(events: Iterable[Event]) -> list[Line]:
    return [json.loads(line(seq, event)) for seq, event in enumerate(events, 1)]


def a_good_journal() -> list[Line]:
    return lines_of(a_good_run())


def a_good_run() -> list[Event]:
    """Three instances that take one request each, two places in the queue, two failures in a row that open.

    Tickets 1 to 3 take the instances, 4 and 5 wait, 6 finds the queue full. The second failure on b opens its circuit;
    later it half-opens, is probed and closes. At the end a is critical and c is gone; then b is critical too, and
    the last request has nowhere to go again.
    """
    told: list[Event] = []
    shell = Shell(draw=no_jitter, trace=told.append)
    circuit = CircuitPolicy(consecutive_failures=2, failure_ratio=0.0, open_for=10.0)
    a, b, c = (instance(name) for name in "abc")
    r = route("r", limits=Limits(queue=2, queue_timeout=5.0), retry=RetryPolicy(attempts=2))
    shell.policies(policy(circuit=circuit, cap=1))
    shell.routes(r)
    shell.view(a, b, c)
    on_a, on_b, on_c = (shell.send(r) for _ in range(3))
    fourth, fifth = shell.queued(r), shell.queued(r)
    shell.refused(r)
    shell.answer(on_a)
    fourth_on_a = shell.woken_attempt(fourth)
    shell.fail(on_b, FailureKind.CONNECT_FAILURE, replayable=True)
    fifth_on_b = shell.woken_attempt(fifth)
    shell.answer(on_c)
    second_on_c = shell.woken_attempt(on_b.ticket)
    shell.fail(fifth_on_b)
    shell.answer(fourth_on_a)
    shell.answer(second_on_c)
    left = shell.send(r)
    shell.abandon(left.ticket)
    shell.wait(11.0)
    again = [shell.send(r) for _ in range(3)]
    for attempt in again:
        shell.answer(attempt)
    shell.answer(shell.retried(shell.send(r)))
    shell.view(sick(a, Health.CRITICAL), b)
    shell.answer(shell.send(r))
    last = shell.send(r)
    shell.view(sick(a, Health.CRITICAL), sick(b, Health.CRITICAL))
    shell.fail(last, FailureKind.CONNECT_FAILURE, replayable=True)
    return told
