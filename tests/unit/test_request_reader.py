"""Bytes of a client into requests, without a socket: what waits, what is held, and what is not read any more."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.core.model import Reason
from gateway.proxy.client.connection import Begun, ClientConnection
from gateway.proxy.client.facts import Entrance, Message
from gateway.proxy.client.request_reader import RequestReader
from gateway.proxy.client.server import ClientServer
from gateway.proxy.options import ProxyOptions
from gateway.proxy.wire.connection import Connection
from gateway.proxy.wire.outbox import Outbox
from tests.support.wire import Wire

_OPTIONS = ProxyOptions("edge-1", read_buffer=1000)
_GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n"
_CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_UPGRADE = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
_BODY = b"x" * 10000
_MOST = 32


async def _reader(options: ProxyOptions = ProxyOptions("edge-1")) -> RequestReader:  # noqa: B008 - it never changes
    loop = asyncio.get_running_loop()
    return RequestReader(Connection(loop, Outbox(loop)), options, loop)


async def test_a_head_alone_waits_for_nothing_and_is_known_again() -> None:
    reader = await _reader()
    assert reader.known(_GET) is None
    message = reader.head(_GET)
    assert message is not None
    assert message.path == "/a"
    assert reader.payload is EMPTY_PAYLOAD
    assert reader.known(_GET) is message
    assert not reader.waiting
    reader.feed(_GET[:5])
    assert reader.known(_GET) is None, "it belongs to another"


async def test_what_is_more_than_a_head_waits() -> None:
    reader = await _reader()
    reader.feed(_GET + _POST + _BODY + _GET)
    assert [(message and message.method, payload.total_bytes) for message, payload, _ in reader.waiting] == [
        ("GET", 0),
        ("POST", len(_BODY)),
        ("GET", 0),
    ]
    assert reader.head(_GET) is None, "it waits behind those"
    assert len(reader.waiting) == 4


async def test_what_is_no_request_ends_what_is_read() -> None:
    reader = await _reader()
    reader.feed(_GET + b"BAD\r\n\r\n" + _GET)
    assert [reason for _, _, reason in reader.waiting] == [None, Reason.BAD_REQUEST]
    assert (reader.deaf, reader.plain) == (True, False)


async def test_beyond_so_many_that_wait_the_rest_is_held() -> None:
    reader = await _reader(_OPTIONS)
    reader.feed(_GET * (_MOST + 2))
    assert len(reader.waiting) == _MOST
    assert (reader.holding, reader.plain, reader.full) == (True, False, False)
    reader.hold(_GET * 40)
    assert reader.full
    reader.waiting.clear()
    reader.let_go()
    assert len(reader.waiting) == _MOST
    assert reader.take_held() == _GET * 10


async def test_what_follows_a_request_for_an_upgrade_is_for_whoever_makes_it() -> None:
    reader = await _reader()
    reader.feed(_UPGRADE + b"\x81\x00" + _GET)
    assert len(reader.waiting) == 1
    assert reader.take_held() == b"\x81\x00" + _GET
    assert reader.take_held() == b""


async def test_a_head_in_part_has_begun_when_its_first_byte_came() -> None:
    reader = await _reader()
    loop = asyncio.get_running_loop()
    before = loop.time()
    reader.feed(_GET[:5])
    since = reader.head_since
    assert before <= since <= loop.time()
    await asyncio.sleep(0.002)
    reader.feed(_GET[5:10])
    assert (reader.partial, reader.head_since) == (True, since)
    reader.feed(_GET[10:])
    assert (reader.partial, len(reader.waiting)) == (False, 1)


async def test_what_is_dropped_never_waits_again_but_bodies_end() -> None:
    reader = await _reader()
    reader.feed(_GET + _POST + _BODY[1:])
    (_, _, _), (_, payload, _) = reader.waiting
    reader.drop()
    assert (len(reader.waiting), reader.plain, reader.deaf) == (0, False, False)
    reader.feed(_BODY[:1])
    assert payload.is_eof()
    reader.stop()
    reader.feed(_GET)
    assert not reader.waiting


@pytest.mark.parametrize(
    "segments",
    [
        [_POST + _BODY],
        [_POST, _BODY[:4000], _BODY[4000:]],
        [_CHUNKED + b"2710\r\n" + _BODY + b"\r\n0\r\n\r\n"],
        [_CHUNKED, b"2710\r\n" + _BODY + b"\r\n", b"0\r\n\r\n"],
        [_GET],
    ],
    ids=["length", "length in segments", "chunks", "chunks in segments", "no body"],
)
async def test_bodies_are_not_kept_once_they_are_read(segments: list[bytes]) -> None:
    """Kept to find a request line in, they would be the last segment of each upload, on each idle connection."""
    reader = await _reader()
    for segment in segments:
        reader.feed(segment)
    assert reader._fed == b""
    reader.feed(_POST + _BODY + b"GET /b")
    assert reader._fed == b"GET /b"


class _LastIsThePost:
    """Keeps the first request waiting, and answers the others at once: to a POST it is the last answer (Exchanges)."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        self.seen.append(message.method)
        began: Begun = self
        connection.exchange_began(began)
        if len(self.seen) > 1:
            connection.exchange_ended(content, keep_alive=message.method != "POST")

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        raise AssertionError(reason)

    def client_left(self) -> None:
        pass


async def test_nothing_begins_while_the_rest_of_a_body_is_read_behind_the_last_answer() -> None:
    exchanges = _LastIsThePost()
    connection = ClientServer(exchanges, _OPTIONS).factory(Entrance("http", 80))()
    connection.connection_made(Wire())
    # The body fills its stream, which is therefore not told that it is complete.
    connection.data_received(_GET * (_MOST - 1) + _POST + _BODY + _GET)
    assert exchanges.seen == ["GET"]
    connection.exchange_ended(EMPTY_PAYLOAD, keep_alive=True)
    connection.data_received(_GET)
    connection.connection_lost(None)
    assert exchanges.seen == ["GET"] * (_MOST - 1) + ["POST"]


@pytest.mark.parametrize(("behind", "reasons"), [(b"\n", [None, None]), (b"", [None, Reason.BAD_REQUEST])])
async def test_a_carriage_return_that_came_with_the_end_of_chunks_is_in_front_of_the_next_head(
    behind: bytes, reasons: list[Reason | None]
) -> None:
    reader = await _reader()
    for segment in (_CHUNKED, b"0\r\n\r", b"\n\r", behind + _GET):
        reader.feed(segment)
    assert [reason for _, _, reason in reader.waiting] == reasons
