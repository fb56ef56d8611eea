"""A route's time-outs: what each spans, and whom it is held against."""

import asyncio
from dataclasses import replace

from gateway.core.model import FailureKind, Limits, Reason, RetryPolicy, Timeouts
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.upstreams import OK, Exchange, ScriptedUpstream, answer_ok, request

RETRYING = RetryPolicy(attempts=3, on_failures=frozenset({FailureKind.TIMEOUT, FailureKind.RESET}))


async def hang(exchange: Exchange) -> None:
    await exchange.until_closed()
    exchange.close()


def failures(proxy: RunningProxy) -> list[int]:
    return sorted(circuit.consecutive_failures for circuit in proxy.core.circuits())


async def test_an_attempt_that_times_out_is_tried_elsewhere() -> None:
    route = replace(DEFAULT_ROUTE, retry=RETRYING, timeouts=Timeouts(request=5, attempt=0.1))
    async with (
        ScriptedUpstream(hang, name="a") as first,
        ScriptedUpstream(answer_ok, name="b") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        for _ in range(2):
            assert (await proxy.ask()).status == 200
        assert failures(proxy) == [0, 1]
        await first.left.wait()


async def test_the_request_as_a_whole_ends_in_time() -> None:
    route = replace(DEFAULT_ROUTE, retry=RETRYING, timeouts=Timeouts(request=0.25, attempt=0.15))
    async with (
        ScriptedUpstream(hang, name="a") as first,
        ScriptedUpstream(hang, name="b") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        began = asyncio.get_running_loop().time()
        response = await proxy.ask()
        took = asyncio.get_running_loop().time() - began
        assert response.status == 504
        assert 0.25 - 0.002 < took < 2.5  # the loop counts in milliseconds
        record = await proxy.record()
        assert (record.reason, record.attempts) == (Reason.UPSTREAM_TIMEOUT, 2)
        assert failures(proxy) == [0, 1], "the second had but a part of the time"
        await second.left.wait()


async def test_a_request_time_that_one_instance_used_up_is_held_against_it() -> None:
    route = replace(DEFAULT_ROUTE, retry=RETRYING, timeouts=Timeouts(request=0.1, attempt=5))
    async with ScriptedUpstream(hang) as upstream, running_proxy(upstream, route=route) as proxy:
        assert (await proxy.ask()).status == 504
        assert (await proxy.record()).attempts == 1
        assert failures(proxy) == [1]
        await upstream.left.wait()


async def test_time_spent_in_the_queue_is_not_held_against_an_instance() -> None:
    done = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
        await done.wait()
        await exchange.say(b"x")

    limits = Limits(in_flight=1, queue=1, queue_timeout=20)
    route = replace(DEFAULT_ROUTE, limits=limits, timeouts=Timeouts(request=0.1, attempt=5))
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=route) as proxy:
        first = asyncio.create_task(proxy.ask())
        await proxy.wait_for_attempts(1)
        second = asyncio.create_task(proxy.ask())
        async with asyncio.timeout(10):
            while proxy.conductor.waiting == 0:
                await asyncio.sleep(0.001)
        asyncio.get_running_loop().call_later(0.2, done.set)
        assert (await first).status == 200
        assert (await second).status == 504
        assert len(upstream.requests) == 1
        assert failures(proxy) == [0]


async def test_none_means_none_and_streaming_is_not_bounded_by_the_request() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(0.05)
            await exchange.say(b"x")

    for timeouts in (Timeouts(request=0.1, attempt=0.1, idle=0.2), Timeouts(request=0, attempt=0, idle=0)):
        route = replace(DEFAULT_ROUTE, timeouts=timeouts)
        async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=route) as proxy:
            assert (await proxy.ask()).body == b"xxxx"


async def test_one_services_trouble_is_not_anothers() -> None:
    async def quick(exchange: Exchange) -> None:
        await exchange.say(OK)

    users = replace(DEFAULT_ROUTE, name="users", backends=(replace(DEFAULT_ROUTE.backends[0], service="users"),))
    users = replace(users, hostnames=("users.test",))
    async with (
        ScriptedUpstream(hang) as orders,
        ScriptedUpstream(quick, service="users", name="users-1") as healthy,
        running_proxy(orders, healthy, route=[DEFAULT_ROUTE, users]) as proxy,
    ):
        hanging = [await proxy.connect() for _ in range(50)]
        for client in hanging:
            await client.say(request())
        for _ in range(20):
            response = await asyncio.wait_for(proxy.ask(request(host="users.test")), 1)
            assert response.status == 200
        for client in hanging:
            client.writer.transport.abort()
