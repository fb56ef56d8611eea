"""WebSocket tunnels: who gets one, what passes through it, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from gateway.core.model import Instance, InstanceKey, Outcome, RetryPolicy, Timeouts
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.upstreams import Exchange, ScriptedUpstream, request, saying

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)

ONCE = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=1))
WsHandler = Callable[[web.WebSocketResponse], Awaitable[None]]


@asynccontextmanager
async def websocket_instance(handler: WsHandler) -> AsyncIterator[Instance]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=("chat",), max_msg_size=0)
        await ws.prepare(request)
        await handler(ws)
        return ws

    server = web.Server(handle)
    sockets = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        port = sockets.sockets[0].getsockname()[1]
        yield Instance(InstanceKey("dc1", "node", "ws"), "orders", "127.0.0.1", port)
    finally:
        sockets.close()
        await server.shutdown(0.1)


async def echo(ws: web.WebSocketResponse) -> None:
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)


def url(proxy: RunningProxy) -> str:
    return f"http://127.0.0.1:{proxy.port}/ws"


async def test_messages_of_all_sizes_pass_both_ways() -> None:
    async with (
        websocket_instance(echo) as instance,
        running_proxy(instance) as proxy,
        aiohttp.ClientSession() as session,
    ):
        async with session.ws_connect(url(proxy), protocols=("chat",), max_msg_size=0, compress=15) as ws:
            assert ws.protocol == "chat"
            await ws.send_str("héllo")
            assert await ws.receive_str() == "héllo"
            for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
                await ws.send_bytes(b"x" * size)
                assert len(await ws.receive_bytes()) == size
            await ws.ping(b"are you there")
            await ws.send_str("after the ping")
            assert await ws.receive_str() == "after the ping"
            await ws.close()
        record = await proxy.record()
        assert (record.status, record.outcome) == (101, Outcome.RESPONDED)
        assert proxy.outcome(Outcome.RESPONDED) == 1


async def test_the_instance_closes_with_its_code() -> None:
    async def leave(ws: web.WebSocketResponse) -> None:
        await ws.send_str("last words")
        await ws.close(code=4002, message=b"done")

    async with (
        websocket_instance(leave) as instance,
        running_proxy(instance) as proxy,
        aiohttp.ClientSession() as session,
    ):
        async with session.ws_connect(url(proxy)) as ws:
            assert await ws.receive_str() == "last words"
            message = await ws.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4002, "done")
        assert (await proxy.record()).outcome is Outcome.RESPONDED


async def test_the_client_closes_with_its_code() -> None:
    async def listen(ws: web.WebSocketResponse) -> None:
        await ws.receive()
        codes.put_nowait(ws.close_code)

    codes: asyncio.Queue[int | None] = asyncio.Queue()
    async with (
        websocket_instance(listen) as instance,
        running_proxy(instance) as proxy,
        aiohttp.ClientSession() as session,
    ):
        async with session.ws_connect(url(proxy)) as ws:
            await ws.close(code=4003)
        assert await asyncio.wait_for(codes.get(), 5) == 4003


@pytest.mark.parametrize("who", ["client", "instance"])
async def test_when_one_side_vanishes_the_other_is_let_go(who: str) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(SWITCH)
        if who == "instance":
            await go_on.wait()
            exchange.reset()
        else:
            await exchange.until_closed()
            gone.set()

    go_on, gone = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            await client.say(request("/", *UPGRADE))
            assert (await client.head()).status == 101
            if who == "instance":
                go_on.set()
                assert await client.closed()
        if who == "client":
            await asyncio.wait_for(gone.wait(), 5)
        assert (await proxy.record()).outcome is Outcome.RESPONDED


async def test_bytes_right_behind_the_handshake_pass_unchanged() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(SWITCH + b"\x81\x02hi")
        assert await exchange.reader.readexactly(8) == b"\x00\xffearly!"
        await exchange.say(b"\x82\x02ok")
        exchange.close()

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request("/", *UPGRADE) + b"\x00\xffearly!")
        head = await client.head()
        assert head.status == 101
        assert head.value("upgrade") == "websocket"
        assert head.value("connection") == "Upgrade"
        assert head.value("sec-websocket-accept") == "ICX+Yqv66kxgM0FcWaLWlFLwTAI="
        assert await client.rest() == b"\x81\x02hi\x82\x02ok"
        assert upstream.last.value("connection") == "Upgrade"
        assert upstream.last.value("upgrade") == "websocket"
        assert upstream.last.value("sec-websocket-key") == "AAAAAAAAAAAAAAAAAAAAAA=="


async def test_a_refused_handshake_is_an_ordinary_response() -> None:
    said = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    async with (
        ScriptedUpstream(saying(said)) as upstream,
        running_proxy(upstream) as proxy,
        await proxy.connect() as client,
    ):
        response = await client.ask(request("/a", *UPGRADE) + request("/b"))
        assert (response.status, response.body) == (403, b"no")
        assert (await client.response()).status == 403
        assert [received.target for received in upstream.requests] == ["/a", "/b"]


@pytest.mark.parametrize(
    "lines",
    [
        ("Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Upgrade: websocket", "Connection: Upgrade"),
        ("Upgrade: websocket, h2c", "Connection: Upgrade", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    ],
    ids=["no Connection", "no key", "two protocols"],
)
async def test_no_handshake_no_tunnel(lines: tuple[str, ...]) -> None:
    async with ScriptedUpstream(saying(SWITCH)) as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request("/", *lines))).status == 502
        assert upstream.last.value("upgrade") is None


async def test_a_route_without_websocket_gives_none() -> None:
    route = replace(DEFAULT_ROUTE, websocket=False)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
        assert (await proxy.ask(request("/", *UPGRADE))).status == 200
        assert upstream.last.value("upgrade") is None
        upstream.script = saying(SWITCH)
        assert (await proxy.ask(request("/", *UPGRADE))).status == 502


async def test_another_protocol_than_the_one_asked_for_is_502() -> None:
    said = SWITCH.replace(b"WebSocket", b"tls")
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request("/", *UPGRADE))).status == 502


async def test_two_silent_sides_are_parted() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(SWITCH)
        for _ in range(5):
            await asyncio.sleep(0.1)
            await exchange.say(b"x")
        await exchange.until_closed()
        exchange.close()

    route = replace(DEFAULT_ROUTE, timeouts=Timeouts(attempt=0.1, idle=0.3))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request("/", *UPGRADE))
        assert (await client.head()).status == 101
        assert await client.rest() == b"xxxxx"
        await upstream.left.wait()


async def test_a_side_that_does_not_read_holds_the_other_back() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.writer.write(SWITCH)
        try:
            while True:
                await exchange.say(b"x" * 65536)
                sent.append(65536)
        except ConnectionError:
            return

    sent: list[int] = []
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect(limit=4096) as client:
            await client.say(request("/", *UPGRADE))
            assert (await client.head()).status == 101
            before = -1
            async with asyncio.timeout(10):
                while before != sum(sent):
                    before = sum(sent)
                    await asyncio.sleep(0.2)
            assert before < 50_000_000
            await client.reader.readexactly(20_000_000)
        await upstream.left.wait()


@pytest.mark.parametrize(
    "accept",
    [
        b"",
        b"Sec-WebSocket-Accept: x\r\n",
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        b"Sec-WebSocket-Accept: icx+yqv66kxgm0fcwalwlflwtai=\r\n",
    ],
    ids=["none", "nonsense", "the key", "in lower case"],
)
async def test_no_tunnel_to_an_instance_that_did_not_read_the_handshake(accept: bytes) -> None:
    """RFC 6455 §4.1: or else what the client says next would be requests to it, which nobody has seen."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept + b"\r\n"
    async with ScriptedUpstream(saying(switch)) as upstream, running_proxy(upstream, route=ONCE) as proxy:
        assert (await proxy.ask(request("/", *UPGRADE))).status == 502
        assert len(upstream.requests) == 1
