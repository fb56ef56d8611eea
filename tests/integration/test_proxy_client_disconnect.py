"""A client that leaves, or does not read: the instance is freed at once, and nothing is held against it."""

import asyncio
import random
from dataclasses import replace

import pytest

from gateway.core.model import (
    Backend,
    CircuitMode,
    CircuitPolicy,
    Connect,
    Limits,
    Outcome,
    RetryPolicy,
    ServicePolicy,
    Timeouts,
)
from tests.support.proxies import DEFAULT_ROUTE, OPTIONS, running_proxy
from tests.support.upstreams import Exchange, ScriptedUpstream, answer_ok, request

HEAD = b"HTTP/1.1 200 OK\r\n"
FRAGILE = ServicePolicy("", connect=Connect(timeout=2.0), circuit=CircuitPolicy(consecutive_failures=1))

FORGIVING = ServicePolicy("", connect=Connect(timeout=2.0), circuit=CircuitPolicy(mode=CircuitMode.OFF))


async def hang(exchange: Exchange) -> None:
    await exchange.until_closed()
    exchange.close()


async def test_before_the_head_the_upstream_request_is_cancelled_at_once() -> None:
    async with ScriptedUpstream(hang) as upstream, running_proxy(upstream, policy=FRAGILE) as proxy:
        async with await proxy.connect() as client:
            await client.say(request())
            await upstream.arrived.wait()
        await asyncio.wait_for(upstream.left.wait(), 1)
        record = await proxy.record()
        assert (record.outcome, record.status, record.trace[0].result) == (Outcome.ABANDONED, None, "abandoned")
        assert [circuit.state.value for circuit in proxy.core.circuits()] == ["closed"]
        assert proxy.outcome(Outcome.ABANDONED) == 1


async def test_in_the_middle_of_a_response() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Length: 1000\r\n\r\nhello")
        await hang(exchange)

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, policy=FRAGILE) as proxy:
        async with await proxy.connect() as client:
            await client.say(request())
            await client.reader.readuntil(b"hello")
        await asyncio.wait_for(upstream.left.wait(), 1)
        record = await proxy.record()
        assert (record.outcome, record.status) == (Outcome.ABANDONED, 200)
        assert [circuit.state.value for circuit in proxy.core.circuits()] == ["closed"]


async def test_in_the_middle_of_its_body() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, policy=FRAGILE) as proxy:
        async with await proxy.connect() as client:
            await client.say(request("/", "Content-Length: 10", method="PUT") + b"hello")
            await upstream.arrived.wait()
        await asyncio.wait_for(upstream.left.wait(), 1)
        assert (await proxy.record()).outcome is Outcome.ABANDONED
        assert [circuit.state.value for circuit in proxy.core.circuits()] == ["closed"]


async def test_in_the_queue() -> None:
    route = replace(DEFAULT_ROUTE, limits=Limits(in_flight=1, queue=1, queue_timeout=30))
    async with (
        ScriptedUpstream(hang) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as first,
    ):
        await first.say(request("/first"))
        await upstream.arrived.wait()
        async with await proxy.connect() as second:
            await second.say(request("/second"))
            while not proxy.conductor.waiting:
                await asyncio.sleep(0)
        await proxy.records.wait_for(1)
        assert [load.queued for load in proxy.core.loads()] == [0]
        assert len(upstream.requests) == 1


async def test_a_freed_place_goes_to_who_waits() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/first":
            await hang(exchange)
        else:
            await answer_ok(exchange)

    route = replace(DEFAULT_ROUTE, limits=Limits(in_flight=1, queue=1, queue_timeout=30))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as second,
    ):
        async with await proxy.connect() as first:
            await first.say(request("/first"))
            await upstream.arrived.wait()
            await second.say(request("/second"))
            while not proxy.conductor.waiting:
                await asyncio.sleep(0)
        assert (await second.response()).status == 200


async def test_a_full_queue_and_a_slow_one() -> None:
    route = replace(DEFAULT_ROUTE, limits=Limits(in_flight=1, queue=1, queue_timeout=0.1))
    async with (
        ScriptedUpstream(hang) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as first,
        await proxy.connect() as second,
    ):
        await first.say(request())
        await upstream.arrived.wait()
        await second.say(request())
        while not proxy.conductor.waiting:
            await asyncio.sleep(0)
        full = await proxy.ask()
        assert full.status == 503
        assert b"queue_full" in full.body
        late = await second.response()
        assert late.status == 503
        assert b"queue_timeout" in late.body


async def endless(exchange: Exchange) -> None:
    await exchange.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            await exchange.say(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    except ConnectionError:
        return


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    options = replace(OPTIONS, write_timeout=0.2)
    async with (
        ScriptedUpstream(endless) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect(limit=1) as client,
    ):
        await client.say(request())
        await asyncio.wait_for(upstream.left.wait(), 10)
        record = await proxy.record()
        assert record.outcome is Outcome.ABANDONED
        assert record.bytes_out < 50_000_000


async def test_a_client_that_reads_is_not_cut_off_and_holds_the_instance_back() -> None:
    options = replace(OPTIONS, write_timeout=0.5)
    async with (
        ScriptedUpstream(endless) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect(limit=1) as client,
    ):
        await client.say(request())
        for _ in range(10):
            await asyncio.sleep(0.1)
            await client.reader.readexactly(1_000_000)
        assert proxy.listener.in_flight == 1


async def test_pipelined_answers_that_nobody_reads_are_cut_off() -> None:
    body = b"x" * 100_000

    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    options = replace(OPTIONS, write_timeout=0.2)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect(limit=1) as client,
    ):
        await client.say(request() * 1000)
        await asyncio.wait_for(upstream.left.wait(), 20)
        async with asyncio.timeout(10):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)
        assert len(upstream.requests) < 1000


async def test_a_complete_answer_that_nobody_reads_is_cut_off() -> None:
    body = b"x" * 20_000_000

    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    options = replace(OPTIONS, write_timeout=0.2)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect(limit=1) as client,
    ):
        await client.say(request())
        await proxy.record()
        async with asyncio.timeout(10):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)


async def test_a_small_rest_that_nobody_reads_is_cut_off() -> None:
    body = b"x" * 20_000

    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    options = replace(OPTIONS, write_timeout=0.2)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect(limit=1) as client,
    ):
        unread = 0
        while not unread:
            await client.say(request())
            await proxy.record(len(upstream.requests) + 1)
            server = proxy.listener._server
            assert server is not None
            (connection,) = server.open_connections
            assert connection.transport is not None
            unread = connection.transport.get_write_buffer_size()
        assert unread <= len(body) + 1000, "too little to make the proxy wait"
        async with asyncio.timeout(10):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(5))
async def test_every_ticket_ends_once_whatever_clients_do(seed: int) -> None:
    """The count itself is asserted when the proxy stops."""
    rng = random.Random(seed)

    async def script(exchange: Exchange) -> None:
        kind = rng.randrange(6)
        await asyncio.sleep(rng.random() * 0.01)
        if kind == 0:
            exchange.reset()
        elif kind == 1:
            await exchange.read_body()
            await exchange.say(HEAD + b"Content-Length: 9\r\n\r\nhal")
            exchange.close()
        elif kind == 2:
            await exchange.say(b"nonsense\r\n\r\n")
            exchange.close()
        elif kind == 3:
            await exchange.read_body()
            await exchange.say(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        else:
            await answer_ok(exchange)

    async def visit(number: int) -> None:
        async with await proxy.connect() as client:
            try:
                for _ in range(rng.randrange(1, 4)):
                    sent = request(
                        "/", method=rng.choice(["PUT", "POST", "GET"]), body=b"x" * rng.choice([0, 5, 100_000])
                    )
                    await client.say(sent[: rng.randrange(1, len(sent) + 1)] if rng.random() < 0.3 else sent)
                    await asyncio.sleep(rng.random() * 0.02)
                    if rng.random() < 0.5:
                        async with asyncio.timeout(0.05):
                            await client.response()
            except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                return

    route = replace(
        DEFAULT_ROUTE,
        backends=(Backend("orders"),),
        retry=RetryPolicy(on_statuses=frozenset({503})),
        limits=Limits(in_flight=8, queue=8, queue_timeout=0.02),
        timeouts=Timeouts(request=0.5, attempt=0.05, idle=0.1),
    )
    async with (
        ScriptedUpstream(script, name="a") as first,
        ScriptedUpstream(script, name="b") as second,
        running_proxy(first, second, route=route, policy=FORGIVING) as proxy,
    ):
        await asyncio.gather(*(visit(number) for number in range(100)))
        async with asyncio.timeout(10):
            while proxy.listener.in_flight:
                await asyncio.sleep(0.01)
        tickets = proxy.core.counters.tickets
        assert tickets > 20
        assert sum(proxy.core.counters.outcomes.values()) == tickets
        assert sum(1 for record in proxy.records.all if record.route) == tickets
        assert len({record.outcome for record in proxy.records.all}) >= 3
