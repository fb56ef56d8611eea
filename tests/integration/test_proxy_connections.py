"""Connections to instances: reuse, the keep-alive race, time-outs, TLS, and letting go of instances that left."""

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gateway.core.model import (
    Connect,
    FailureKind,
    Instance,
    InstanceKey,
    RetryPolicy,
    ServicePolicy,
)
from tests.support.ports import free_port
from tests.support.proxies import DEFAULT_ROUTE, running_proxy
from tests.support.upstreams import OK, Exchange, ScriptedUpstream, answer_ok, request

KEY = InstanceKey("dc1", "node", "x")
ONCE = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=1))


async def test_a_connection_is_reused() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        for _ in range(5):
            assert (await proxy.ask()).status == 200
        assert upstream.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_is_to_be_closed_is_not(said: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(said)

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy:
        for _ in range(2):
            assert (await proxy.ask()).status == 200
        assert upstream.connections == 2


async def answer_then_leave_at_the_next(exchange: Exchange) -> None:
    """Answers the first request on a connection, and closes when the second one comes."""
    await answer_ok(exchange)
    await exchange.reader.readuntil(b"\r\n\r\n")
    exchange.close()


async def test_a_stale_connection_is_not_held_against_the_instance() -> None:
    async with ScriptedUpstream(answer_then_leave_at_the_next) as upstream, running_proxy(upstream) as proxy:
        for _ in range(4):
            assert (await proxy.ask()).status == 200
        records = await proxy.records.wait_for(4)
        results = [attempt.result for record in records for attempt in record.trace]
        assert FailureKind.STALE_CONNECTION.value in results
        assert [circuit.consecutive_failures for circuit in proxy.core.circuits()] == [0]


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_nothing_is_resent_behind_the_cores_back(method: str) -> None:
    """A client library may resend on a reused connection by itself; then attempts would be counted wrong."""
    seen: list[bytes] = []

    async def script(exchange: Exchange) -> None:
        seen.append(exchange.request.head)
        await answer_ok(exchange)
        seen.append(await exchange.reader.readuntil(b"\r\n\r\n"))
        exchange.close()

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=ONCE) as proxy:
        assert (await proxy.ask(request(method=method))).status == 200
        assert (await proxy.ask(request(method=method))).status == 502
        assert len(seen) == 2
        assert (await proxy.record(2)).trace[0].result == FailureKind.STALE_CONNECTION.value
        assert proxy.core.counters.attempts == 2


async def test_a_reset_on_a_fresh_connection_is_held_against_the_instance() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=ONCE) as proxy:
        assert (await proxy.ask()).status == 502
        assert (await proxy.record()).trace[0].result == FailureKind.RESET.value
        assert [circuit.consecutive_failures for circuit in proxy.core.circuits()] == [1]


async def test_an_instance_that_is_not_there() -> None:
    gone = Instance(KEY, "orders", "127.0.0.1", free_port())
    async with running_proxy(gone, route=ONCE) as proxy:
        response = await proxy.ask(request(method="POST"))
        assert response.status == 502
        assert b"upstream_unreachable" in response.body
        assert str(gone.port).encode() not in response.body
        assert (await proxy.record()).trace[0].result == FailureKind.CONNECT_FAILURE.value
    async with ScriptedUpstream() as upstream, running_proxy(gone, upstream) as proxy:
        for _ in range(4):
            assert (await proxy.ask(request(method="POST", body=b"x"))).status == 200, "nothing had been sent"


async def test_an_instance_that_does_not_accept() -> None:
    policy = ServicePolicy("", connect=Connect(timeout=0.1))
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as fillers:
        address = deaf.getsockname()
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        instance = Instance(KEY, "orders", *address)
        async with running_proxy(instance, route=ONCE, policy=policy) as proxy:
            began = asyncio.get_running_loop().time()
            response = await proxy.ask()
            assert response.status == 502
            assert b"upstream_unreachable" in response.body
            assert 0.1 - 0.002 < asyncio.get_running_loop().time() - began < 1  # the loop counts in milliseconds


async def test_idle_connections_go_after_their_time() -> None:
    policy = ServicePolicy("", connect=Connect(timeout=2.0, keep_alive=0.1))
    async with ScriptedUpstream() as upstream, running_proxy(upstream, policy=policy) as proxy:
        assert (await proxy.ask()).status == 200
        await asyncio.wait_for(upstream.left.wait(), 2)
        assert proxy.upstream.idle_connections == {("127.0.0.1", upstream.port): 0}


async def test_who_left_is_let_go_and_requests_in_flight_finish() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/slow":
            await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request("/slow"))
        await upstream.arrived.wait()
        assert (await proxy.ask(request("/quick"))).status == 200
        assert upstream.open_connections == 2
        proxy.upstream.retain([("127.0.0.1", 1)])
        await asyncio.wait_for(upstream.left.wait(), 2)
        assert upstream.open_connections == 1
        assert proxy.upstream.idle_connections == {}
        upstream.left.clear()
        go_on.set()
        assert (await client.response()).status == 200
        await asyncio.wait_for(upstream.left.wait(), 2)
        assert upstream.open_connections == 0


async def test_who_stays_keeps_its_connections() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        for _ in range(2):
            assert (await proxy.ask()).status == 200
            proxy.upstream.retain([("127.0.0.1", upstream.port)])
        assert upstream.connections == 1


async def test_new_connect_settings_make_new_connections() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask()).status == 200
        proxy.conductor.apply_policies({"orders": ServicePolicy("orders", 2, connect=Connect(timeout=1.5))})
        assert (await proxy.ask()).status == 200
        assert upstream.connections == 2
