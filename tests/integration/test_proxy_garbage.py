"""A request leaves nothing that only the garbage collector can take away: it holds all up while it looks, the longer
the more there is. (A response that breaks off does: the error holds the stream, and its traceback who read there.)"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from gateway.core.model import CircuitPolicy, Connect, ServicePolicy
from tests.integration.test_proxy_websocket import SWITCH, UPGRADE
from tests.support.proxies import running_proxy
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, request

TIMES = 5
FORGIVING = ServicePolicy(
    "", circuit=CircuitPolicy(consecutive_failures=0, failure_ratio=0.0), connect=Connect(timeout=2.0)
)
Play = Callable[[LiteralClient], Awaitable[None]]


async def script(exchange: Exchange) -> None:
    target = exchange.request.target
    if target == "/pieces":
        await exchange.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await asyncio.sleep(0.005)  # for the gateway to have passed that on
        await exchange.say(b"2\r\nok\r\n0\r\n\r\n")
    elif target == "/reset":
        exchange.reset()
    elif target == "/nonsense":
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    elif target == "/ws":
        await exchange.say(SWITCH)
        await exchange.say(await exchange.reader.readexactly(4))
        await exchange.until_closed()
    else:
        await exchange.read_body()
        await exchange.say(OK)


async def a_plain_request(client: LiteralClient) -> None:
    assert (await client.ask(request("/"))).status == 200


async def a_body(client: LiteralClient) -> None:
    assert (await client.ask(request("/", method="POST", body=b"body"))).status == 200


async def a_body_in_pieces(client: LiteralClient) -> None:
    await client.say(request("/", "Content-Length: 4", method="POST") + b"bo")
    await asyncio.sleep(0.005)  # for the gateway to have passed that on
    await client.say(b"dy")
    assert (await client.response()).status == 200


async def a_response_in_pieces(client: LiteralClient) -> None:
    assert (await client.ask(request("/pieces"))).body == b"okok"


async def an_instance_that_resets(client: LiteralClient) -> None:
    assert (await client.ask(request("/reset"))).status == 502


async def an_instance_that_talks_nonsense(client: LiteralClient) -> None:
    assert (await client.ask(request("/nonsense"))).status == 502


async def a_refusal(client: LiteralClient) -> None:
    assert (await client.ask(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")).status == 400


async def no_http(client: LiteralClient) -> None:
    assert (await client.ask(b"hello\r\n\r\n")).status == 400


async def a_tunnel(client: LiteralClient) -> None:
    await client.say(request("/ws", *UPGRADE) + b"ping")
    assert (await client.head()).status == 101
    assert await client.reader.readexactly(4) == b"ping"


async def a_client_that_leaves(client: LiteralClient) -> None:
    await client.say(request("/", "Content-Length: 4", method="POST") + b"bo")
    await asyncio.sleep(0.005)  # for the gateway to have passed that on


PLAYS: list[Play] = [
    a_plain_request,
    a_body,
    a_body_in_pieces,
    a_response_in_pieces,
    an_instance_that_resets,
    an_instance_that_talks_nonsense,
    a_refusal,
    no_http,
    a_tunnel,
    a_client_that_leaves,
]


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
async def test_nothing_is_left_to_the_collector(play: Play) -> None:
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, policy=FORGIVING) as proxy:

        async def once() -> None:
            async with await LiteralClient.connect(proxy.port) as client:
                await play(client)
            while proxy.listener.connections:
                await asyncio.sleep(0.001)

        await once()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(TIMES):
                await once()
            gc.collect()
            found = Counter(type(each) for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert not {cls.__qualname__: count for cls, count in found.items() if cls.__module__.startswith("gateway.")}
