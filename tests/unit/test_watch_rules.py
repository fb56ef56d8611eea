"""The rules of a blocking-query watch, without a network and without waiting: indices, pacing, back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.discovery.bucket import TokenBucket
from gateway.discovery.doubt import Sign
from gateway.discovery.errors import ConsulDenied, ConsulError, ConsulUnreachable
from gateway.discovery.transport import Reply
from gateway.discovery.view import View
from gateway.discovery.watch import SPREAD, Taken, Watch

LOST = ConsulUnreachable("refused", "GET /x")


class EndOfScript(Exception):
    """Nothing more to answer."""


@dataclass
class World:
    """A subject, a lighthouse and a clock in one; each read takes `takes` seconds."""

    replies: list[Reply[bytes] | ConsulError]
    takes: list[float] = field(default_factory=list)
    now: float = 0.0
    asked: list[tuple[int | None, float]] = field(default_factory=list)
    taken: list[tuple[bytes, Sign]] = field(default_factory=list)
    rests: list[float] = field(default_factory=list)
    suspected: int = 0
    rouse: set[int] = field(default_factory=set)
    """Which rests are cut short by Consul's return."""
    judge: Callable[[bytes], Taken] | None = None
    content: bytes | None = None

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        self.asked.append((index, wait))
        self.now += self.takes.pop(0) if self.takes else 0.0
        if not self.replies:
            raise EndOfScript
        reply = self.replies.pop(0)
        if isinstance(reply, ConsulError):
            raise reply
        return reply

    async def take(self, reply: Reply[bytes], signs: Sign) -> Taken:
        self.taken.append((reply.data, signs))
        if self.judge is not None:
            return self.judge(reply.data)
        changed = reply.data != self.content
        self.content = reply.data
        return Taken("live", changed=changed, empty=reply.data == b"")

    def suspect(self) -> None:
        self.suspected += 1

    async def rest(self, seconds: float) -> bool:
        self.rests.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
        return len(self.rests) in self.rouse


async def run(world: World, *, draw: float = 1.0, wait: float = 300) -> Watch:
    """Until the script ends."""
    view = View("x", lambda: world.now, lambda: world.now)
    watch = Watch(world, view, world, wait=wait, clock=lambda: world.now, draw=lambda: draw)
    with pytest.raises(EndOfScript):
        await watch.run()
    # the pause in front of the first question is not of interest here
    del world.rests[0]
    return watch


def reply(data: bytes, index: int | None, **more: object) -> Reply[bytes]:
    return Reply(data, index=index, **more)  # type: ignore[arg-type]


def indices(world: World) -> list[int | None]:
    return [index for index, _ in world.asked]


# --- index ---------------------------------------------------------------------------------------------------------


async def test_the_index_of_an_answer_is_asked_with() -> None:
    world = World([reply(b"a", 5), reply(b"b", 9)])
    await run(world)
    assert indices(world) == [None, 5, 9]
    assert world.asked[1] == (5, 300)


async def test_an_index_that_goes_backwards_starts_again_and_is_a_reason_to_doubt() -> None:
    world = World([reply(b"a", 9), reply(b"b", 4), reply(b"c", 6)])
    await run(world)
    assert indices(world) == [None, 9, None, 6]
    assert [signs for _, signs in world.taken] == [Sign.NONE, Sign.RESET, Sign.NONE]


async def test_a_missing_index_is_never_asked_with() -> None:
    world = World([reply(b"a", None), reply(b"b", None), reply(b"c", 3)])
    await run(world)
    assert indices(world) == [None, None, None, 3]


async def test_after_a_failure_it_starts_again_and_doubts_the_first_answer_only() -> None:
    world = World([reply(b"a", 9), LOST, reply(b"b", 9), reply(b"c", 10)])
    await run(world)
    assert indices(world) == [None, 9, None, 9, 10]
    assert [signs for _, signs in world.taken] == [Sign.NONE, Sign.RECONNECTED, Sign.NONE]


async def test_an_index_that_fell_during_an_outage_is_noticed() -> None:
    world = World([reply(b"a", 900), LOST, reply(b"b", 12)])
    await run(world)
    assert world.taken[1][1] == Sign.RECONNECTED | Sign.RESET


async def test_an_answer_that_does_not_count_leaves_its_signs_to_the_next() -> None:
    """As when the question for our rights fails behind an index that fell."""
    world = World([reply(b"a", 900), reply(b"b", 12), reply(b"b", 12), reply(b"c", 13)])
    failures = [LOST]

    def judge(data: bytes) -> Taken:
        if data == b"b" and failures:
            raise failures.pop()
        return Taken("live", changed=True)

    world.judge = judge
    await run(world)
    assert [signs for _, signs in world.taken] == [
        Sign.NONE,
        Sign.RESET,
        Sign.RECONNECTED | Sign.RESET,
        Sign.NONE,
    ]


async def test_other_reasons_to_doubt() -> None:
    world = World(
        [reply(b"a", 1, known_leader=False), reply(b"b", 2, last_contact=60.0), reply(b"c", 3, last_contact=0.2)]
    )
    await run(world)
    assert [signs for _, signs in world.taken] == [Sign.LEADERLESS, Sign.OLD, Sign.NONE]


# --- content -------------------------------------------------------------------------------------------------------


async def test_an_answer_that_is_byte_for_byte_the_same_is_not_taken_again() -> None:
    world = World([reply(b"a", 1), reply(b"a", 2), reply(b"b", 3)])
    watch = await run(world)
    assert [data for data, _ in world.taken] == [b"a", b"b"]
    assert (watch.view.wakeups, watch.view.empty_wakeups, watch.view.index) == (3, 1, 3)


async def test_the_same_answer_is_taken_again_where_it_is_the_first_one_of_a_restarted_agent() -> None:
    world = World([reply(b"a", 7), reply(b"a", 3), reply(b"a", 4)])
    await run(world)
    assert world.taken == [(b"a", Sign.NONE), (b"a", Sign.RESET)]


async def test_the_same_answer_is_taken_again_while_it_is_in_doubt() -> None:
    world = World([reply(b"a", 1), reply(b"", 2), reply(b"", 3)])
    world.judge = lambda data: Taken("live" if data else "doubted", changed=False, recheck=None if data else 5)
    await run(world)
    assert [data for data, _ in world.taken] == [b"a", b"", b""]


async def test_an_answer_that_trips_us_over_is_a_failure_of_this_view_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World([reply(b"a", 1), reply(b"b", 2)])

    def judge(data: bytes) -> Taken:
        if data == b"b":
            raise KeyError("odd")
        return Taken("live", changed=True)

    world.judge = judge
    watch = await run(world)
    assert watch.view.state == "stale"
    assert "KeyError" in (watch.view.error or "")
    assert "tripped" in caplog.text


# --- pacing --------------------------------------------------------------------------------------------------------


async def test_wakeups_without_a_change_have_two_at_once_and_then_one_in_fifteen_seconds() -> None:
    world = World([reply(b"a", index) for index in range(1, 8)])
    watch = await run(world)
    # the first answer is a change; six come back without one
    assert world.rests == [15.0, 15.0, 15.0, 15.0]
    assert watch.view.throttled == 4


async def test_a_wait_that_ran_out_in_quiet_costs_nothing() -> None:
    world = World([reply(b"a", 1)] * 8, takes=[0.0] + [310.0] * 7)
    watch = await run(world)
    assert world.rests == []
    assert watch.view.throttled == 0


async def test_a_server_that_returns_the_same_index_at_once_is_paced() -> None:
    world = World([reply(b"a", 1)] * 6)
    await run(world)
    assert world.rests == [15.0] * 3


async def test_a_server_that_never_tells_an_index_is_paced() -> None:
    world = World([reply(b"a", None)] * 6)
    await run(world)
    assert world.rests == [15.0] * 3


async def test_real_changes_have_twenty_at_once_and_then_ten_a_second() -> None:
    world = World([reply(str(n).encode(), n) for n in range(1, 24)])
    await run(world)
    assert world.rests == pytest.approx([0.1] * 3)


async def test_what_does_not_exist_yet_is_awaited_with_a_second_between() -> None:
    """It wakes on every change of the catalog, one of which is its first appearance."""
    world = World([reply(b"", index) for index in range(1, 15)])
    await run(world)
    assert world.rests == pytest.approx([1.0] * 3)


async def test_a_view_in_doubt_is_confirmed_piece_by_piece() -> None:
    world = World([reply(str(n).encode(), n) for n in range(1, 15)])
    world.judge = lambda _data: Taken("doubted", changed=False, recheck=100)
    await run(world)
    assert world.rests == pytest.approx([1.0] * 3)


# --- rechecks ------------------------------------------------------------------------------------------------------


async def test_a_doubt_is_looked_at_afresh_when_it_ends() -> None:
    world = World([reply(b"a", 5), reply(b"", 6), reply(b"", 6), reply(b"", 6)], takes=[0, 0, 4, 0])
    states = iter(["live", "doubted", "doubted", "live"])
    world.judge = lambda _data: Taken(state := next(states), changed=False, recheck=4 if state == "doubted" else None)  # type: ignore[arg-type]
    watch = await run(world)
    # held at most until the doubt ends, then asked without an index, so that the answer is one of now
    assert world.asked == [(None, 300), (5, 300), (6, 4), (None, 300), (6, 300)]
    assert watch.view.state == "live"


async def test_looking_again_at_once_costs_nothing() -> None:
    world = World([reply(b"a", n) for n in range(1, 8)])
    world.judge = lambda _data: Taken("live", changed=False, recheck=0)
    await run(world)
    assert world.rests == []
    assert indices(world) == [None] * 8


# --- failures ------------------------------------------------------------------------------------------------------


async def test_back_off_doubles_up_to_fifteen_seconds_and_ends_with_the_first_success() -> None:
    world = World([*[LOST] * 9, reply(b"a", 1), LOST, reply(b"a", 1)])
    await run(world, draw=1.0)
    assert world.rests == [0.5, 1, 2, 4, 8, 15, 15, 15, 15, 0.5]
    assert world.suspected == 10


async def test_back_off_is_spread_over_all_of_its_time() -> None:
    world = World([LOST] * 6)
    await run(world, draw=0.25)
    assert world.rests == [0.125, 0.25, 0.5, 1, 2, 3.75]


async def test_back_off_starts_anew_when_consul_is_back() -> None:
    world = World([LOST] * 8, rouse={6})
    await run(world)
    # the sixth pause (the first is in front of everything) was cut short, and the try after it failed as well
    # (and each watch asks a little later than the others)
    assert world.rests == [0.5, 1, 2, 4, 8, SPREAD, 0.5, 1, 2]


async def test_states_of_a_view_that_fails() -> None:
    world = World([LOST])
    watch = await run(world)
    assert watch.view.state == "failing"
    assert not watch.view.settled.is_set()
    world = World([reply(b"a", 1), LOST])
    watch = await run(world)
    assert watch.view.state == "stale"
    world = World([ConsulDenied("403", "GET /x")])
    watch = await run(world)
    assert watch.view.state == "denied"
    assert watch.view.settled.is_set()


# --- kicks ---------------------------------------------------------------------------------------------------------


async def test_a_kick_asks_afresh_though_a_query_is_parked() -> None:
    parked = asyncio.Event()

    class Parked(World):
        async def read(self, index: int | None, wait: float) -> Reply[bytes]:
            if index == 5 and not parked.is_set():
                self.asked.append((index, wait))
                parked.set()
                await asyncio.Event().wait()
            return await super().read(index, wait)

    world = Parked([reply(b"a", 5), reply(b"b", 6)])
    view = View("x", lambda: 0.0, lambda: 0.0)
    watch = Watch(world, view, world, wait=300, clock=lambda: world.now, draw=lambda: 0.0)
    task = asyncio.create_task(watch.run())
    await parked.wait()
    assert view.parked
    watch.kick(True)
    watch.kick(True)
    with pytest.raises(EndOfScript):
        await task
    assert indices(world) == [None, 5, None, 6]
    assert world.taken[1][1] == Sign.RECONNECTED


async def test_a_loss_told_while_an_answer_is_judged_is_a_sign_of_the_next_one() -> None:
    world = World([reply(b"a", 5), reply(b"b", 6), reply(b"c", 7)])
    watches: list[Watch] = []

    def judge(data: bytes) -> Taken:
        if data == b"a":
            watches[0].kick(True)
        return Taken("live", changed=True)

    world.judge = judge
    watches.append(Watch(world, View("x", lambda: 0.0, lambda: 0.0), world, wait=300, clock=lambda: world.now))
    with pytest.raises(EndOfScript):
        await watches[0].run()
    assert indices(world) == [None, None, 6, 7]
    assert [signs for _, signs in world.taken] == [Sign.NONE, Sign.RECONNECTED, Sign.NONE]


# --- bucket --------------------------------------------------------------------------------------------------------


def test_bucket() -> None:
    bucket = TokenBucket(2, 1 / 15)
    assert [bucket.take(0) for _ in range(4)] == pytest.approx([0, 0, 15, 30])
    # one who takes as often as it refills never waits, and no more than the burst is ever saved up
    bucket = TokenBucket(2, 1)
    assert [bucket.take(float(second)) for second in range(5)] == [0] * 5
    assert [bucket.take(1000) for _ in range(3)] == pytest.approx([0, 0, 1])
