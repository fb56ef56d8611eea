"""The faults of a soak: each breaks something for some seconds, mends it, and says what it may cost.

What it may cost is what the gateway does not promise: what an instance may have acted on already (`POST`, bodies too
large to be kept), what was under way on an instance that dies, answers that break off, and all while nobody is there.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tests.soak.world import World
from tests.support.consul import ConsulError
from tests.support.consul_proxy import Fault as Spoil
from tests.support.consul_proxy import cut, empty, html, status
from tests.support.gateway_process import eventually
from tests.support.mixed_load import LONG, Kind
from tests.support.silence import silent_port
from tests.support.small_disk import fill

_A_WHILE = 3.0
"""Seconds for which things stay broken."""
_NUDGED_WITHIN = 10.0
_NOTHING: Collection[Kind] = ()
_EVERYTHING: Collection[Kind] = frozenset(Kind)
_ACTED_ON: Collection[Kind] = {Kind.POST, Kind.UPLOAD}
_UNDER_WAY: Collection[Kind] = LONG | {Kind.POST}

Break: TypeAlias = Callable[[World, random.Random], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    may_cost: Collection[Kind]
    run: Break
    """Returns when what it broke is mended again."""


def faults(world: World) -> Sequence[Fault]:
    """All that can be made to happen here."""
    found = [*_INSTANCES, *_CONSUL, *_PROCESS]
    if world.disk is not None:
        found.append(Fault("the disk is full", _NOTHING, _disk_is_full))
    if world.workers > 1:
        found.append(Fault("a worker is killed", _EVERYTHING, _worker_is_killed))
    return found


# --- instances ---


def _some_answer(answer: str) -> Break:
    async def run(world: World, draw: random.Random) -> None:
        instance = world.instances[draw.choice(sorted(world.instances))]
        await instance.mode_async(answer=answer)
        await asyncio.sleep(_A_WHILE)
        await instance.mode_async(answer="ok")

    return run


def _some_are_killed(count: int, times: int = 1, pause: float = _A_WHILE) -> Break:
    async def run(world: World, draw: random.Random) -> None:
        victims = [world.instances[name] for name in draw.sample(sorted(world.instances), count)]
        for _ in range(times):
            await asyncio.gather(*(asyncio.to_thread(each.kill) for each in victims))
            await asyncio.sleep(pause)
            await asyncio.gather(*(asyncio.to_thread(each.start) for each in victims))
            await asyncio.sleep(pause / 3)

    return run


def _another_at(address: str) -> Break:
    """One more instance is registered, which cannot be reached."""

    async def run(world: World, _: random.Random) -> None:
        with silent_port() as port:
            await asyncio.to_thread(world.admin.register, "orders", port, id="unreachable", address=address)
            await asyncio.sleep(_A_WHILE)
            await asyncio.to_thread(world.admin.deregister, "unreachable")

    return run


async def _named(world: World, _: random.Random) -> None:
    for address in ("localhost", "127.0.0.1"):
        for name in world.instances:
            await asyncio.to_thread(world.register, name, address)
        await asyncio.sleep(_A_WHILE)


async def _leave_and_return(world: World, _: random.Random) -> None:
    for name in world.instances:
        await asyncio.to_thread(world.admin.deregister, name)
        await asyncio.sleep(_A_WHILE / 3)
        await asyncio.to_thread(world.register, name)
        await asyncio.sleep(_A_WHILE / 3)


_INSTANCES = (
    Fault("an instance hangs", _ACTED_ON, _some_answer("hang")),
    Fault("an instance answers 500", _ACTED_ON, _some_answer("fail")),
    Fault("an instance resets amid its answers", _EVERYTHING, _some_answer("cut")),
    Fault("an instance trickles", _NOTHING, _some_answer("trickle")),
    Fault("an instance is killed", _UNDER_WAY, _some_are_killed(1)),
    Fault("an instance flaps", _UNDER_WAY, _some_are_killed(1, times=4, pause=0.8)),
    Fault("all but one are killed", _UNDER_WAY, _some_are_killed(3)),
    Fault("all are killed", _EVERYTHING, _some_are_killed(4)),
    Fault("connects time out", _NOTHING, _another_at("127.0.0.1")),
    Fault("a host name leads nowhere", _NOTHING, _another_at("no-such-host.invalid")),
    Fault("host names come and go as addresses", _NOTHING, _named),
    Fault("instances leave and return", _NOTHING, _leave_and_return),
)


# --- Consul ---


async def _agent_is_killed(world: World, _: random.Random) -> None:
    await asyncio.to_thread(world.agent.kill)
    await asyncio.sleep(_A_WHILE)
    await asyncio.to_thread(world.agent.start)


async def _agent_is_paused(world: World, _: random.Random) -> None:
    world.agent.pause()
    await asyncio.sleep(2 * _A_WHILE)
    world.agent.unpause()


async def _node_is_silent(world: World, _: random.Random) -> None:
    world.node.pause()
    await asyncio.sleep(3 * _A_WHILE)
    world.node.unpause()


def _servers_are_killed(count: int) -> Break:
    """The leader first."""

    async def run(world: World, _: random.Random) -> None:
        cluster = world.cluster
        leader = await asyncio.to_thread(cluster.wait_leader)
        victims = [leader, *(server for server in cluster.servers if server is not leader)][:count]
        await asyncio.gather(*(asyncio.to_thread(each.kill) for each in victims))
        await asyncio.sleep(_A_WHILE)
        for each in victims:
            await asyncio.to_thread(each.launch)
        for each in victims:
            await asyncio.to_thread(each.wait_ready, 60.0)

    return run


def _agent_answers(*spoils: Spoil) -> Break:
    async def run(world: World, _: random.Random) -> None:
        for spoil in spoils:
            world.proxy.fault = spoil
            await _nudge(world)
            await asyncio.sleep(_A_WHILE)
        world.proxy.fault = None
        await _nudge(world)

    return run


async def _nudge(world: World) -> None:
    """A change, which wakes the blocking queries. An agent that has just lost its server takes none for a while, and
    what the gateway was to see before the next thing would go unseen."""

    async def taken() -> bool:
        try:
            await asyncio.to_thread(world.admin.register, "orders", 9, id="nudge", address="127.0.0.1")
            await asyncio.to_thread(world.admin.deregister, "nudge")
        except ConsulError:
            return False
        return True

    async with asyncio.timeout(_NUDGED_WITHIN):
        while not await taken():
            await asyncio.sleep(0.1)


_BUSY = status(429, "rate limit exceeded, try again later or against a different server")
_NO_LEADER = status(500, "rpc error making call: No cluster leader")
_CONSUL = (
    Fault("the agent is killed", _NOTHING, _agent_is_killed),
    Fault("the agent is paused", _NOTHING, _agent_is_paused),
    Fault("the agent of the instances' node is paused", _EVERYTHING, _node_is_silent),
    Fault("the leader is killed", _NOTHING, _servers_are_killed(1)),
    Fault("the quorum is killed", _NOTHING, _servers_are_killed(2)),
    Fault("the agent answers 429", _NOTHING, _agent_answers(_BUSY)),
    Fault("the agent answers 500", _NOTHING, _agent_answers(_NO_LEADER)),
    Fault("the agent answers HTML", _NOTHING, _agent_answers(html)),
    Fault("the agent answers cut JSON", _NOTHING, _agent_answers(cut)),
    Fault("the agent answers 500, then an empty list", _NOTHING, _agent_answers(_NO_LEADER, empty)),
    Fault("the agent answers an empty list", _EVERYTHING, _agent_answers(empty)),
)


# --- the gateway's own process ---


async def _clock_jumps(world: World, draw: random.Random) -> None:
    for hours in (1, -1, draw.randint(-10_000, 10_000)):
        world.clock.write_text(str(hours * 3600.0))
        await asyncio.sleep(_A_WHILE / 3)
    world.clock.write_text("0")


async def _is_stopped(world: World, _: random.Random) -> None:
    for pid in world.processes():
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(_A_WHILE)
    for pid in world.processes():
        os.kill(pid, signal.SIGCONT)


async def _disk_is_full(world: World, _: random.Random) -> None:
    assert world.disk is not None
    ballast = world.disk / "ballast"
    await asyncio.to_thread(fill, ballast)
    await _nudge(world)
    await asyncio.sleep(2 * _A_WHILE)
    ballast.unlink()


async def _worker_is_killed(world: World, draw: random.Random) -> None:
    before = set(world.processes())
    os.kill(draw.choice(sorted(before - {world.gateway.pid})), signal.SIGKILL)
    await eventually(lambda: len(set(world.processes()) - before) == 1, within=20, what="a worker takes its place")


_PROCESS = (
    Fault("the wall clock jumps", _NOTHING, _clock_jumps),
    Fault("the gateway is stopped and continued", _NOTHING, _is_stopped),
)
