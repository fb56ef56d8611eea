"""Key sets over HTTP: small, direct, in time, and never from an address that is denied."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiohttp import web

from gateway.discovery.addresses import AddressPolicy
from gateway.pipeline.authentication import LoadFailed
from gateway.proxy import fetching
from gateway.proxy.fetching import Fetcher
from tests.support.ports import free_port

BODY = b'{"keys": []}'
LIMIT = 1000


async def answer(ended: asyncio.Event, request: web.BaseRequest) -> web.StreamResponse:
    match request.path:
        case "/moved":
            raise web.HTTPFound("/good")
        case "/large":
            return web.Response(body=bytes(LIMIT + 1))
        case "/largest":
            return web.Response(body=bytes(LIMIT))
        case "/endless":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for _ in range(LIMIT):
                await response.write(bytes(LIMIT))
            return response
        case "/bomb":
            return web.Response(body=gzip.compress(bytes(10_000_000))[:LIMIT], headers={"Content-Encoding": "gzip"})
        case "/silent":
            await ended.wait()
        case "/broken":
            assert request.transport is not None
            request.transport.abort()
    return web.Response(body=BODY, status=200 if request.path == "/good" else 404)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    ended = asyncio.Event()
    runner = web.ServerRunner(web.Server(partial(answer, ended)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    ended.set()
    await runner.cleanup()


@pytest.fixture
async def fetch() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(AddressPolicy().check)
    yield fetcher
    await fetcher.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_what_there_is(fetch: Fetcher, port: int, host: str) -> None:
    assert await fetch(f"http://{host}:{port}/good", limit=LIMIT) == BODY
    assert len(await fetch(f"http://{host}:{port}/largest", limit=LIMIT)) == LIMIT


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/moved", "answered with 302"),
        ("/missing", "answered with 404"),
        ("/large", "the answer is larger than 1000 bytes"),
        ("/endless", "the answer is larger than 1000 bytes"),
        ("/silent", "no answer within 0.2 s"),
        ("/broken", "Server disconnected"),
    ],
)
async def test_what_is_not_taken(
    fetch: Fetcher, port: int, path: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    with pytest.raises(LoadFailed, match=reason):
        await fetch(f"http://127.0.0.1:{port}{path}", limit=LIMIT)


async def test_nothing_is_decompressed(fetch: Fetcher, port: int) -> None:
    assert (await fetch(f"http://127.0.0.1:{port}/bomb", limit=LIMIT)).startswith(b"\x1f\x8b")


async def test_nobody_there(fetch: Fetcher) -> None:
    with pytest.raises(LoadFailed, match="Cannot connect"):
        await fetch(f"http://127.0.0.1:{free_port()}/", limit=LIMIT)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0", "0xa9fea9fe"])
async def test_addresses_that_are_denied(fetch: Fetcher, host: str) -> None:
    with pytest.raises(LoadFailed, match=r"denied network|neither an IP address nor a host name"):
        await fetch(f"http://{host}/latest/meta-data", limit=LIMIT)


async def test_names_of_addresses_that_are_denied(port: int) -> None:
    def check(address: str) -> None:
        if address in {"127.0.0.1", "::1"}:
            raise ValueError("in a denied network")

    fetch = Fetcher(check)
    with pytest.raises(LoadFailed, match=r"localhost.*an address that is in a denied network"):
        await fetch(f"http://localhost:{port}/good", limit=LIMIT)
    await fetch.close()
