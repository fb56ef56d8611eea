"""Deadlines of a loop that is on time, and of one that was held up."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from gateway.proxy.wire.alarm import Alarm

HELD_UP = 0.3


class Rings:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.at: list[float] = []
        self.rung = asyncio.Event()

    def __call__(self) -> None:
        self.at.append(self.loop.time())
        self.rung.set()


async def test_it_rings_at_the_last_time_that_was_set() -> None:
    rings = Rings()
    alarm = Alarm(rings.loop, rings)
    began = rings.loop.time()
    alarm.set(began + 5)
    alarm.set(began + 0.02)
    alarm.set(began + 0.05)
    await asyncio.wait_for(rings.rung.wait(), 5)
    assert rings.at[0] - began > 0.045
    assert not alarm.is_set


async def test_a_loop_that_was_held_up_hears_first_what_came_meanwhile() -> None:
    rings = Rings()
    alarm = Alarm(rings.loop, rings)
    ours, theirs = socket.socketpair()
    heard = asyncio.Event()

    def answered() -> None:
        rings.loop.remove_reader(ours)
        alarm.clear()
        heard.set()

    def be_held_up() -> None:
        trouble.recv(1)
        theirs.send(b"x")
        time.sleep(HELD_UP)

    trouble, spark = socket.socketpair()
    rings.loop.add_reader(trouble, be_held_up)
    rings.loop.add_reader(ours, answered)
    alarm.set(rings.loop.time() + 0.05)
    spark.send(b"x")
    await asyncio.wait_for(heard.wait(), 5)
    await asyncio.sleep(0.2)
    assert rings.at == []
    rings.loop.remove_reader(trouble)
    for each in (ours, theirs, trouble, spark):
        each.close()


@pytest.mark.parametrize("times", [1, 3])
async def test_where_nothing_came_it_rings_however_often_the_loop_is_held_up(times: int) -> None:
    rings = Rings()
    alarm = Alarm(rings.loop, rings)
    began = rings.loop.time()
    alarm.set(began + 0.01)
    for _ in range(times):
        time.sleep(HELD_UP)
        await asyncio.sleep(0)
    await asyncio.wait_for(rings.rung.wait(), 5)
    assert len(rings.at) == 1
    assert rings.at[0] - began < HELD_UP * (times + 1)
