"""Hostile and odd requests, as literal bytes: what is refused, with what, and that nothing of it goes upstream."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.core.model import Outcome, Reason
from tests.support.proxies import OPTIONS, RunningProxy, running_proxy
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, answer_ok, request


@pytest.fixture
async def short_lived() -> AsyncIterator[RunningProxy]:
    """A proxy that gives a head a tenth of a second."""
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=replace(OPTIONS, head_timeout=0.1)) as proxy,
    ):
        yield proxy


GET = b"GET / HTTP/1.1\r\nHost: gateway.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: gateway.test\r\n"

REFUSED: list[tuple[str, bytes, int]] = [
    ("CL and TE", POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("TE and CL", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("two equal lengths", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("length list", POST + b"Content-Length: 3, 3\r\n\r\nabc", 400),
    ("length +3", POST + b"Content-Length: +3\r\n\r\nabc", 400),
    ("length -1", POST + b"Content-Length: -1\r\n\r\n", 400),
    ("length 0x3", POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    ("length 1_0", POST + b"Content-Length: 1_0\r\n\r\n0123456789", 400),
    ("length over 2^64", POST + b"Content-Length: 18446744073709551617\r\n\r\nabc", 400),
    ("length empty", POST + b"Content-Length: \r\n\r\nabc", 400),
    ("space before the colon", POST + b"Content-Length : 3\r\n\r\nabc", 400),
    ("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked, identity", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    ("identity and CL", POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("TE twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("TE with VT", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("gzip, chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("TE in 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer_Encoding", POST + b"Transfer_Encoding: chunked\r\n\r\n", 400),
    ("Content_Length", POST + b"Content_Length: 3\r\n\r\n", 400),
    ("X_Forwarded_For", GET + b"X_Forwarded_For: 10.0.0.1\r\n\r\n", 400),
    ("X_Gateway_User", GET + b"x_gateway_user: root\r\n\r\n", 400),
    ("obs-fold", GET + b"X: a\r\n b\r\n\r\n", 400),
    ("leading space", b"GET / HTTP/1.1\r\n Host: gateway.test\r\n\r\n", 400),
    ("bare LF", b"GET / HTTP/1.1\nHost: gateway.test\n\n", 400),
    ("bare CR", GET + b"X: a\rb\r\n\r\n", 400),
    ("NUL", GET + b"X: a\x00b\r\n\r\n", 400),
    ("space in name", GET + b"X Y: a\r\n\r\n", 400),
    ("no colon", GET + b"XY\r\n\r\n", 400),
    ("control character", GET + b"X: a\x01b\r\n\r\n", 400),
    ("byte above 0x7f where we read", GET + b"X-Forwarded-For: caf\xc3\xa9\r\n\r\n", 400),
    ("byte that is no UTF-8 where we read", GET + b"Connection: caf\xe9\r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("empty Host", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    ("Host with space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("Host with slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("Host with user", b"GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", 400),
    ("Host with a wild port", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
    ("absolute-form, other authority", b"GET http://other/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("absolute-form, user", b"GET http://me@gateway.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("ftp", b"GET ftp://gateway.test/ HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("file", b"GET file:///etc/passwd HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("absolute-form, wild port", b"GET http://gateway.test:99999/ HTTP/1.1\r\nHost: gateway.test:99999\r\n\r\n", 400),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("%zz", b"GET /%zz HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("%00", b"GET /a%00b HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("%2f", b"GET /a%2fb HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("%5c", b"GET /a%5cb HTTP/1.1\r\nHost: gateway.test\r\n\r\n", 400),
    ("CONNECT", b"CONNECT gateway.test:80 HTTP/1.1\r\nHost: gateway.test:80\r\n\r\n", 405),
    (
        "CONNECT with a body",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 26\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
    ),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("HTTP/0.9 by name", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("unknown method", b"MAKE / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("long request line", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ("long field", GET + b"X: " + b"a" * 8192 + b"\r\n\r\n", 431),
    ("long field name", GET + b"X" * 8192 + b": a\r\n\r\n", 431),
    ("many fields", GET + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
    ("large head", GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(9)) + b"\r\n", 431),
    ("expectation", POST + b"Expect: money\r\nContent-Length: 3\r\n\r\n", 417),
    ("chunk size -1", POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
    ("chunk size 0x3", POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    ("chunk size 0_3", POST + b"Transfer-Encoding: chunked\r\n\r\n0_3\r\nabc\r\n0\r\n\r\n", 400),
    ("chunk size overflow", POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", 400),
    ("chunk size empty", POST + b"Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400),
    ("chunk with LF", POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
    ("chunk with a bad end", POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", 400),
    ("LF in a chunk extension", POST + b"Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", 400),
]


@pytest.mark.parametrize(("sent", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_refused(sent: bytes, status: int) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        response = await client.ask(sent)
        assert response.status == status
        assert response.value("connection") == "close"
        assert response.value("content-type") == "application/problem+json"
        problem = json.loads(response.body)
        assert problem["type"].startswith("urn:alims-gateway:problem:")
        assert problem["request_id"] == response.value("x-request-id")
        assert await client.closed()
        record = await proxy.record()
        assert (record.status, record.outcome) == (status, Outcome.REJECTED)
        assert len(proxy.records.all) == 1
        assert not [received for received in upstream.requests if received.body]
        assert not upstream.requests or status == 400, "only a body's framing may turn out broken once it is on its way"


@pytest.mark.parametrize("split", ["head first", "bytes"])
async def test_a_broken_body_is_refused_however_it_arrives(split: str) -> None:
    body = b"zz\r\n"
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        if split == "head first":
            await upstream.arrived.wait()
        await client.say(body)
        assert (await client.response()).status == 400
        assert await client.closed()
        assert (await proxy.record()).reason is Reason.BAD_REQUEST
        await upstream.left.wait()


async def test_nothing_is_echoed() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        for sent in (
            GET + b"X: sec\x01ret\r\n\r\n",
            b"GET /%zzsecret HTTP/1.1\r\nHost: a\r\n\r\n",
            GET + b"secret\r\n\r\n",
        ):
            response = await proxy.ask(sent)
            assert response.status == 400
            assert b"secret" not in response.head + response.body
            assert f":{upstream.port}".encode() not in response.head + response.body


async def test_first_answered_then_refused_when_the_second_of_a_pipeline_is_broken() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request("/one") + request("/two") + b"BAD\r\n\r\n" + request("/never"))
        assert [(await client.response()).status for _ in range(3)] == [200, 200, 400]
        assert await client.closed()
        assert [received.target for received in upstream.requests] == ["/one", "/two"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(b"".join(request(f"/{n}", method="POST", body=b"x" * n) for n in range(1, 60)))
        for _ in range(1, 60):
            assert (await client.response()).status == 200
        assert [received.target for received in upstream.requests] == [f"/{n}" for n in range(1, 60)]


@pytest.mark.parametrize(
    ("sent", "forwarded"),
    [
        ("/a/../admin", "/admin"),
        ("/a/%2e%2E/admin", "/admin"),
        ("//admin", "/admin"),
        ("/%61dmin", "/admin"),
        ("/a%3fb?c=%0d%0aX:y", "/a%3Fb?c=%0d%0aX:y"),
        ("/a%0d%0ab", "/a%0D%0Ab"),
        ("/?", "/?"),
        ("http://gateway.test/a?b", "/a?b"),
        ("http://GATEWAY.test", "/"),
        ("http://gateway.test?b", "/?b"),
    ],
)
async def test_the_normalised_target_is_forwarded(sent: str, forwarded: str) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request(sent))).status == 200
        assert upstream.last.target == forwarded
        assert (await proxy.record()).path == forwarded.partition("?")[0]


@pytest.mark.parametrize("value", [b"caf\xe9", b"caf\xc3\xa9", b"\xff\xfe", b"\xc2\x85", b"\xe2\x80\xa8"])
async def test_bytes_that_are_not_ascii_pass_unchanged(value: bytes) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(GET + b"X: " + value + b"\r\nUser-Agent: " + value + b"\r\n\r\n")).status == 200
        lines = upstream.last.head.split(b"\r\n")
        assert b"X: " + value in lines
        assert b"User-Agent: " + value in lines


async def test_trailers_are_dropped() -> None:
    trailers = b"Content-Length: 9\r\nHost: evil\r\nAuthorization: x\r\n"
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        sent = POST + b"Transfer-Encoding: chunked\r\nTrailer: Host\r\n\r\n3\r\nabc\r\n0\r\n" + trailers + b"\r\n"
        response = await proxy.ask(sent)
        if response.status == 200:
            assert upstream.last.body == b"abc"
            assert upstream.last.value("host") == "gateway.test"
            assert upstream.last.value("authorization") is None
            assert upstream.last.value("trailer") is None
        else:
            assert response.status == 400


async def test_options_asterisk_matches_no_route() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request("*", method="OPTIONS"))).status == 404


_ASK_NOBODY = request("*", method="OPTIONS")
ENDING = {
    "a bad one among many": request("/%zz") * 40,
    "the last of many": _ASK_NOBODY * 32 + request("*", "Connection: close", method="OPTIONS") + _ASK_NOBODY,
    "an upgrade that is refused": request("/%zz", "Connection: Upgrade", "Upgrade: websocket"),
}


@pytest.mark.parametrize("ending", ENDING.values(), ids=ENDING)
async def test_what_comes_behind_the_last_answer_is_not_read(ending: bytes) -> None:
    """It was, where requests had been held back; its answer, to a socket that was shut already, took with it whatever
    other connections had to send in that round of the event loop."""
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        async with await proxy.connect() as client:
            await client.say(ending)
            answers = (await client.rest()).count(b"HTTP/1.1 4")
            await client.say(request("/late"))
            client.writer.write_eof()
            async with asyncio.timeout(5):
                while proxy.listener.connections:
                    await asyncio.sleep(0.01)
        assert len(proxy.records.all) == answers
        assert not upstream.requests


@pytest.mark.parametrize("protocol", ["h2c", "tcp", "foo"])
async def test_an_upgrade_that_nobody_makes_is_stripped(protocol: str) -> None:
    lines = (f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        response = await client.ask(request("/a", *lines) + request("/smuggled"))
        assert response.status == 200
        assert response.value("connection") == "close"
        assert await client.closed()
        assert [received.target for received in upstream.requests] == ["/a"]
        for name in ("upgrade", "connection", "http2-settings"):
            assert upstream.last.value(name) is None


async def test_a_late_head_is_refused(short_lived: RunningProxy) -> None:
    async with await short_lived.connect() as client:
        await client.say(b"GET / HTTP/1.1\r\nHost: gate")
        response = await client.response()
        assert response.status == 408
        assert await client.closed()
        assert (await short_lived.record()).reason is Reason.REQUEST_TIMEOUT


async def test_a_dribbled_head_is_late_all_the_same(short_lived: RunningProxy) -> None:
    async with await short_lived.connect() as client:
        await _dribble(client, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000)
        assert (await client.response()).status == 408


async def test_a_late_second_head_is_refused(short_lived: RunningProxy) -> None:
    async with await short_lived.connect() as client:
        assert (await client.ask(request())).status == 200
        await client.say(b"GET / ")
        assert (await client.response()).status == 408


LENGTH, CHUNKED = POST + b"Content-Length: 5\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
ENDS: dict[str, list[bytes]] = {
    "a body": [LENGTH, b"hello"],
    "a body in the segment of its head": [LENGTH + b"hello"],
    "a body in two": [LENGTH + b"he", b"llo"],
    "a body that looks like a head's end": [POST + b"Content-Length: 4\r\n\r\n", b"\r\n\r\n"],
    "a chunked body": [CHUNKED, CHUNKS],
    "a chunked body in the segment of its head": [CHUNKED + CHUNKS],
    "a chunked body in two": [CHUNKED + CHUNKS[:-6], CHUNKS[-6:]],
    "the end of a chunked body": [CHUNKED + CHUNKS[:-1], CHUNKS[-1:]],
    "trailers": [CHUNKED + CHUNKS[:-2], b"X: y\r\n\r\n"],
    "a head that ends in a segment of its own": [request()[:-1], request()[-1:]],
}
"""Requests of one body each, in segments. What comes next is behind the last one, in the same segment."""
SEVERAL: dict[str, list[bytes]] = {
    "a request behind a body": [LENGTH, b"hello" + request()],
    "a request behind a chunked body": [CHUNKED, CHUNKS + request()],
    "a body behind a body": [LENGTH, b"hello" + LENGTH + b"hello"],
    "a body behind a chunked body": [CHUNKED, CHUNKS + LENGTH + b"hello"],
    "a chunked body behind a chunked body": [CHUNKED, CHUNKS + CHUNKED + CHUNKS],
}


async def _say_in_segments(client: LiteralClient, proxy: RunningProxy, pieces: list[bytes]) -> None:
    for piece in pieces[:-1]:
        begun = proxy.core.counters.attempts
        await client.say(piece)
        if piece.endswith(b"\r\n\r\n"):
            await proxy.wait_for_attempts(begun + 1)
        else:
            await asyncio.sleep(0.02)
    await client.say(pieces[-1])


@pytest.mark.parametrize("pieces", [*ENDS.values(), *SEVERAL.values()], ids=[*ENDS, *SEVERAL])
async def test_a_head_that_begins_where_another_request_ends_is_as_late(
    short_lived: RunningProxy, pieces: list[bytes]
) -> None:
    async with await short_lived.connect() as client:
        *before, last = pieces
        await _say_in_segments(client, short_lived, [*before, last + b"GET / HT"])
        requests = sum(data.count(b"HTTP/1.1") for data in pieces)
        assert [(await client.response()).status for _ in range(requests + 1)] == [200] * requests + [408]
        assert await client.closed()


@pytest.mark.parametrize("pieces", [*ENDS.values(), *SEVERAL.values()], ids=[*ENDS, *SEVERAL])
async def test_behind_a_request_nothing_has_begun(pieces: list[bytes]) -> None:
    options = replace(OPTIONS, head_timeout=0.1, keep_alive=0.3)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as client,
    ):
        await _say_in_segments(client, proxy, pieces)
        for _ in range(sum(data.count(b"HTTP/1.1") for data in pieces)):
            assert (await client.response()).status == 200
        assert await client.rest() == b"", "without a word"


LARGE = b"x" * 200_000
LARGE_ENDS = {
    "length": POST + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE,
    "chunked": CHUNKED + b"%x\r\n" % len(LARGE) + LARGE + b"\r\n0\r\n\r\n",
    "small chunks": CHUNKED + b"".join(b"%x\r\n%b\r\n" % (5000, LARGE[:5000]) for _ in range(40)) + b"0\r\n\r\n",
}


@pytest.mark.parametrize("sent", LARGE_ENDS.values(), ids=LARGE_ENDS)
async def test_behind_a_body_that_waits_for_room_there_is_a_request_and_a_beginning(sent: bytes) -> None:
    """What the parser kept until there was room is read as what came since."""

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await answer_ok(exchange)

    go_on = asyncio.Event()
    options = replace(OPTIONS, head_timeout=0.3, read_buffer=16384)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as client,
    ):
        saying = asyncio.create_task(client.say(sent + request("/next") + b"GET / HT"))
        await proxy.wait_for_attempts(1)
        await asyncio.sleep(0.1)  # the gateway takes as much as it may
        go_on.set()
        await saying
        assert [(await client.response()).status for _ in range(3)] == [200, 200, 408]
        assert [each.target for each in upstream.requests] == ["/", "/next"]
        assert upstream.requests[0].body == LARGE


@pytest.mark.parametrize("ends", [LENGTH + b"hello", CHUNKED + CHUNKS], ids=["length", "chunked"])
async def test_a_head_is_late_from_when_it_began_though_another_request_was_answered_meanwhile(ends: bytes) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=replace(OPTIONS, head_timeout=1.2)) as proxy,
        await proxy.connect() as client,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_at(began + 1.0, go_on.set)
        await client.say(ends + b"GET / HT")
        assert [(await client.response()).status for _ in range(2)] == [200, 408]
        assert 1.2 <= round(loop.time() - began, 3) < 2.0


async def test_a_silent_connection_is_closed() -> None:
    options = replace(OPTIONS, keep_alive=0.1)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, options=options) as proxy:
        async with await proxy.connect() as client:
            assert await client.closed()
        async with await proxy.connect() as client:
            assert (await client.ask(request())).status == 200
            assert await client.closed()


async def test_beyond_the_cap_the_oldest_idle_connection_goes() -> None:
    options = replace(OPTIONS, max_connections=2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as first,
        await proxy.connect() as second,
    ):
        assert (await second.ask(request())).status == 200
        assert (await first.ask(request())).status == 200
        async with await proxy.connect() as third:
            assert (await third.ask(request())).status == 200
            assert await second.closed()
            assert (await first.ask(request())).status == 200
            assert proxy.listener.connections_dropped == 1


async def _dribble(client: LiteralClient, data: bytes) -> None:
    try:
        for at in range(len(data)):
            await client.say(data[at : at + 1])
            await asyncio.sleep(0.01)
            if client.reader._buffer:  # type: ignore[attr-defined]  # an answer has come
                return
    except ConnectionError:
        return
