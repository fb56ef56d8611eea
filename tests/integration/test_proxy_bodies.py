"""Request bodies: limits, expectations, slow and stalled ones, early answers, replay for another instance."""

import asyncio
from dataclasses import replace

import pytest

from gateway.core.model import FailureKind, Limits, Outcome, Reason, RetryPolicy, Timeouts
from tests.support.proxies import DEFAULT_ROUTE, OPTIONS, running_proxy
from tests.support.upstreams import Exchange, ScriptedUpstream, answer_ok, request, saying

CHUNKED = request("/", "Transfer-Encoding: chunked", method="PUT")
LIMITED = replace(DEFAULT_ROUTE, limits=Limits(body=10))


async def reset_at_once(exchange: Exchange) -> None:
    exchange.reset()


async def reset_after_body(exchange: Exchange) -> None:
    await exchange.read_body()
    exchange.reset()


async def test_a_length_over_the_limit_is_413_before_anything_is_read() -> None:
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=LIMITED) as proxy,
        await proxy.connect() as client,
    ):
        response = await client.ask(request("/", "Content-Length: 11", "Expect: 100-continue", method="PUT"))
        assert response.status == 413
        assert response.value("connection") == "close"
        assert not upstream.requests


async def test_a_chunked_body_over_the_limit_is_413_and_frees_the_upstream() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=LIMITED) as proxy:
        for at_once in (True, False):
            async with await proxy.connect() as client:
                await client.say(CHUNKED + b"8\r\n12345678\r\n")
                if not at_once:
                    await upstream.arrived.wait()
                await client.say(b"8\r\n12345678\r\n" + (b"0\r\n\r\n" if at_once else b""))
                assert (await client.response()).status == 413
                assert await client.closed()
        assert [record.reason for record in await proxy.records.wait_for(2)] == [Reason.BODY_TOO_LARGE] * 2
        assert [circuit.consecutive_failures for circuit in proxy.core.circuits()] == [0]


async def test_a_body_at_the_limit_passes() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=LIMITED) as proxy:
        assert (await proxy.ask(request(method="PUT", body=b"0123456789"))).status == 200
        assert (await proxy.ask(CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n")).status == 200


@pytest.mark.parametrize("prompt", [True, False])
async def test_a_refused_body_that_came_with_its_head_ends_no_connection(prompt: bool) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=LIMITED, options=replace(OPTIONS, prompt=prompt)) as proxy,
        await proxy.connect() as client,
    ):
        response = await client.ask(request(method="PUT", body=b"x" * 11) + request("/next"))
        assert (response.status, response.value("connection")) == (413, None)
        assert (await client.response()).status == 200
        assert [each.target for each in upstream.requests] == ["/next"]


async def test_a_chunked_body_that_came_with_its_head_is_sent_with_its_length() -> None:
    """On a kept connection too, which is there before the next turn of the loop."""
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask()).status == 200
        assert (await proxy.ask(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")).status == 200
        assert (upstream.last.value("content-length"), upstream.last.body) == ("5", b"hello")


async def test_the_client_is_asked_for_its_body_when_it_is_wanted() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request("/", "Content-Length: 5", "Expect: 100-continue", method="PUT"))
        assert (await client.head()).status == 100
        assert upstream.requests, "the upstream is there before the body is asked for"
        await client.say(b"hello")
        assert (await client.response()).status == 200
        assert upstream.last.body == b"hello"
        assert upstream.last.value("expect") is None


async def test_nobody_is_asked_for_a_body_that_is_not_wanted() -> None:
    async with running_proxy() as proxy, await proxy.connect() as client:
        response = await client.ask(request("/", "Content-Length: 5", "Expect: 100-continue", method="PUT"))
        assert response.status == 503
        assert response.value("connection") == "close"


async def test_nobody_is_asked_who_has_sent_already() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request("/", "Expect: 100-continue", method="PUT", body=b"hello"))).status == 200


async def test_a_stalled_body_is_408_and_frees_the_upstream() -> None:
    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(idle=0.1))
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request("/", "Content-Length: 10", method="PUT") + b"hello")
        assert (await client.response()).status == 408
        assert await client.closed()
        await upstream.left.wait()
        assert [circuit.consecutive_failures for circuit in proxy.core.circuits()] == [0]


async def test_a_dribbled_body_is_408() -> None:
    options = replace(OPTIONS, body_grace=0.1, body_rate=1000.0)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request("/", "Content-Length: 1000", method="PUT"))

        async def dribble() -> None:
            while True:
                await client.say(b"x")
                await asyncio.sleep(0.02)

        dribbling = asyncio.ensure_future(dribble())
        assert (await client.response()).status == 408
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)


async def test_an_upload_may_take_longer_than_an_attempt() -> None:
    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(request=0.2, attempt=0.1, idle=5))
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request("/", "Content-Length: 4", method="PUT"))
        for _ in range(4):
            await asyncio.sleep(0.1)
            await client.say(b"x")
        assert (await client.response()).status == 200


async def test_after_the_upload_the_clock_runs() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.until_closed()

    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(request=5, attempt=0.1, idle=5))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request("/", "Content-Length: 4", method="PUT"))
        await upstream.arrived.wait()
        await client.say(b"1234")
        assert (await client.response()).status == 504


async def test_an_instance_that_stops_taking_the_body_is_504() -> None:
    async def script(exchange: Exchange) -> None:
        await never.wait()

    never = asyncio.Event()
    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(idle=0.2))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        sending = asyncio.ensure_future(client.say(request(method="POST", body=b"x" * 50_000_000)))
        assert (await client.response()).status == 504
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert (await proxy.record()).trace[0].result == FailureKind.TIMEOUT.value


async def test_an_early_answer_counts_and_ends_the_connections() -> None:
    said = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"

    async def script(exchange: Exchange) -> None:
        await exchange.say(said)

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request("/", "Content-Length: 10", method="PUT") + b"hello")
        response = await client.response()
        assert (response.status, response.body) == (403, b"no")
        assert response.value("connection") == "close"
        assert proxy.upstream.idle_connections == {("127.0.0.1", upstream.port): 0}
        await upstream.left.wait()
        assert await client.closed()


async def test_both_directions_stream_at_once() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            line = await exchange.reader.readuntil(b"\r\n")
            data = await exchange.reader.readuntil(b"\r\n")
            await exchange.say(line + data)
            if line == b"0\r\n":
                return

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(CHUNKED)
        assert (await client.head()).status == 200
        for word in (b"one", b"two", b"six"):
            await client.say(b"3\r\n" + word + b"\r\n")
            assert await client.reader.readexactly(8) == b"3\r\n" + word + b"\r\n"
        await client.say(b"0\r\n\r\n")
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked", "streamed"])
async def test_a_kept_body_is_sent_to_another_instance(framing: str) -> None:
    async with (
        ScriptedUpstream(reset_after_body if framing != "streamed" else reset_at_once, name="a") as first,
        ScriptedUpstream(name="b") as second,
        running_proxy(first, second) as proxy,
        await proxy.connect() as client,
    ):
        for _ in range(2):
            if framing == "length":
                await client.say(request(method="PUT", body=b"hello"))
            else:
                await client.say(CHUNKED + b"5\r\nhello\r\n")
                if framing == "streamed":
                    await proxy.wait_for_attempts(1)
                await client.say(b"0\r\n\r\n")
            assert (await client.response()).status == 200
            assert second.last.body == b"hello"
        assert len(first.requests) == 1
        assert len(second.requests) == 2
        assert sorted(record.attempts for record in await proxy.records.wait_for(2)) == [1, 2]


async def test_a_body_beyond_the_buffer_is_sent_once() -> None:
    route = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=2, buffer=4))
    async with (
        ScriptedUpstream(reset_after_body, name="a") as first,
        ScriptedUpstream(reset_after_body, name="b") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        assert (await proxy.ask(request(method="PUT", body=b"hello"))).status == 502
        assert (await proxy.ask(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")).status == 502
        assert len(first.requests) + len(second.requests) == 2
        assert (await proxy.ask(request(method="PUT", body=b"hell"))).status == 502
        assert len(first.requests) + len(second.requests) == 4


async def test_a_status_is_retried_elsewhere_and_the_last_one_delivered() -> None:
    route = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=3, on_statuses=frozenset({503})))
    unwell = saying(b"HTTP/1.1 503 Unwell\r\nContent-Length: 2\r\n\r\nno")
    async with (
        ScriptedUpstream(unwell, name="a") as first,
        ScriptedUpstream(answer_ok, name="b") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        for _ in range(2):
            assert (await proxy.ask()).status == 200
        second.script = unwell
        response = await proxy.ask()
        assert (response.status, response.body) == (503, b"no")
        assert (await proxy.record(3)).outcome is Outcome.RESPONDED
