"""Hostile and odd responses, as literal bytes: what the client gets, what the circuit is told, what is reused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.core.model import CircuitPolicy, Connect, Outcome, Reason, RetryPolicy, ServicePolicy, Timeouts
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.upstreams import Exchange, ScriptedUpstream, answer_ok, request, saying

ONCE = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=1))
OPENS_AT_ONCE = ServicePolicy("", connect=Connect(timeout=2.0), circuit=CircuitPolicy(consecutive_failures=1))
HEAD = b"HTTP/1.1 200 OK\r\n"

BAD: list[tuple[str, bytes]] = [
    ("CL and TE", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("two lengths", HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("NUL", HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    ("bare CR", HEAD + b"X: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("control character", HEAD + b"X: a\x01b\r\nContent-Length: 0\r\n\r\n"),
    ("space in name", HEAD + b"X Y: a\r\nContent-Length: 0\r\n\r\n"),
    ("name with a space behind", HEAD + b"Content-Length : 3\r\n\r\nabc"),
    ("bad status line", b"HTTP/1.1 OK\r\n\r\n"),
    ("short status", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("field over the limit", HEAD + b"X: " + b"a" * 300_000 + b"\r\nContent-Length: 0\r\n\r\n"),
    ("fields over the limit", HEAD + (b"X: " + b"a" * 3000 + b"\r\n") * 100 + b"Content-Length: 0\r\n\r\n"),
    ("too many fields", HEAD + b"X: a\r\n" * 200 + b"Content-Length: 0\r\n\r\n"),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
    ("unasked 101", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello"),
    ("plain 101", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ("gzip, chunked", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("length -1", HEAD + b"Content-Length: -1\r\n\r\n"),
]


@pytest.mark.parametrize("said", [row[1] for row in BAD], ids=[row[0] for row in BAD])
async def test_what_is_no_response_is_502_and_counted(said: bytes) -> None:
    async with (
        ScriptedUpstream(saying(said)) as upstream,
        running_proxy(upstream, route=ONCE, policy=OPENS_AT_ONCE) as proxy,
        await proxy.connect() as client,
    ):
        response = await client.ask(request())
        assert response.status == 502
        assert response.value("connection") is None, "it was not the client's fault"
        record = await proxy.record()
        assert record.reason is Reason.UPSTREAM_RESET
        assert [circuit.state.value for circuit in proxy.core.circuits()] == ["open"]
        await upstream.left.wait()
        assert (await client.ask(request())).status == 503
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (HEAD + b"Content-Length: 5\r\nX: a\r\n b\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\nX: a b\n\nhello", b"hello"),
    ],
    ids=["obs-fold", "bare LF"],
)
async def test_lax_syntax_is_emitted_normalised(said: bytes, body: bytes) -> None:
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask()
        assert response.status == 200
        assert response.body == body
        assert response.value("x") == "a b"
        assert b"\n" not in response.head.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "said",
    [
        HEAD + b"Content-Length: 5\r\n\r\nhell",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["short", "chunked, short", "bad chunk end", "bad chunk size"],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_body_cut_short_is_never_a_clean_end(said: bytes, apart: bool) -> None:
    async def script(exchange: Exchange) -> None:
        head, _, body = said.partition(b"\r\n\r\n")
        await exchange.say(head + b"\r\n\r\n" + (b"" if apart else body))
        if apart:
            await go_on.wait()
            await exchange.say(body)
        exchange.close()

    go_on = asyncio.Event()
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, policy=OPENS_AT_ONCE) as proxy,
        await proxy.connect() as client,
    ):
        await client.say(request())
        if apart:
            assert (await client.head()).status == 200
            go_on.set()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.reader.readuntil(b"0\r\n\r\n" if b"chunked" in said else b"hello")
        else:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.response()
        record = await proxy.record()
        assert record.outcome is Outcome.BROKEN
        assert [circuit.state.value for circuit in proxy.core.circuits()] == ["open"]
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "extra",
    [b"EXTRA", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["garbage", "response", "endless response"],
)
async def test_extra_bytes_cost_the_connection_and_poison_nothing(apart: bool, extra: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        if len(upstream.requests) > 1:
            await answer_ok(exchange)
            return
        answer = HEAD + b"Content-Length: 5\r\n\r\nhello"
        if apart:
            await exchange.say(answer)
            await go_on.wait()
            await exchange.say(extra)
        else:
            await exchange.say(answer + extra)
        said.set()

    said, go_on = asyncio.Event(), asyncio.Event()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        response = await client.ask(request())
        assert (response.status, response.body) == (200, b"hello")
        go_on.set()
        await said.wait()
        await asyncio.sleep(0.05)
        response = await client.ask(request())
        assert (response.status, response.body) == (200, b"ok")
        assert upstream.connections == 2


async def test_a_body_to_head_is_dropped_with_its_connection() -> None:
    said = HEAD + b"Content-Length: 5\r\n\r\nhello"
    async with (
        ScriptedUpstream(saying(said)) as upstream,
        running_proxy(upstream) as proxy,
        await proxy.connect() as client,
    ):
        for _ in range(2):
            response = await client.ask(request(method="HEAD"), method="HEAD")
            assert response.status == 200
            assert response.value("content-length") == "5"
        assert (await client.ask(request())).body == b"hello"
        assert upstream.connections == 3


async def test_head_204_and_304_keep_connections() -> None:
    async def script(exchange: Exchange) -> None:
        answers = {
            "/head": HEAD + b"Content-Length: 5\r\n\r\n",
            "/chunked-head": HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
            "/204": b"HTTP/1.1 204 No Content\r\n\r\n",
            "/204-length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "/304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
        }
        await exchange.say(answers[exchange.request.target])

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        response = await client.ask(request("/head", method="HEAD"), method="HEAD")
        assert (response.status, response.value("content-length")) == (200, "5")
        response = await client.ask(request("/chunked-head", method="HEAD"), method="HEAD")
        assert (response.status, response.value("content-length")) == (200, None)
        for target in ("/204", "/204-length"):
            response = await client.ask(request(target))
            assert (response.status, response.value("content-length")) == (204, None)
            assert response.value("transfer-encoding") is None
        response = await client.ask(request("/304"))
        assert (response.status, response.value("content-length"), response.value("etag")) == (304, "5", "x")
        assert upstream.connections == 1


async def test_nothing_is_invented() -> None:
    said = HEAD + b"Content-Length: 2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Bytes: caf\xe9 \xc3\xa9\r\n\r\nok"
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask()
        assert {name for name, _ in response.fields} == {"content-length", "date", "via", "x-bytes", "x-request-id"}
        assert response.value("date") == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert b"X-Bytes: caf\xe9 \xc3\xa9\r\n" in response.head + b"\r\n"


async def test_a_date_is_added_where_there_is_none() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask()).value(
            "date",
        ) is not None


async def test_the_reason_phrase_passes_unless_it_is_unfit() -> None:
    async with (
        ScriptedUpstream(saying(b"HTTP/1.1 299 Very Fine\r\nContent-Length: 0\r\n\r\n")) as upstream,
        running_proxy(upstream) as proxy,
    ):
        assert (await proxy.ask()).head.startswith(b"HTTP/1.1 299 Very Fine\r\n")
        upstream.script = saying(b"HTTP/1.1 404 N\x01t\r\nContent-Length: 0\r\n\r\n")
        assert (await proxy.ask()).head.startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_interim_responses_are_waited_through() -> None:
    said = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + HEAD
        + b"Content-Length: 2\r\n\r\nok"
    )
    async with (
        ScriptedUpstream(saying(said)) as upstream,
        running_proxy(upstream) as proxy,
        await proxy.connect() as client,
    ):
        for _ in range(2):
            assert (await client.ask(request())).body == b"ok"
        assert upstream.connections == 1


async def test_close_delimited_is_chunked_for_1_1_and_close_delimited_for_1_0() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Type: text/plain\r\n\r\nhel")
        await go_on.wait()
        await exchange.say(b"lo")
        exchange.close()

    go_on = asyncio.Event()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            await client.say(request())
            response = await client.head()
            assert response.value("transfer-encoding") == "chunked"
            assert await client.reader.readexactly(8) == b"3\r\nhel\r\n"
            go_on.set()
            assert await client.reader.readexactly(12) == b"2\r\nlo\r\n0\r\n\r\n"
            assert (await client.ask(request())).body == b"hello"
        go_on.clear()
        async with await proxy.connect() as client:
            await client.say(request(version="1.0") + request(version="1.0"))
            response = await client.head()
            assert response.value("transfer-encoding") is None
            assert response.value("connection") == "close"
            go_on.set()
            assert await client.rest() == b"hello"


async def test_a_body_cut_short_is_no_clean_end_to_http_1_0_either() -> None:
    """It ends with its connection there, so that nothing but a reset tells."""
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    async with ScriptedUpstream(saying(said, close=True)) as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            await client.say(request(version="1.0"))
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        assert (await proxy.record()).outcome is Outcome.BROKEN


async def test_http_1_0() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            response = await client.ask(b"GET /old HTTP/1.0\r\n\r\n")
            assert (response.status, response.body) == (200, b"ok")
            assert response.value("connection") == "close"
            assert await client.closed()
            assert upstream.last.value("host") == f"127.0.0.1:{upstream.port}"
            assert upstream.last.start_line == "GET /old HTTP/1.1"
            assert upstream.last.value("via") == "1.0 gw-test"
        async with await proxy.connect() as client:
            for _ in range(2):
                response = await client.ask(request("/", "Connection: keep-alive", version="1.0"))
                assert response.value("connection") == "keep-alive"


async def test_server_sent_events_come_one_by_one() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            event = await events.get()
            await exchange.say(b"%x\r\n%b\r\n" % (len(event), event))
            if not event:
                return

    events: asyncio.Queue[bytes] = asyncio.Queue()
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request())
        assert (await client.head()).value("content-type") == "text/event-stream"
        for number in range(3):
            event = b"data: %d\n\n" % number
            events.put_nowait(event)
            assert await client.reader.readexactly(14) == b"9\r\n" + event + b"\r\n"
        events.put_nowait(b"")
        assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_never_an_answer_is_504_and_counted(hasty: RunningProxy) -> None:
    response = await hasty.ask()
    assert response.status == 504
    record = await hasty.record()
    assert record.reason is Reason.UPSTREAM_TIMEOUT
    assert [circuit.state.value for circuit in hasty.core.circuits()] == ["open"]


@pytest.fixture
async def hasty() -> AsyncIterator[RunningProxy]:
    async def script(exchange: Exchange) -> None:
        await exchange.until_closed()
        exchange.close()

    route = replace(ONCE, timeouts=Timeouts(request=5, attempt=0.1, idle=0.1))
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, route=route, policy=OPENS_AT_ONCE) as proxy,
    ):
        yield proxy
        await upstream.left.wait()


@pytest.mark.parametrize("dribbled", [HEAD * 50, HEAD + b"X: y\r\n" * 1000], ids=["bad", "endless head"])
async def test_a_dribbled_head_is_504_or_502(dribbled: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        for at in range(len(dribbled)):
            await exchange.say(dribbled[at : at + 1])
            await asyncio.sleep(0.01)

    route = replace(ONCE, timeouts=Timeouts(request=5, attempt=0.2, idle=5))
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=route) as proxy:
        assert (await proxy.ask()).status in (502, 504)


async def test_silence_in_the_middle_of_a_body_breaks_it() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(HEAD + b"Content-Length: 9\r\n\r\nhello")
        await exchange.until_closed()

    route = replace(ONCE, timeouts=Timeouts(idle=0.1))
    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=route) as proxy:
        async with await proxy.connect() as client:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.ask(request())
        assert (await proxy.record()).outcome is Outcome.BROKEN
        await upstream.left.wait()


async def test_a_redirect_passes_and_is_not_followed() -> None:
    said = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\n\r\n"
    async with (
        ScriptedUpstream(saying(said)) as upstream,
        running_proxy(upstream) as proxy,
        await proxy.connect() as client,
    ):
        for _ in range(2):
            response = await client.ask(request())
            assert (response.status, response.value("location")) == (302, "http://elsewhere.test/")
            assert upstream.last.value("cookie") is None
        assert len(upstream.requests) == 2


async def test_compressed_bodies_pass_untouched() -> None:
    body = b"\x1f\x8b\x08 not really gzip"
    said = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask(request("/", "Content-Encoding: gzip", method="PUT", body=body))
        assert response.body == body
        assert upstream.last.body == body
        assert upstream.last.value("accept-encoding") is None
