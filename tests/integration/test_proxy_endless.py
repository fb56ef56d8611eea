"""Clients that never come to an end, with what does not count as progress: each is bounded in time or in bytes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.model import Timeouts
from tests.support.proxies import DEFAULT_ROUTE, OPTIONS, running_proxy
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, request

HASTY = replace(OPTIONS, head_timeout=0.2, body_grace=0.2, lingering=0.2, keep_alive=0.5)
CHUNKED = b"POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n"


async def _until_refused(client: LiteralClient, first: bytes, more: bytes) -> int | None:
    """Sends `more` until the gateway answers; the status, or None where it only closed."""

    async def send() -> None:
        try:
            await client.say(first)
            while True:
                await client.say(more)
                await asyncio.sleep(0.001)
        except ConnectionError:
            return

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(8):
            return (await client.response()).status
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    finally:
        sending.cancel()


@pytest.mark.parametrize(
    ("first", "more", "status"),
    [
        (b"", b"\r\n", 408),
        (b"", b"A", 400),
        (b"GET /", b"a" * 4000, 414),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 50, 431),
        (b"GET / HTTP/1.1\r\nX: ", b"y" * 4000, 431),
        (b"GET / HTTP/1.1\r\nX", b"y" * 4000, 431),
        (CHUNKED, b"0" * 100, 408),
        (CHUNKED + b"5;", b"a" * 100, 408),
        (CHUNKED + b"5;", b"a" * 60_000, 400),
        (CHUNKED + b"0\r\n", b"X: y\r\n" * 50, 400),
        (CHUNKED + b"0\r\nX: ", b"y" * 4000, 400),
    ],
    ids=[
        "empty lines", "method", "target", "fields", "value", "name", "chunk size", "chunk extension",
        "fast chunk extension", "trailers", "trailer",
    ],
)  # fmt: skip
async def test_an_endless_request_ends(first: bytes, more: bytes, status: int) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=HASTY) as proxy,
        await proxy.connect() as client,
    ):
        assert await _until_refused(client, first, more) == status
        async with asyncio.timeout(5):
            while proxy.listener.connections or upstream.open_connections:
                await asyncio.sleep(0.01)
        assert not [received for received in upstream.requests if received.body]


async def test_who_is_refused_and_goes_on_behind_its_body_gets_the_answer() -> None:
    """A connection closed at the end of the body would be reset by what follows, and the answer be lost."""
    async with running_proxy() as proxy, await proxy.connect() as client:
        await client.say(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: money\r\nContent-Length: 5\r\n\r\n")
        assert (await client.response()).status == 417
        await client.say(b"hello")
        # Nothing more comes, but the connection is not reset.
        assert await client.reader.read() == b""
        for _ in range(3):
            await client.say(request())
        async with asyncio.timeout(5):
            assert proxy.listener.connections == 1
            client.writer.close()
            while proxy.listener.connections:
                await asyncio.sleep(0.01)


async def test_who_is_refused_and_does_not_leave_is_closed() -> None:
    async with running_proxy(options=HASTY) as proxy, await proxy.connect() as client:
        await client.say(b"NONSENSE\r\n\r\n")
        assert (await client.response()).status == 400
        await client.say(b"more of it")
        async with asyncio.timeout(2):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)


async def test_who_is_refused_and_does_not_leave_makes_room_for_others() -> None:
    options = replace(OPTIONS, max_connections=1)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(b"NONSENSE\r\n\r\n")
        assert (await client.response()).status == 400
        assert (await proxy.ask()).status == 200


async def test_pipelined_requests_wait_where_they_are() -> None:
    """While the first has no answer, not more is read than some."""

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(request=30, attempt=30))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        piece = request("/a") * 1000
        sent = 0
        try:
            while sent < 100 << 20:
                async with asyncio.timeout(1):
                    await client.say(piece)
                sent += len(piece)
        except TimeoutError:
            pass
        assert sent < 32 << 20, "what the buffers of two sockets take"
        assert len(upstream.requests) == 1
        go_on.set()
        for _ in range(100):
            assert (await client.response()).status == 200


async def test_a_body_of_chunks_of_a_byte_is_no_endless_one() -> None:
    """Five bytes in six are framing; with an extension of a signature's length, in a chunk of a usual size, few are."""
    small, signed = b"1\r\nx\r\n" * 50_000, b"2000;chunk-signature=" + b"a" * 64 + b"\r\n" + b"x" * 8192 + b"\r\n"
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(CHUNKED + small + b"0\r\n\r\n")).status == 200
        assert (await proxy.ask(CHUNKED + signed * 40 + b"0\r\n\r\n")).status == 200
        assert [len(each.body) for each in upstream.requests] == [50_000, 40 * 8192]
