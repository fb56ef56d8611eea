"""The parts that workers and their parent are made of: messages, who has a circuit, figures together, turns."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from gateway.app.figures import Figures, remains, together
from gateway.app.in_force import InForce
from gateway.app.workers import channel as channel_module
from gateway.app.workers import messages
from gateway.app.workers import rates as rates_module
from gateway.app.workers.board import Board
from gateway.app.workers.channel import Channel, pickled
from gateway.app.workers.circuits import OpenCircuits
from gateway.app.workers.messages import Impose, Told
from gateway.app.workers.rates import AskingParent, RateJudge
from gateway.core.breaker import CircuitState, Imposition
from gateway.core.limits import RateLimit
from gateway.core.model import CircuitMode, CircuitPolicy, Outcome, Reason
from gateway.core.views import CircuitView, Counters, RouteLoad
from gateway.discovery.documents import Rejection, parse_defaults, parse_policy, parse_route
from gateway.pipeline.rate_limits import Asked, Over, RateLoad
from gateway.proxy.client.acceptor import Acceptor
from gateway.settings import load
from gateway.telemetry.counts import Counts
from tests.unit.core_support import instance, policy, route

OPEN, HALF_OPEN, CLOSED = CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED
A, B = instance("a"), instance("b")


# --- messages ---


class Ends:
    """Both ends of a pair, and what came out of them."""

    def __init__(self) -> None:
        self.here: list[object] = []
        self.there: list[object] = []
        self.lost: list[str] = []
        self.near: Channel[object] = Channel(self.here.append, lambda: self.lost.append("near"))
        self.far: Channel[object] = Channel(self.there.append, lambda: self.lost.append("far"))

    async def open(self) -> Ends:
        near, far = socket.socketpair()
        await self.near.open(near)
        await self.far.open(far)
        return self


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_messages_come_whole_and_in_order_whatever_their_size() -> None:
    ends = await Ends().open()
    told = [messages.Routes([route(f"r{number}") for number in range(count)]) for count in (1, 5000, 0, 300)]
    for message in told:
        ends.near.send(message)
        ends.far.send(messages.Serves())
    await _until(lambda: len(ends.there) == len(ends.here) == 4)
    assert ends.there == told
    assert (ends.near.sent, ends.far.taken, ends.near.taken) == (4, 4, 4)
    ends.near.close()
    await _until(lambda: len(ends.lost) == 2)
    ends.far.send(messages.Serves())  # to nobody: nothing happens
    assert ends.far.sent == 4


async def test_one_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "BUFFER_LIMIT", 1 << 20)
    near, far = socket.socketpair()
    lost: list[str] = []
    channel: Channel[object] = Channel(lambda _: None, lambda: lost.append("gone"))
    await channel.open(near)
    with far:
        for _ in range(3):
            channel.send(b"x" * (1 << 20))
        await _until(lambda: lost == ["gone"])


def test_what_is_in_force_goes_from_process_to_process() -> None:
    settings = load({"workers": "2", "sticky_key": "a secret of twenty!!"}, None)
    begin = messages.Begin(settings, b"key", 1)
    assert pickle.loads(pickled(begin)) == begin
    asked = route()
    again = pickle.loads(pickled(messages.Routes([asked])))
    assert (again.routes[0], again.routes[0].steers) == (asked, asked.steers)
    figures = _figures(3, CIRCUIT)
    again = pickle.loads(pickled(messages.Report(figures, asked=False))).figures
    assert again.circuits == [CIRCUIT]
    assert again.counters == figures.counters
    assert again.counts.server._series == figures.counts.server._series
    assert again.counts.refusals == figures.counts.refusals


def test_a_later_worker_is_briefed_with_all_that_is_in_force() -> None:
    told: list[tuple[str, object]] = []

    class Taker:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *given: told.append((name, given))

    in_force = InForce()
    in_force.routes([route("old")])
    in_force.instances("orders", [A])
    in_force.instances("gone", [B])
    in_force.forget("gone")
    in_force.routes([route("new")])
    in_force.policies({"orders": policy()})
    in_force.prefer("n1")
    in_force.brief(Taker())
    assert told == [
        ("policies", ({"orders": policy()},)),
        ("credentials", ((),)),
        ("instances", ("orders", [A])),
        ("prefer", ("n1",)),
        ("routes", ((route("new"),),)),
    ]


# --- who has a circuit ---


class Parent:
    """The registry with two workers, one service, and what was sent."""

    def __init__(self, *instances: object, max_open: float = 1.0) -> None:
        self.sent: list[tuple[int, str, CircuitState]] = []
        self.numbers = {1: 0, 2: 0}
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.circuits = OpenCircuits(self._send, lambda at, act: self.due.append((at, act)))
        self.circuits.policies({"orders": policy(circuit=CircuitPolicy(max_open=max_open))})
        self.circuits.instances("orders", [A, B], {})
        for number in (1, 2):
            self.circuits.joins(number)

    def _send(self, worker: int, message: Impose) -> int:
        self.numbers[worker] += 1
        self.sent.append((worker, message.key.service_id, message.imposed.state))
        return self.numbers[worker]

    def told(self, worker: int, state: CircuitState, *, name: str = "a", until: float = 0.0) -> None:
        """By a worker that has taken all that was sent to it."""
        key = (A if name == "a" else B).key
        self.circuits.told(worker, Told("orders", key, Imposition(state, 1, 0, until), self.numbers[worker]))

    def taken(self) -> list[tuple[int, str, CircuitState]]:
        sent, self.sent = self.sent, []
        return sent


def test_who_opens_it_first_has_it_until_it_closes() -> None:
    parent = Parent()
    parent.circuits.told(1, Told("orders", A.key, Imposition(OPEN, 1, 0, 5.0), 0))
    parent.circuits.told(2, Told("orders", A.key, Imposition(OPEN, 1, 0, 5.0), 0))
    assert parent.taken() == [(2, "a", OPEN)]
    parent.told(2, CLOSED)
    assert parent.taken() == [], "it is not that one's to close"
    parent.told(1, CLOSED)
    assert parent.taken() == [(2, "a", CLOSED)]
    assert set(parent.circuits.owners().values()) == {None}


def test_one_that_is_handed_on_goes_round() -> None:
    parent = Parent()
    parent.told(1, OPEN)
    parent.told(1, HALF_OPEN)
    parent.told(2, HALF_OPEN)
    assert parent.taken() == [(2, "a", OPEN), (2, "a", HALF_OPEN), (1, "a", HALF_OPEN)]


def test_what_a_dead_worker_had_goes_to_another_when_its_open_time_ends() -> None:
    parent = Parent()
    parent.told(1, OPEN, until=7.0)
    parent.circuits.leaves(1)
    assert parent.taken() == [(2, "a", OPEN)]
    ((at, act),) = parent.due
    act()
    assert (at, parent.taken()) == (7.0, [(2, "a", HALF_OPEN)])


def test_when_all_have_died_the_first_that_joins_has_it() -> None:
    parent = Parent()
    parent.told(1, OPEN, until=7.0)
    for number in (1, 2):
        parent.circuits.leaves(number)
    for _, act in parent.due:
        act()
    parent.due.clear()
    parent.taken()
    parent.circuits.joins(2)
    assert parent.taken() == [(2, "a", OPEN)]
    ((_, act),) = parent.due
    act()
    assert parent.taken() == [(2, "a", HALF_OPEN)]


def test_two_that_open_one_each_beyond_max_open_keep_one() -> None:
    parent = Parent(max_open=0.5)
    parent.told(1, OPEN, name="a")
    parent.circuits.told(2, Told("orders", B.key, Imposition(OPEN), 0))
    assert parent.taken() == [(2, "a", OPEN), (2, "b", OPEN), (2, "b", CLOSED)]
    assert [key.service_id for key, owner in parent.circuits.owners().items() if owner is not None] == ["a"]


def test_an_instance_that_comes_again_elsewhere_has_another_circuit() -> None:
    parent = Parent()
    parent.told(1, OPEN)
    parent.circuits.instances("orders", [replace(A, port=9), B], {1: 1, 2: 2})
    assert parent.circuits.owners()[A.key] is None
    parent.circuits.told(1, Told("orders", A.key, Imposition(OPEN), 0))
    assert parent.circuits.owners()[A.key] is None, "of the one before: it had not taken the view"


# --- figures ---

CIRCUIT = CircuitView(A.key, "orders", CLOSED, CircuitMode.ENFORCE, 0.0, None, 1, 0, 2)


def _figures(tickets: int, circuit: CircuitView) -> Figures:
    counts = Counts()
    for _ in range(tickets):
        counts.request_ended("GET", "orders", 200, None, 0.01)
    counts.request_ended("GET", None, 404, Reason.NO_ROUTE, 0.01)
    counters = Counters(tickets=tickets + 1)
    counters.outcomes[Outcome.RESPONDED] = tickets
    return Figures(
        counters, counts, [circuit], [RouteLoad("orders", 1, 2)], [RateLoad("orders", 3, 1)], lag=0.1 * tickets
    )


def test_sums_are_of_all_workers_and_stay_when_one_dies() -> None:
    one, two = _figures(2, CIRCUIT), _figures(3, replace(CIRCUIT, consecutive_failures=4))
    both = together([one, two])
    assert (both.counters.tickets, both.counters.outcomes[Outcome.RESPONDED], both.workers) == (7, 5, 2)
    assert both.counts.refusals[Reason.NO_ROUTE] == 2
    assert both.lag == pytest.approx(0.3)
    points = both.counts.server.metric().data.data_points
    assert sum(point.count for point in points if isinstance(point, HistogramDataPoint)) == 7
    assert both.loads == [RouteLoad("orders", 2, 4)]
    assert both.circuits == [replace(CIRCUIT, consecutive_failures=4, in_flight=4)]
    after = together([one, remains(two)])
    assert after.counters.outcomes[Outcome.RESPONDED] == 5
    assert after.counters.tickets - sum(after.counters.outcomes.values()) == 1, "what the dead one had open is over"
    assert (after.workers, after.loads, after.circuits) == (1, [RouteLoad("orders", 1, 2)], [CIRCUIT])
    assert (after.rate_limits[0].keys, after.rate_limits[0].forgotten) == (3, 2)


def test_a_circuit_is_told_by_who_has_it() -> None:
    elsewhere = replace(CIRCUIT, state=OPEN, elsewhere=True)
    owned = replace(CIRCUIT, state=HALF_OPEN)
    assert together([_figures(0, elsewhere), _figures(0, owned)]).circuits[0].state is HALF_OPEN
    assert together([_figures(0, owned), _figures(0, elsewhere)]).circuits[0].state is HALF_OPEN


# --- turns ---


async def test_who_has_more_connections_than_others_stands_back_but_not_for_ever() -> None:
    board = Board.make(2)
    board.write(1, 0)
    board.write(2, 0)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    accepted: list[asyncio.Protocol] = []

    class Noted(asyncio.Protocol):
        def __init__(self) -> None:
            accepted.append(self)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()

    connections = 5
    acceptor = Acceptor(listening, Noted, lambda: connections, board.place(1))
    acceptor.start(16)
    try:
        began = asyncio.get_running_loop().time()
        _, writer = await asyncio.open_connection(*listening.getsockname())
        await _until(lambda: len(accepted) == 1)
        assert round(asyncio.get_running_loop().time() - began, 3) >= 0.002, "left to the other first"
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.01)  # the other end is closed as well
    finally:
        acceptor.close()
        os.close(board.descriptor)


def test_the_board_counts_those_who_are_there() -> None:
    board = Board.make(3)
    try:
        assert board.least() == 0
        board.write(1, 7)
        board.place(3).write(4)
        other = Board(board.descriptor)
        assert other.least() == 4
        other.leave(3)
        assert board.least() == 7
    finally:
        os.close(board.descriptor)


# --- rates ---

LIMITS = (RateLimit(1, 60.0, 1), RateLimit(5, 1.0, 5))


def _asked(*keys: str) -> Asked:
    return Asked("r", False, LIMITS, keys)


async def test_requests_of_one_turn_are_asked_for_together_and_their_kind_is_told_once() -> None:
    sent: list[messages.RateKind | messages.RatesAsked] = []
    asking = AskingParent(sent.append, lambda _: None)
    kinds: list[type] = []
    judge = RateJudge(lambda asked: Over(LIMITS[1], 5.0) if "b" in asked.keys else None)
    for _ in range(2):
        waiting = [asking(_asked("a", "a")), asking(_asked("b", "b"))]
        await asyncio.sleep(0)
        await _until(lambda: bool(sent))
        for message in sent:
            if isinstance(message, messages.RateKind):
                judge.kind(message.number, message.asked)
            else:
                asking.judged(judge.judged(message.asked))
        assert await asyncio.gather(*waiting) == [None, Over(LIMITS[1], 5.0)]
        kinds = [type(message) for message in sent]
        sent.clear()
    assert kinds == [messages.RatesAsked]


async def test_without_the_parent_a_worker_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "PATIENCE", 0.01)
    own = Over(LIMITS[0], 9.0)
    asking = AskingParent(lambda _: None, lambda _: own)
    assert await asking(_asked("a", "a")) == own, "no answer in time"
    asking.judged([None])  # too late
    monkeypatch.setattr(rates_module, "PATIENCE", 60.0)
    waiting = asking(_asked("a", "a"))
    await asyncio.sleep(0)
    asking.go_on_alone()
    assert await waiting == own
    assert await asking(_asked("a", "a")) == own


async def test_questions_without_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "MOST_OUT", 3)
    sent: list[object] = []
    asking = AskingParent(sent.append, lambda _: None)
    for _ in range(10):
        asking(_asked("a", "a"))
        await asyncio.sleep(0)
    assert sum(isinstance(message, messages.RatesAsked) for message in sent) == 3


async def test_kinds_that_were_told_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_module, "MOST_KINDS", 2)
    told: list[int] = []
    asking = AskingParent(lambda sent: told.append(sent.number) if hasattr(sent, "number") else None, lambda _: None)
    for _ in range(5):
        asking(Asked("r", False, (RateLimit(1, 1.0, 1),), ("a",)))
        await asyncio.sleep(0)
    assert told == [0, 1, 0, 1, 0]


# --- what needs one worker ---

NEEDS_ONE = "needs one worker: this gateway runs 4"


def test_limits_that_would_have_to_hold_over_workers_are_refused_where_they_stand() -> None:
    of_route = parse_route("r", b'{"backends": [{"service": "orders"}],\n "limits": {"in_flight": 5}}', 7, workers=4)
    assert isinstance(of_route, Rejection)
    assert (of_route.line, of_route.field) == (2, "limits.in_flight")
    assert NEEDS_ONE in of_route.reason
    of_service = parse_policy("orders", b"in_flight_per_instance: 1", 7, workers=4)
    assert isinstance(of_service, Rejection)
    assert (of_service.field, NEEDS_ONE in of_service.reason) == ("in_flight_per_instance", True)
    of_all = parse_defaults(b"service: {in_flight_per_instance: 2}", 7, workers=4)
    assert isinstance(of_all, Rejection)
    assert (of_all.field, NEEDS_ONE in of_all.reason) == ("service.in_flight_per_instance", True)


def test_with_one_worker_they_are_taken() -> None:
    assert not isinstance(parse_policy("orders", b"in_flight_per_instance: 1", 7), Rejection)
    assert not isinstance(parse_defaults(b"route: {limits: {in_flight: 2}}", 7), Rejection)
