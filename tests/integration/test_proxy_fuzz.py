"""Mutated requests and responses: whatever comes, an answer of HTTP or a closed connection, and no error of our own."""

import asyncio
import logging
import random

import pytest

from gateway.core.model import CircuitMode, CircuitPolicy, Connect, Outcome, ServicePolicy
from tests.support.proxies import running_proxy
from tests.support.upstreams import Exchange, LiteralClient, Response, ScriptedUpstream

LENIENT = ServicePolicy("", connect=Connect(timeout=2.0), circuit=CircuitPolicy(mode=CircuitMode.OFF))
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
ACCEPT = b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"
REQUESTS = [
    b"GET /a/b?c=d HTTP/1.1\r\nHost: gateway.test\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: gateway.test:8080\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"PUT /%7Ea/../b HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nX: y\r\n\r\n",
    b"GET http://gateway.test/a HTTP/1.1\r\nHost: gateway.test\r\nConnection: close, X-A\r\nX-A: 1\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + KEY + b"\r\n\x81\x02h",
    b'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=_x;by="[::1]"\r\nVia: 1.1 x\r\n\r\n',
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + ACCEPT + b"\r\n\x81\x02hi",
    b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nnothing",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nVia: 1.1 x\r\n\r\n",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\x00",
    b"\xff",
    b":",
    b",",
    b"%",
    b"/",
    b"#",
    b"@",
    b"[",
    b"chunked",
    b"0",
    b"-1",
]


def mutated(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data = data[:at] + rng.choice(PIECES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + rng.randrange(1, 6) :]
        elif kind == 2:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        else:
            data = data[:at] + data[at - rng.randrange(20) :]
    return data


async def answers(client: LiteralClient) -> list[Response]:
    """All that are complete within a moment."""
    received: list[Response] = []
    try:
        async with asyncio.timeout(0.1):
            while not (received and received[-1].status == 101):
                received.append(await client.response())
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        pass
    return received


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_messages(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(seed)

    async def script(exchange: Exchange) -> None:
        await exchange.say(mutated(rng, rng.choice(RESPONSES)))
        if rng.random() < 0.5:
            exchange.close()

    async def visit() -> None:
        async with await proxy.connect() as client:
            sent = b"".join(mutated(rng, rng.choice(REQUESTS)) for _ in range(rng.randrange(1, 4)))
            cut = rng.randrange(len(sent) + 1)
            try:
                await client.say(sent[:cut])
                await asyncio.sleep(0)
                await client.say(sent[cut:])
            except ConnectionError:
                return
            for response in await answers(client):
                assert 100 <= response.status <= 999
                assert response.status != 500 or b"internal_error" not in response.body

    caplog.set_level(logging.WARNING)
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, policy=LENIENT) as proxy:
        for _ in range(15):
            await asyncio.gather(*(visit() for _ in range(20)))
        assert proxy.outcome(Outcome.RESPONDED) > 20
        async with asyncio.timeout(10):
            while proxy.listener.connections:
                await asyncio.sleep(0.01)
    errors = [record for record in caplog.records if record.name.startswith(("gateway", "aiohttp", "asyncio"))]
    assert not errors, [record.getMessage() for record in errors]
