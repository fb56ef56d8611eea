"""A journal that tells what did not happen is refused, and at the event that gives it away.

Each kind is one change to `a_good_journal`, whose events are named here by their place in it, from 0 on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from specs.traces import Line, validate
from tests.spec.journals import a_good_journal

Journal = list[dict[str, Any]]


class Kind(NamedTuple):
    name: str
    corrupt: Callable[[Journal], None]
    refused: int
    """Place of the event that TLC does not take."""


def decides(at: int, **fields: object) -> Callable[[Journal], None]:
    def corrupt(journal: Journal) -> None:
        decision = journal[at]["decision"]
        assert any(decision.get(name) != value for name, value in fields.items())
        decision.update(fields)

    return corrupt


def told(at: int, **fields: object) -> Callable[[Journal], None]:
    def corrupt(journal: Journal) -> None:
        journal[at]["inputs"].update(fields)

    return corrupt


def dropped(at: int, action: str) -> Callable[[Journal], None]:
    def corrupt(journal: Journal) -> None:
        assert journal.pop(at)["action"] == action

    return corrupt


def repeated(at: int, action: str) -> Callable[[Journal], None]:
    def corrupt(journal: Journal) -> None:
        assert journal[at]["action"] == action
        journal.insert(at + 1, copy.deepcopy(journal[at]))

    return corrupt


def swapped(at: int) -> Callable[[Journal], None]:
    def corrupt(journal: Journal) -> None:
        journal[at], journal[at + 1] = journal[at + 1], journal[at]

    return corrupt


A, B, C = "dc1/n1/a", "dc1/n1/b", "dc1/n1/c"
WAITS = {"do": "wait", "until": 105.0}

KINDS = (
    Kind("a pick of an instance that is gone", decides(47, instance=C), 47),
    Kind("a pick of a critical instance", decides(47, instance=A), 47),
    Kind("a pick of an instance that never was", decides(6, instance="dc1/n1/z"), 6),
    Kind("a pick of an open circuit", decides(26, instance=B), 26),
    Kind("a second request on an instance that takes one", decides(7, instance=A), 7),
    Kind("a probe where none is wanted", decides(6, probe=True), 6),
    Kind("a half-open circuit passed by what is no probe", decides(32, probe=False), 32),
    Kind("a ticket that ends twice", repeated(13, "ProcessResponse"), 14),
    Kind("a client that leaves twice", repeated(27, "Abandon"), 28),
    Kind("a registration that is missing", dropped(4, "RegisterService"), 5),
    Kind("a removal that is missing", dropped(45, "DeregisterService"), 46),
    Kind("a change of health that is missing", dropped(46, "UpdateHealth"), 46),
    Kind("a pick from the queue that is missing", dropped(14, "Dequeue"), 15),
    Kind("a retry that is missing", dropped(16, "Retry"), 16),
    Kind("a maturing that is missing", dropped(29, "TriggerCircuitBreaker"), 31),
    Kind("a removal before its view", swapped(44), 44),
    Kind("a pick from the queue before there is room", swapped(13), 13),
    Kind("an answer before the request", swapped(41), 41),
    Kind("a trip with too few failures", decides(15, circuit="trip"), 15),
    Kind("a trip that is due and does not come", decides(21, circuit=None), 21),
    Kind("a trip said to be held though it need not be", decides(21, circuit="held"), 21),
    Kind("a passed probe that does not close", decides(37, circuit=None), 37),
    Kind("a probe that is not judged at its head", decides(37, judged=None, circuit=None), 37),
    Kind("a queue beyond its bound", decides(11, **WAITS), 11),
    Kind("a full queue that has room", decides(10, do="reject", reason="queue_full", status=503), 10),
    Kind("one who waits although an instance is free", decides(8, **WAITS), 8),
    Kind("one who is rejected although an instance is free", decides(8, do="reject", reason="circuit_open"), 8),
    Kind("one who overtakes in the queue", decides(14, ticket=5), 14),
    Kind("a retry where it was though another is free", decides(41, instance=B), 41),
    Kind("a retry beyond the attempts allowed", told(21, attempt=2), 21),
    Kind("a good answer judged as failed", decides(25, judged="failed"), 25),
    Kind("a broken response told as answered", decides(40, do="done"), 40),
    Kind("a route that is not in force", told(30, version=9), 30),
)

REASONS = (
    Kind("a failure rejected for another's reason", decides(21, reason="upstream_timeout"), 21),
    Kind("a failure rejected for no failure's reason", decides(54, reason="queue_full"), 54),
    Kind("a retry that could not be had, rejected for another's reason", decides(54, reason="upstream_reset"), 54),
    Kind("another failure told than was rejected for", told(53, kind="timeout"), 54),
)
"""Why is no matter of safety: a monitor does not ask."""


@pytest.fixture(scope="module")
def good() -> list[Line]:
    return a_good_journal()


def test_the_journal_itself_is_taken(good: list[Line]) -> None:
    assert validate(good).accepted


@pytest.mark.parametrize("kind", [*KINDS, *REASONS], ids=lambda kind: kind.name)
def test_a_corrupted_journal_is_refused_where_it_lies(kind: Kind, good: list[Line]) -> None:
    journal = copy.deepcopy([dict(line) for line in good])
    kind.corrupt(journal)
    found = validate(journal)
    assert found.taken == kind.refused, found
    assert not found.accepted
