"""The shell round the core: waiting, waking, giving up, and one timer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import (
    Backend,
    FailureKind,
    Instance,
    InstanceKey,
    Limits,
    Outcome,
    Reason,
    RetryPolicy,
    Route,
    ServicePolicy,
)
from gateway.core.tickets import Attempt, Deliver, Failure, Head, Reject, Send
from gateway.proxy.conductor import Conductor, Waiting

FACTS = RequestFacts("GET", "a", "/", "", CIMultiDictProxy(CIMultiDict[str]()), "127.0.0.1")
ONE_AT_A_TIME = Route("r", 1, (Backend("s"),), limits=Limits(in_flight=1, queue=10, queue_timeout=5.0))


def instance(name: str) -> Instance:
    return Instance(InstanceKey("dc1", "n", name), "s", "127.0.0.1", 80)


@pytest.fixture
async def conductor() -> AsyncIterator[Conductor]:
    core = Gateway(lambda pattern: pattern.__eq__, lambda: 0.5)
    conductor = Conductor(core, asyncio.get_running_loop().time)
    conductor.apply_routes([ONE_AT_A_TIME])
    conductor.apply_view("s", [instance("a"), instance("b")])
    yield conductor
    conductor.close()
    assert conductor.waiting == 0
    assert sum(core.counters.outcomes.values()) == core.counters.tickets


async def admitted(conductor: Conductor, route: Route) -> Send | Reject:
    decision = conductor.admit(route, FACTS)
    return await decision.wait() if isinstance(decision, Waiting) else decision


async def reported(conductor: Conductor, attempt: Attempt, result: Head | Failure) -> object:
    decision = conductor.process(attempt, result)
    return await decision.wait() if isinstance(decision, Waiting) else decision


async def sent(conductor: Conductor, route: Route = ONE_AT_A_TIME) -> Send:
    decision = await admitted(conductor, route)
    assert isinstance(decision, Send)
    return decision


async def test_who_waits_is_woken_by_the_end_of_another(conductor: Conductor) -> None:
    first = await sent(conductor)
    waiting = [asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME)) for _ in range(2)]
    await asyncio.sleep(0)
    assert conductor.waiting == 2
    assert isinstance(await reported(conductor, first.attempt, Head(200, True)), Deliver)
    conductor.end(first.attempt)
    second = await waiting[0]
    assert isinstance(second, Send)
    assert not waiting[1].done()
    conductor.abandon(second.attempt.ticket)
    third = await waiting[1]
    assert isinstance(third, Send)
    conductor.abandon(third.attempt.ticket)
    conductor.abandon(third.attempt.ticket)


async def test_the_timer_ends_a_wait(conductor: Conductor) -> None:
    hasty = replace(ONE_AT_A_TIME, limits=Limits(in_flight=1, queue=10, queue_timeout=0.05))
    first = await sent(conductor)
    began = asyncio.get_running_loop().time()
    decision = await asyncio.wait_for(admitted(conductor, hasty), 2)
    assert isinstance(decision, Reject)
    assert decision.reason is Reason.QUEUE_TIMEOUT
    assert 0.05 - 0.002 < asyncio.get_running_loop().time() - began < 1  # the loop counts in milliseconds
    conductor.abandon(first.attempt.ticket)


async def test_an_earlier_deadline_moves_the_timer(conductor: Conductor) -> None:
    hasty = replace(ONE_AT_A_TIME, limits=Limits(in_flight=1, queue=10, queue_timeout=0.05))
    first = await sent(conductor)
    patient = asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME))
    await asyncio.sleep(0)
    assert isinstance(await asyncio.wait_for(admitted(conductor, hasty), 2), Reject)
    conductor.abandon(first.attempt.ticket)
    second = await patient
    assert isinstance(second, Send)
    conductor.abandon(second.attempt.ticket)


async def test_who_gives_up_frees_the_place(conductor: Conductor) -> None:
    first = await sent(conductor)
    waiting = asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert conductor.waiting == 0
    assert conductor.core.counters.outcomes[Outcome.ABANDONED] == 1
    conductor.abandon(first.attempt.ticket)


async def test_who_gives_up_just_when_woken_frees_the_instance(conductor: Conductor) -> None:
    first = await sent(conductor)
    waiting = asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME))
    await asyncio.sleep(0)
    conductor.abandon(first.attempt.ticket)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert all(load.in_flight == 0 for load in conductor.core.loads())


async def test_who_was_cancelled_first_may_be_woken_afterwards(conductor: Conductor) -> None:
    first = await sent(conductor)
    waiting = asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME))
    await asyncio.sleep(0)
    waiting.cancel()
    conductor.abandon(first.attempt.ticket)
    await asyncio.gather(waiting, return_exceptions=True)
    assert all(load.in_flight == 0 for load in conductor.core.loads())


async def test_a_retry_that_is_queued_and_woken_in_one_step(conductor: Conductor) -> None:
    """The step that queues a retry frees a place by itself, which may wake that very ticket."""
    retrying = replace(ONE_AT_A_TIME, retry=RetryPolicy(attempts=3))
    first = await sent(conductor, retrying)
    waiting = asyncio.ensure_future(admitted(conductor, retrying))
    await asyncio.sleep(0)
    second = await asyncio.wait_for(reported(conductor, first.attempt, Failure(FailureKind.RESET, True)), 2)
    assert isinstance(second, Send)
    assert second.attempt.number == 2
    assert not waiting.done()
    assert isinstance(await reported(conductor, second.attempt, Head(200, True)), Deliver)
    conductor.end(second.attempt)
    third = await asyncio.wait_for(waiting, 2)
    assert isinstance(third, Send)
    conductor.abandon(third.attempt.ticket)


async def test_a_change_of_the_world_wakes(conductor: Conductor) -> None:
    first = await sent(conductor)
    waiting = asyncio.ensure_future(admitted(conductor, ONE_AT_A_TIME))
    await asyncio.sleep(0)
    conductor.apply_view("s", [])
    decision = await asyncio.wait_for(waiting, 2)
    assert isinstance(decision, Reject)
    assert decision.reason is Reason.NO_HEALTHY_INSTANCE
    conductor.abandon(first.attempt.ticket)


async def test_a_refusal_of_the_shell(conductor: Conductor) -> None:
    first = await sent(conductor)
    rejection = conductor.reject(first.attempt.ticket, Reason.BODY_TOO_LARGE)
    assert rejection.status == 413


async def test_policies_and_services_pass_through(conductor: Conductor) -> None:
    conductor.apply_policies({"s": ServicePolicy("s", 3)})
    assert conductor.core.policies["s"].version == 3
    conductor.forget_service("s")
    assert "s" not in conductor.core.services()
