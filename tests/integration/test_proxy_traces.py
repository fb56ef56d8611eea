"""The trace context on its way through the data plane, and the times that are told of a request."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.core.model import FailureKind, Limits, Outcome, RetryPolicy
from gateway.proxy.options import ProxyOptions
from gateway.telemetry.records import RequestRecord
from gateway.telemetry.trace_context import TraceContext
from tests.support.proxies import DEFAULT_ROUTE, OPTIONS, running_proxy
from tests.support.upstreams import OK, Exchange, ReceivedRequest, ScriptedUpstream, request

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"
TRUSTING = replace(OPTIONS, trusted_hops=(ip_network("127.0.0.0/8"),))


def _sent(received: ReceivedRequest) -> tuple[str, str, str]:
    """Trace, parent and flags of the one `traceparent`."""
    (value,) = received.values("traceparent")
    version, trace, parent, flags = value.split("-")
    assert version == "00"
    return trace, parent, flags


def _context(record: RequestRecord) -> TraceContext:
    assert record.context is not None
    return record.context


@pytest.mark.parametrize(
    ("options", "flags"), [(OPTIONS, "00"), (replace(OPTIONS, trace_ratio=1.0), "01"), (TRUSTING, "01")]
)
async def test_a_trace_goes_on_with_the_attempts_span_as_the_parent(options: ProxyOptions, flags: str) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, options=options) as proxy:
        await proxy.ask(request("/", PARENT, "TraceState: a=1", "tracestate: b=2"))
        record = await proxy.record()
        assert _sent(upstream.last) == (TRACE, record.trace[0].span_id, flags)
        assert upstream.last.values("tracestate") == ["a=1,b=2"]
        assert (_context(record).trace_id, _context(record).parent_id) == (TRACE, SPAN)


async def test_an_invalid_one_is_replaced() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, options=TRUSTING) as proxy:
        await proxy.ask(request("/", PARENT, PARENT, "tracestate: a=1"))
        record = await proxy.record()
        assert _sent(upstream.last) == (_context(record).trace_id, record.trace[0].span_id, "00")
        assert _context(record).trace_id != TRACE
        assert upstream.last.values("tracestate") == []


async def test_each_attempt_has_its_own_span() -> None:
    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    route = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=2))
    async with (
        ScriptedUpstream(reset, name="orders-1") as first,
        ScriptedUpstream(name="orders-2") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        for _ in range(2):
            await proxy.ask(request("/", PARENT))
        record = next(record for record in await proxy.records.wait_for(2) if len(record.trace) == 2)
        failed, answered = record.trace
        assert [each.result for each in record.trace] == [FailureKind.RESET.value, 200]
        assert _sent(first.last)[1] == failed.span_id
        assert answered.span_id in [_sent(received)[1] for received in second.requests]
        assert len({failed.span_id, answered.span_id, _context(record).span_id, SPAN}) == 4
        assert answered.began >= failed.began + failed.duration
        assert (failed.first_byte, answered.view_age) == (None, 1.5)


async def test_refusals_are_of_a_trace_too() -> None:
    async with running_proxy() as proxy:
        await proxy.ask(request("/", PARENT))
        assert _context(await proxy.record()).trace_id == TRACE
        await proxy.ask(b"GET / HTTP/1.1\r\nHost: a b\r\n" + PARENT.encode() + b"\r\n\r\n")
        record = await proxy.record(2)
        assert (record.status, _context(record).trace_id, record.facts) == (400, TRACE, None)


async def test_times_are_those_of_what_was_waited_for() -> None:
    """The instance lets each head, and each end, wait until the test says so."""
    head, end = asyncio.Event(), asyncio.Event()
    arrived: asyncio.Queue[None] = asyncio.Queue()

    async def script(exchange: Exchange) -> None:
        arrived.put_nowait(None)
        await head.wait()
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await end.wait()
        await exchange.say(b"cd")

    route = replace(DEFAULT_ROUTE, limits=Limits(in_flight=1, queue=1, queue_timeout=10.0))
    loop = asyncio.get_running_loop()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=route) as proxy:
        asked = [asyncio.create_task(proxy.ask())]
        await arrived.get()
        asked.append(asyncio.create_task(proxy.ask()))
        while not proxy.conductor.waiting:
            await asyncio.sleep(0)
        loop.call_later(0.05, head.set)
        loop.call_later(0.1, end.set)
        assert [response.status for response in await asyncio.gather(*asked)] == [200, 200]
        first, second = await proxy.records.wait_for(2)
        (attempt,) = first.trace
        assert attempt.first_byte is not None
        assert first.queue < 0.04 <= attempt.first_byte < attempt.duration - 0.03
        assert second.queue >= 0.08
        assert second.duration >= second.queue + second.trace[0].duration
        assert second.trace[0].connect == 0 < attempt.connect, "it went out on the connection that was kept"


async def test_an_attempt_whose_client_leaves_has_its_times() -> None:
    arrived = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        arrived.set()
        await exchange.until_closed()

    async with ScriptedUpstream(silent) as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            await client.say(request())
            await arrived.wait()
        record = await proxy.record()
        (attempt,) = record.trace
        assert (record.outcome, attempt.result, attempt.first_byte) == (Outcome.ABANDONED, "abandoned", None)
        assert 0 < attempt.connect < attempt.duration <= record.duration


async def test_an_attempt_lasts_until_the_last_byte() -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.say(OK[:-1])
        exchange.close()

    async with ScriptedUpstream(cut) as upstream, running_proxy(upstream) as proxy:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await proxy.ask()
        record = await proxy.record()
        (attempt,) = record.trace
        assert attempt.first_byte is not None
        assert (record.outcome, attempt.result) == (Outcome.BROKEN, 200)
        assert attempt.duration > attempt.first_byte
