"""aiohttp's strict C parser, as client connections use it, and what it does not tell."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.model import Reason
from gateway.proxy.client.facts import Message
from gateway.proxy.options import ProxyOptions
from gateway.proxy.wire.connection import Connection

_SPACES = re.compile(b"  +")
_OTHERS = (b"RTSP/", b"ICE/")


class RequestParser(Protocol):
    """What we use of aiohttp's parser. Its types speak of the one in Python, whose messages are of another class."""

    def feed_data(self, data: bytes, /) -> tuple[Sequence[tuple[Message, StreamReader]], bool, bytes]:
        """Without a message it is an empty tuple, and no list: compiled code minds."""

    def set_upgraded(self, upgraded: bool, /) -> None: ...
    def pause_reading(self) -> None: ...


def request_parser(connection: Connection, options: ProxyOptions, loop: asyncio.AbstractEventLoop) -> RequestParser:
    parser = HttpRequestParser(
        cast(BaseProtocol, connection),
        loop,
        options.read_buffer,
        max_line_size=options.max_line,
        max_field_size=options.max_field,
        max_headers=options.max_fields,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
    )
    return cast(RequestParser, parser)


def body_length(message: Message) -> int:
    """The bytes of a body whose head says how many they are, else 0."""
    # Python refuses to read very many digits, which may all be zeros.
    return int(message.headers.get("Content-Length", "").lstrip("0") or "0")


def is_of_http(message: Message, fed: bytes, *, first: bool) -> bool:
    """Whether the request line is one of RFC 9112 §3, with single spaces, and of HTTP: llhttp takes RTSP and ICE too,
    and does not say which it was; and a lone CR for one of the empty lines that may be in front (§2.2). `first`:
    nothing but such lines is before that line in `fed`.

    Where else it stands is not known, and a body or a field may hold what looks like it. So if anything there may be
    such a line of another kind, it is taken for that.
    """
    asked = f"{message.method} {message.path} ".encode("utf-8", "surrogateescape")
    line = asked + b"HTTP/"
    if first:
        rest = fed.lstrip(b"\r\n")
        return rest.startswith(line) and b"\r" not in fed[: len(fed) - len(rest)].replace(b"\r\n", b"")
    single = _SPACES.sub(b" ", fed)
    if b"\r" + asked in single.replace(b"\r\n", b""):
        return False
    return 0 < fed.count(line) == single.count(line) and not any(asked + other in single for other in _OTHERS)


def why_refused(error: HttpProcessingError) -> Reason:
    if isinstance(error, LineTooLong):
        # The parser gives the line it read: a bytearray for the target, bytes for a field.
        return Reason.URI_TOO_LONG if isinstance(error.args[0], bytearray) else Reason.HEADERS_TOO_LARGE
    if "Too many headers" in error.message:
        return Reason.HEADERS_TOO_LARGE
    if "Invalid HTTP version" in error.message or "Pause on PRI" in error.message:
        return Reason.VERSION_NOT_SUPPORTED
    return Reason.BAD_REQUEST
