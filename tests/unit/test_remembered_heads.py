"""Heads that a connection remembers: however bytes are cut into segments, the same is read from them.

Whole heads in segments of their own are recognised where they are the last one's; the same bytes one by one never are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp.streams import StreamReader
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.model import Reason
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Entrance, Message
from gateway.proxy.client.server import ClientServer
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.response_reader import BadResponse, ResponseReader
from tests.support.wire import Wire

_OPTIONS = ProxyOptions("edge-1", max_line=200, max_field=200, max_fields=8)
_GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
_REQUESTS = (
    _GET,
    _GET,
    _GET,
    _GET.replace(b"/a", b"/b"),
    _GET.replace(b"Host: a", b"Host: a\r\nX-A: 1"),
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"GET /cut HTTP/1.1\r\nX-Cut: ",
    b"\r\n\r\n",
    b"abc" + _GET,
    b"abcGET /cut HTTP/1.1\r\nX-Cut: ",
    _GET + _GET,
    _GET.replace(b"Host: a", b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a"),
    b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
)


class _Taken:
    """What a connection began, each answered at once (Exchanges and Begun)."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        self.seen.append((message.method, message.path, message.raw_headers, message.should_close))
        connection.exchange_began(self)
        connection.exchange_ended(content, keep_alive=True)

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        self.seen.append(reason)

    def client_left(self) -> None:
        pass


async def _begun(segments: Sequence[bytes]) -> list[object]:
    taken = _Taken()
    connection = ClientServer(taken, _OPTIONS).factory(Entrance("http", 80))()
    connection.connection_made(Wire())
    for segment in segments:
        connection.data_received(segment)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    return taken.seen


def _single(segments: Sequence[bytes]) -> list[bytes]:
    return [bytes((byte,)) for segment in segments for byte in segment]


@given(st.lists(st.sampled_from(_REQUESTS), max_size=8))
def test_requests_are_the_same_however_their_bytes_are_cut(segments: list[bytes]) -> None:
    assert asyncio.run(_begun(segments)) == asyncio.run(_begun(_single(segments)))


async def test_what_comes_behind_half_a_head_belongs_to_it() -> None:
    cut = b"GET /cut HTTP/1.1\r\nX-Cut: "
    seen = await _begun([_GET, _GET, _GET, cut, _GET])
    assert [each[1] for each in seen if isinstance(each, tuple)] == ["/a", "/a", "/a", "/cut"]


_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
_RESPONSES = (
    [_OK + b"abc"],
    [_OK + b"def"],
    [_OK + b"abcd"],
    [_OK, b"abc"],
    [_OK + b"ab", b"c"],
    [_OK.replace(b"X-A: 1", b"X-A: 2") + b"abc"],
    [_OK.replace(b"200 OK", b"404 No") + b"abc"],
    [_OK.replace(b"1.1", b"1.0") + b"abc"],
    [_OK.replace(b"X-A: 1", b"Connection: close") + b"abc"],
    [_CHUNKED],
    [b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + b"abc"],
    [b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"],
    [b"HTTP/1.1 204 No Content\r\n\r\n"],
    [b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"],
    [b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"],
)


def _read(exchanges: Sequence[tuple[bool, Sequence[bytes]]], *, singly: bool) -> list[object]:
    """What one connection's reader makes of responses, to HEAD where so marked, until it could not go on."""
    reader = ResponseReader(line_limit=200, head_limit=1600, fields_limit=8)
    read: list[object] = []
    for head_only, segments in exchanges:
        reader.begin(head_only=head_only)
        try:
            for segment in _single(segments) if singly else segments:
                reader.feed(segment)
        except BadResponse as bad:
            read.append(str(bad))
        told = (reader.status, reader.reason, reader.version, reader.head.fields, reader.length, b"".join(reader.body))
        read += [told, (reader.has_head, reader.complete, reader.keep_alive, reader.surplus, reader.bodiless)]
        if not reader.complete or reader.surplus or not reader.keep_alive:
            break
    return read


@example([(False, [_OK + b"abc"]), (True, [_OK + b"abc"])])
@example([(False, [_OK + b"abc"]), (False, [_CHUNKED]), (False, [_OK + b"abc"])])
@given(st.lists(st.tuples(st.sampled_from([False, False, False, True]), st.sampled_from(_RESPONSES)), max_size=6))
def test_responses_are_the_same_however_their_bytes_are_cut(exchanges: list[tuple[bool, list[bytes]]]) -> None:
    assert _read(exchanges, singly=False) == _read(exchanges, singly=True)
