"""State and age of a view, the lighthouse that looks for Consul, and the agenda of the list watch."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from gateway.discovery import lighthouse as lighthouse_module
from gateway.discovery.doubt import Sign
from gateway.discovery.errors import ConsulBadAnswer, ConsulDenied, ConsulUnavailable, ConsulUnreachable
from gateway.discovery.lighthouse import Lighthouse
from gateway.discovery.list_watch import Agenda, ChecksView, NamesView
from gateway.discovery.transport import Reply
from gateway.discovery.view import View

LOST = ConsulUnreachable("refused", "GET /x")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def view(clock: Clock) -> View:
    return View("routes", clock, lambda: clock.now + 1e9)


# --- age -----------------------------------------------------------------------------------------------------------


def test_a_view_without_an_answer_has_no_age(view: View) -> None:
    state = view.state_at(1000, None, None)
    assert (state.state, state.age, state.last_change) == ("pending", None, None)


def test_age_counts_from_the_last_answer(view: View, clock: Clock) -> None:
    view.answered("live", None, changed=True)
    clock.now += 7
    state = view.state_at(clock.now, None, None)
    assert (state.state, state.age, state.last_change) == ("live", 7, 1e9 + 1000)


def test_a_parked_query_at_a_consul_that_answers_confirms(view: View, clock: Clock) -> None:
    view.answered("live", None, changed=True)
    view.parked = True
    clock.now += 100
    assert view.state_at(clock.now, 1098, None).age == 2
    # not one that is older than the answer itself, and not without a parked query
    assert view.state_at(clock.now, 900, None).age == 100
    view.parked = False
    assert view.state_at(clock.now, 1098, None).age == 100


def test_a_lost_consul_makes_live_views_stale_and_their_age_grow(view: View, clock: Clock) -> None:
    view.answered("live", None, changed=True)
    view.parked = True
    clock.now += 30
    state = view.state_at(clock.now, 1020, "gone")
    assert (state.state, state.error, state.age) == ("stale", "gone", 30)


@pytest.mark.parametrize("doubtful", ["denied", "doubted"])
def test_denied_and_doubted_answers_confirm_nothing(view: View, clock: Clock, doubtful: str) -> None:
    view.answered("live", None, changed=True)
    clock.now += 5
    view.answered(doubtful, "why", changed=False)  # type: ignore[arg-type]
    view.parked = True
    state = view.state_at(clock.now, clock.now, None)
    assert (state.state, state.age, state.error) == (doubtful, 5, "why")


def test_a_loaded_view_is_as_old_as_its_file(view: View, clock: Clock) -> None:
    view.loaded(saved_at=1e9 + 400)
    state = view.state_at(clock.now, None, None)
    assert (state.state, state.age) == ("stale", 600)
    assert not view.settled.is_set()


@pytest.mark.parametrize(
    ("error", "state", "settled"),
    [
        (LOST, "failing", False),
        (ConsulUnavailable("500", "x"), "failing", False),
        (ConsulBadAnswer("junk", "x"), "failing", True),
        (ConsulDenied("403", "x"), "denied", True),
    ],
)
def test_failures(view: View, error: ConsulUnreachable, state: str, settled: bool) -> None:
    view.failed(error)
    assert (view.state, view.settled.is_set()) == (state, settled)


def test_a_change_of_state_is_logged_once(view: View, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    view.answered("live", None, changed=True)
    for _ in range(5):
        view.failed(LOST)
    view.answered("live", None, changed=False)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "view routes is live",
        "view routes is stale",
        "view routes is live",
    ]


# --- lighthouse ----------------------------------------------------------------------------------------------------


class Beacon:
    def __init__(self) -> None:
        self.answer: str | Exception = "10.0.0.1:8300"
        self.token_generation = 0
        self.asked = 0

    async def leader(self) -> str:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer == "never":
            await asyncio.Event().wait()
        return self.answer


@pytest.fixture
def beacon() -> Beacon:
    return Beacon()


@pytest.fixture
def tower(beacon: Beacon, clock: Clock) -> Lighthouse:
    return Lighthouse(beacon, clock)


async def test_seen(tower: Lighthouse, clock: Clock) -> None:
    await tower.look()
    assert (tower.lost, tower.seen_at) == (None, clock.now)


@pytest.mark.parametrize("trouble", [LOST, ""], ids=["refused", "no leader"])
async def test_lost_and_back_rouses_everyone(tower: Lighthouse, beacon: Beacon, trouble: str | Exception) -> None:
    heard: list[bool] = []
    await tower.look()
    with tower.listening(heard.append):
        beacon.answer = trouble
        await tower.look()
        assert tower.lost
        resting = asyncio.create_task(tower.rest(60))
        await asyncio.sleep(0)
        beacon.answer = "10.0.0.1:8300"
        await tower.look()
        assert await asyncio.wait_for(resting, 1) is True
        assert _lost(tower) is None
        assert heard == [True]
        await tower.look()
        assert heard == [True]
    beacon.answer = LOST
    await tower.look()
    beacon.answer = "x"
    await tower.look()
    assert heard == [True]


def _lost(tower: Lighthouse) -> str | None:
    return tower.lost


async def test_a_rest_ends_by_itself(tower: Lighthouse) -> None:
    assert await tower.rest(0.01) is False


async def test_one_that_hangs_is_lost(tower: Lighthouse, beacon: Beacon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lighthouse_module, "PATIENCE", 0.01)
    beacon.answer = "never"
    await tower.look()
    assert "did not answer" in (tower.lost or "")


async def test_a_new_token_lets_everyone_ask_again(tower: Lighthouse, beacon: Beacon) -> None:
    heard: list[bool] = []
    with tower.listening(heard.append):
        await tower.look()
        beacon.token_generation += 1
        await tower.look()
        await tower.look()
    assert heard == [False]


async def test_a_hundred_suspicions_make_one_request(
    tower: Lighthouse, beacon: Beacon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lighthouse_module, "CALM", 60)
    monkeypatch.setattr(lighthouse_module, "ALARMED", 0.1)
    running = asyncio.create_task(tower.run())
    while beacon.asked < 1:
        await asyncio.sleep(0)
    for _ in range(100):
        tower.suspect()
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert beacon.asked == 2


# --- lists ---------------------------------------------------------------------------------------------------------


class NoSource:
    async def health_any(self, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        raise AssertionError("is not asked here")

    async def catalog_services(self, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        raise AssertionError("is not asked here")


def check(node: str, check_id: str, status: str, service: str = "", service_id: str = "") -> dict[str, str]:
    return {"Node": node, "CheckID": check_id, "Status": status, "ServiceName": service, "ServiceID": service_id}


async def test_which_services_and_nodes_have_other_checks() -> None:
    told: list[tuple[frozenset[str], frozenset[str]]] = []
    view = ChecksView(NoSource(), lambda *touched: told.append(touched))

    async def take(*checks: dict[str, str]) -> bool:
        return (await view.take(Reply(json.dumps(checks).encode()), Sign.NONE)).changed

    serf, a, b = (
        check("n", "serfHealth", "passing"),
        check("n", "a", "passing", "a", "a1"),
        check("n", "b", "passing", "b"),
    )
    assert await take(serf, a, b)
    assert told == []
    assert not await take(b, serf | {"Output": "other"}, a)
    assert told == []
    assert await take(serf, a | {"Status": "critical"}, b)
    assert told.pop() == (frozenset("a"), frozenset())
    assert await take(serf, a | {"Status": "critical"})
    assert told.pop() == (frozenset("b"), frozenset())
    assert await take(serf | {"Status": "critical"}, a | {"Status": "critical"})
    assert told.pop() == (frozenset(), frozenset("n"))


async def test_which_services_came_went_or_have_other_tags() -> None:
    told: list[frozenset[str]] = []
    view = NamesView(NoSource(), lambda services, _nodes: told.append(services))

    async def take(services: dict[str, list[str] | None]) -> None:
        await view.take(Reply(json.dumps(services).encode()), Sign.NONE)

    await take({"a": [], "b": ["x"]})
    await take({"b": ["x"], "a": None})
    assert told == []
    await take({"b": ["x", "y"], "c": []})
    assert told == [{"a", "b", "c"}]


@pytest.mark.parametrize("body", [b"", b"3", b"[1]", b'{"a": 1}', b"[" * 100_000])
async def test_odd_lists_are_no_answers(body: bytes) -> None:
    for view in (ChecksView(NoSource(), print), NamesView(NoSource(), print)):
        with pytest.raises(ConsulBadAnswer):
            await view.take(Reply(body), Sign.NONE)


async def test_agenda_hands_each_out_once_and_not_while_it_is_read() -> None:
    agenda = Agenda()
    agenda.add(["a", "b", "a"])
    assert [await agenda.next(), await agenda.next()] == ["a", "b"]
    agenda.add(["a", "c"])
    assert await agenda.next() == "c"
    waiting = asyncio.create_task(agenda.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    agenda.done("a")
    assert await waiting == "a"
