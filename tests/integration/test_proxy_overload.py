"""More than one process or one client may ask for: refused early and cheaply, while the others are served as before."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from ipaddress import ip_network
from statistics import median

from gateway.core.model import Outcome, Reason
from tests.support.proxies import OPTIONS, RunningProxy, running_proxy
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, answer_ok, request

HEAD = b"HTTP/1.1 200 OK\r\n"


async def test_beyond_max_in_flight_new_requests_are_told_to_come_again() -> None:
    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    options = replace(OPTIONS, max_in_flight=2)
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, options=options) as proxy:
        waiting = [asyncio.create_task(proxy.ask()) for _ in range(2)]
        await proxy.wait_for_attempts(2)
        async with await proxy.connect() as client:
            response = await client.ask(request())
            assert (response.status, response.value("retry-after")) == (503, "1")
            assert json.loads(response.body)["type"] == "urn:alims-gateway:problem:overloaded"
            assert response.value("connection") is None, "a new connection would cost more than the refusal"
            record = await proxy.record()
            assert (record.reason, record.outcome, record.ticket) == (Reason.OVERLOADED, Outcome.REJECTED, None)
            go_on.set()
            assert [(await each).status for each in waiting] == [200, 200]
            assert (await client.ask(request())).status == 200
        assert len(upstream.requests) == 3


async def test_what_is_not_understood_is_refused_as_ever() -> None:
    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    options = replace(OPTIONS, max_in_flight=1)
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, options=options) as proxy:
        waiting = asyncio.create_task(proxy.ask())
        await proxy.wait_for_attempts(1)
        assert (await proxy.ask(request("/%zz"))).status == 400
        go_on.set()
        assert (await waiting).status == 200


async def test_responses_that_have_begun_do_not_count() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/":
            await answer_ok(exchange)
        else:
            await exchange.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
            await exchange.until_closed()

    options = replace(OPTIONS, max_in_flight=1)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as first,
        await proxy.connect() as second,
    ):
        for client in (first, second):
            await client.say(request("/stream"))
            assert (await client.head()).status == 200
        for _ in range(2):
            assert (await proxy.ask()).status == 200


async def test_accepted_requests_keep_their_latency_under_ten_times_the_load() -> None:
    """An instance that takes 20 ms, ten at a time: by ten clients, and then by a hundred that do not wait between."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await asyncio.sleep(0.02)
        await exchange.say(OK)

    options = replace(OPTIONS, max_in_flight=10)
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, options=options) as proxy:
        alone, refused = await _load(proxy, clients=10, seconds=1)
        assert not refused
        accepted, refused = await _load(proxy, clients=100, seconds=2)
        assert len(accepted) > len(alone) / 4, "those who are served are served on"
        assert len(refused) > len(accepted)
        assert median(accepted) < 5 * median(alone) + 0.1
        assert proxy.core.counters.tickets == len(alone) + len(accepted), "the others cost no ticket"


async def _load(proxy: RunningProxy, *, clients: int, seconds: float) -> tuple[list[float], list[float]]:
    """How long those took that were answered, and those that were refused."""
    accepted: list[float] = []
    refused: list[float] = []

    async def visit() -> None:
        async with await proxy.connect() as client:
            while time.perf_counter() < end:
                began = time.perf_counter()
                response = await client.ask(request())
                taken = time.perf_counter() - began
                if response.status == 200:
                    accepted.append(taken)
                else:
                    assert (response.status, response.value("retry-after")) == (503, "1")
                    refused.append(taken)
                    await asyncio.sleep(0.01)  # or else this process does nothing but refuse itself

    end = time.perf_counter() + seconds
    await asyncio.gather(*(visit() for _ in range(clients)))
    return accepted, refused


async def _served(client: LiteralClient) -> bool:
    try:
        return (await client.ask(request())).status == 200
    except (ConnectionError, asyncio.IncompleteReadError):
        return False


async def test_one_client_may_have_so_many_connections() -> None:
    options = replace(OPTIONS, max_connections_per_client=2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as first,
        await proxy.connect() as second,
    ):
        assert await _served(first)
        assert await _served(second)
        async with await proxy.connect() as third:
            assert not await _served(third)
        assert proxy.listener.connections_dropped == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=("127.0.0.2", 0))
        async with LiteralClient(reader, writer) as somebody_else:
            assert await _served(somebody_else)
        assert await _served(first), "those that were there stay"
        await first.__aexit__(None, None, None)
        async with asyncio.timeout(5):
            while proxy.listener.connections > 1:
                await asyncio.sleep(0.01)
        async with await proxy.connect() as again:
            assert await _served(again)


async def test_trusted_hops_bring_many_clients() -> None:
    options = replace(OPTIONS, max_connections_per_client=1, trusted_hops=(ip_network("127.0.0.0/8"),))
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as first,
        await proxy.connect() as second,
    ):
        assert await _served(first)
        assert await _served(second)
