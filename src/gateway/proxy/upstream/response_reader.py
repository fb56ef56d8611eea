"""The responses of one connection to an instance, read by llhttp; no I/O.

llhttp checks framing. Syntax it lets pass here where servers are known to be lax about it (a folded line, a bare LF,
spaces after a chunk's size), as aiohttp's client does: what comes of it is checked, and written anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.proxy.http.fields import Field
from gateway.proxy.http.hop_headers import BadField, sift_response

_SWITCHING_PROTOCOLS = 101
_NO_CONTENT = 204
_SEPARATORS = len(": \r\n")
_NOT_MODIFIED = 304
_HEAD_END = b"\r\n\r\n"
_REPEATED = 4096
"""Bytes of the largest head that is remembered."""


class BadResponse(Exception):
    """What an instance said is no response; the message says why and never echoes it."""


@dataclass(slots=True)
class KnownFields:
    """What the header fields of a response come to, apart from its status line (`upstream.ReceivedHead`)."""

    received: list[tuple[bytes, bytes]]
    fields: list[Field]
    length: int | None = None
    """Bytes of the body as stated."""
    chunked: bool = False
    upgrade: str | None = None
    accept: str | None = None
    """Of WebSocket's handshake."""
    written: tuple[bytes, bool] | None = None


class ResponseReader:
    """Reads one response after the other: `begin` before each request, then `feed` whatever comes.

    `line_limit` and `head_limit` are the most bytes of a reason phrase and of all fields together, those of interim
    responses included; `fields_limit` the most fields of one response.
    """

    __slots__ = (
        "_fields_limit",
        "_head_limit",
        "_head_only",
        "_head_size",
        "_last_line",
        "_last_size",
        "_last_start",
        "_line_limit",
        "_midway",
        "_parser",
        "_reason",
        "_received",
        "_unheard",
        "_unheard_limit",
        "bodiless",
        "body",
        "complete",
        "has_head",
        "head",
        "keep_alive",
        "length",
        "reason",
        "status",
        "surplus",
        "tail",
        "version",
    )

    def __init__(self, *, line_limit: int, head_limit: int, fields_limit: int) -> None:
        self._line_limit = line_limit
        self._head_limit = head_limit
        self._head_size = 0
        self._fields_limit = fields_limit
        self._unheard_limit = line_limit + head_limit
        self._unheard = 0
        """Bytes that came since the last of a body: nothing else bounds a head, or what follows the last chunk."""
        self._parser: HttpResponseParser | None = None
        self._midway = True
        """Whether the parser cannot go on with another response: one is unfinished."""
        self._received: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self.head = KnownFields([], [])
        """Of this response once `has_head`, of the one before it until then."""
        self._last_start = b""
        """The bytes of the head of the last response that came in one piece with its body, and nothing else ..."""
        self._last_size = 0
        """... the bytes of both together, or 0 for none ..."""
        self._last_line = (0, b"", "")
        """... and its status, reason and version. The same bytes again come to the same, with another body; they come
        only where that response let the connection go on."""
        self.begin(head_only=False)

    def begin(self, *, head_only: bool) -> None:
        """Gets ready for one more response; `head_only` for one to HEAD."""
        self._head_only = head_only
        self._unheard = self._head_size = 0
        self.status = 0
        self.reason = b""
        self.version = ""
        self.length: int | None = None
        """Bytes of the body as stated, where this response may have one."""
        self.keep_alive = False
        self.bodiless = head_only
        self.body: list[bytes] = []
        """Pieces that have come; whoever takes them empties it."""
        self.has_head = False
        self.complete = False
        self.surplus = False
        """More came than belongs to this response."""
        self.tail: bytes | None = None
        """After 101: what came behind the head."""
        if self._midway:
            self._midway = False
            self._parser = parser = HttpResponseParser(self)
            parser.set_dangerous_leniencies(
                lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
            )

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing but the connection's end says where the body ends (RFC 9112 §6.3)."""
        return self.length is None and not self.head.chunked and not self.bodiless

    def feed(self, data: bytes) -> None:
        """Raises BadResponse; what was complete before stays so."""
        if len(data) == self._last_size and not self._midway and not self.has_head and self._repeats(data):
            return
        self._last_size = 0
        parser = self._parser
        assert parser is not None
        fresh = not (self._midway or self.has_head)
        self._unheard += len(data)
        if fresh and data[:1] != b"H":
            # llhttp takes RTSP and ICE too, and does not say which it was.
            self._midway = True
            raise BadResponse("it begins with something else than HTTP")
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.tail = data[upgrade.args[0] :]
        except HttpParserError as error:
            self._midway = True
            if not self.complete or self.status == _NO_CONTENT:
                cause = error.__context__
                raise BadResponse(str(cause if isinstance(cause, BadResponse) else error)) from None
            self.surplus = True
        if self._unheard > self._unheard_limit:
            self._midway = True
            raise BadResponse("its head, or what follows its last chunk, is too large")
        if fresh and self.complete and len(self.body) == 1:
            self._remember(data)

    def _repeats(self, data: bytes) -> bool:
        """Takes a response whose head is the last one's, to the byte, and whose body has its size."""
        start = self._last_start
        if self._head_only or not data.startswith(start):
            return False
        self.status, self.reason, self.version = self._last_line
        self.length = self.head.length
        self.body.append(data[len(start) :])
        self.keep_alive = self.has_head = self.complete = True
        return True

    def _remember(self, data: bytes) -> None:
        size, whole = len(self.body[0]), len(data)
        start = data[: whole - size]
        if self.head.length == size and start.find(_HEAD_END) + len(_HEAD_END) == len(start) <= _REPEATED:
            self._last_start, self._last_size = start, whole
            self._last_line = (self.status, self.reason, self.version)

    def close(self) -> None:
        """Nothing more will come: the parser and this object hold each other."""
        self._parser = None
        self._midway = True

    # --- what llhttp calls ---

    def on_message_begin(self) -> None:
        self._midway = True
        if self.has_head:
            self.surplus = True
        self._received = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason
        if len(self._reason) > self._line_limit:
            raise BadResponse("its status line is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.has_head:
            # Trailers end at this hop.
            return
        self._head_size += len(name) + len(value) + _SEPARATORS
        if self._head_size > self._head_limit or len(self._received) >= self._fields_limit:
            raise BadResponse("its header fields are too many or too large")
        self._received.append((name, value))

    def on_headers_complete(self) -> None:
        if self.has_head:
            return
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status < 200 and status != _SWITCHING_PROTOCOLS:
            # An interim response; what it is for ends here.
            return
        head = self.head
        if head.received != self._received:
            head = self.head = _learn(self._received)
        self.version = parser.get_http_version()
        if head.chunked and self.version == "1.0":
            # RFC 9112 §6.1: its framing cannot be right.
            raise BadResponse("it is of HTTP/1.0 and has a transfer coding")
        self.has_head = True
        self.status = status
        self.reason = self._reason
        self.length = head.length
        self.keep_alive = parser.should_keep_alive()
        self._unheard = 0
        if status in (_NO_CONTENT, _NOT_MODIFIED):
            self.bodiless = True
            if status == _NO_CONTENT:
                self.length = None
        self.complete = self._head_only

    def on_body(self, data: bytes) -> None:
        self._unheard = 0
        if self._head_only or self.surplus:
            self.surplus = True
        else:
            self.body.append(data)

    def on_message_complete(self) -> None:
        self._midway = False
        if self._head_only and self.head.chunked:
            self.surplus = True
        if self.has_head:
            self.complete = True


def _learn(received: list[tuple[bytes, bytes]]) -> KnownFields:
    """Raises BadResponse."""
    fields = [(name.decode("latin-1"), _value(name, raw).decode("utf-8", "surrogateescape")) for name, raw in received]
    try:
        known = KnownFields(received, sift_response(fields))
    except BadField as bad:
        raise BadResponse(bad.reason) from None
    for name, value in fields:
        lower = name.lower()
        if lower == "content-length":
            known.length = int(value)
        elif lower == "transfer-encoding":
            known.chunked = True
        elif lower == "upgrade":
            known.upgrade = value.lower()
        elif lower == "sec-websocket-accept":
            known.accept = value
    return known


def _value(name: bytes, raw: bytes) -> bytes:
    """Without the spaces behind it, which llhttp leaves to us, and which are no part of it (RFC 9110 §5.5). But with
    them behind a transfer coding, llhttp has not taken it for one: let it be refused."""
    return raw if name.lower() == b"transfer-encoding" else raw.rstrip(b" \t")
