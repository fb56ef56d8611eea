"""What two parsers that are not ours make of what the gateway sends: h11, and aiohttp's strict C parser.

They have to agree, and the bytes have to be what the grammar of RFC 9112 lets a sender write: a parser that forgives
is no witness.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import h11
from aiohttp import http_parser
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

_MOST = 2**20
_REQUEST_LINE = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ /(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*"
    rb"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)? HTTP/1\.1"
)
"""RFC 9112 §3, its target in origin-form: absolute-path and query of RFC 3986 (the path's escapes in upper case)."""
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*")
_FIELD = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Heard:
    """One message. `start` is its method and target, or its status; names of `fields` are in lower case."""

    start: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]


@dataclass(frozen=True, slots=True)
class Opinion:
    messages: list[Heard]
    unfinished: bool
    """Whether another message has begun and is not complete."""


def requests(data: bytes) -> Opinion:
    """The requests on one connection, as both parsers understand them. To be called in an event loop."""
    opinion, heads = _requests_by_h11(data)
    for head in heads:
        _check_request_head(head)
    theirs = _requests_by_aiohttp(data, unfinished=opinion.unfinished)
    complete = theirs[: len(opinion.messages)]
    assert complete == opinion.messages, f"h11 and aiohttp disagree about {data!r}"
    return opinion


def responses(data: bytes, methods: Sequence[str], *, closed: bool) -> Opinion:
    """The responses to requests with these methods on one connection; `closed`: nothing follows them."""
    opinion, slices = _responses_by_h11(data, methods, closed=closed)
    final = [message for message in opinion.messages if not message.start.startswith("1")]
    for method, piece, message in zip(methods, slices, final, strict=False):
        _check_response_head(piece.partition(b"\r\n\r\n")[0])
        theirs = _response_by_aiohttp(piece, method)
        assert theirs == message, f"h11 and aiohttp disagree about {piece!r}"
    return opinion


def _check_request_head(head: bytes) -> None:
    line, *fields = head.split(b"\r\n")
    assert _REQUEST_LINE.fullmatch(line), line
    _check_fields(fields)
    hosts = [field.partition(b": ")[2] for field in fields if field.lower().startswith(b"host:")]
    assert len(hosts) == 1, head
    assert _HOST.fullmatch(hosts[0]), head


def _check_response_head(head: bytes) -> None:
    line, *fields = head.split(b"\r\n")
    assert _STATUS_LINE.fullmatch(line), line
    _check_fields(fields)


def _check_fields(fields: Sequence[bytes]) -> None:
    for field in fields:
        assert _FIELD.fullmatch(field), field
    names = [field.partition(b":")[0].lower() for field in fields]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, names
    for name in (b"host", b"connection", b"date", b"content-type"):
        assert names.count(name) <= 1, names


def _requests_by_h11(data: bytes) -> tuple[Opinion, list[bytes]]:
    """Raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
    connection.receive_data(data)
    found: list[Heard] = []
    heads: list[bytes] = []
    rest = data
    while True:
        request: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
                heads.append(rest.partition(b"\r\n\r\n")[0])
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        if not isinstance(event, h11.EndOfMessage):
            return Opinion(found, bool(rest)), heads
        assert request is not None
        start = f"{request.method.decode()} {request.target.decode()}"
        found.append(Heard(start, _text(request.headers), body))
        rest = connection.trailing_data[0]
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


def _responses_by_h11(data: bytes, methods: Sequence[str], *, closed: bool) -> tuple[Opinion, list[bytes]]:
    """Raises h11.RemoteProtocolError."""
    found: list[Heard] = []
    slices: list[bytes] = []
    rest = data
    for method in methods:
        if not rest:
            break
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(rest)
        if closed:
            connection.receive_data(b"")
        response: h11.Response | None = None
        body = b""
        begin = rest
        while True:
            event = connection.next_event()
            if isinstance(event, h11.InformationalResponse):
                found.append(Heard(str(event.status_code), _text(event.headers), b""))
                begin = begin.partition(b"\r\n\r\n")[2]
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        if not isinstance(event, h11.EndOfMessage):
            return Opinion(found, unfinished=True), slices
        assert response is not None
        found.append(Heard(str(response.status_code), _text(response.headers), body))
        rest = connection.trailing_data[0]
        slices.append(begin[: len(begin) - len(rest)])
    return Opinion(found, bool(rest)), slices


def _text(fields: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in fields)


def _requests_by_aiohttp(data: bytes, *, unfinished: bool) -> list[Heard]:
    """Raises HttpProcessingError."""
    loop = asyncio.get_running_loop()
    parser = http_parser.HttpRequestParser(
        BaseProtocol(loop),
        loop,
        _MOST,
        max_line_size=_MOST,
        max_field_size=_MOST,
        max_headers=1000,
        auto_decompress=False,
    )
    read: list[tuple[http_parser.RawRequestMessage, StreamReader]] = []
    rest = data
    while rest:
        messages, upgraded, rest = parser.feed_data(rest)
        read += messages
        if not upgraded:
            break
        parser.set_upgraded(False)
    found = []
    for message, payload in read:
        if not payload.is_eof():
            assert unfinished
            break
        start = f"{message.method} {message.path}"
        found.append(Heard(start, _text(message.raw_headers), payload.read_nowait()))
    return found


def _response_by_aiohttp(data: bytes, method: str) -> Heard:
    """Raises HttpProcessingError."""
    loop = asyncio.get_running_loop()
    parser = http_parser.HttpResponseParser(
        BaseProtocol(loop),
        loop,
        _MOST,
        max_line_size=_MOST,
        max_field_size=_MOST,
        max_headers=1000,
        response_with_body=method != "HEAD",
        read_until_eof=True,
        auto_decompress=False,
    )
    messages, _, rest = parser.feed_data(data)
    parser.feed_eof()
    assert not rest
    assert len(messages) == 1, data
    message, payload = messages[0]
    return Heard(str(message.code), _text(message.raw_headers), payload.read_nowait())
