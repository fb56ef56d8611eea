"""The bytes of one client connection into requests, which wait until it is their turn.

aiohttp's strict C parser reads them. What it is fed ends where a request does, as far as that can be told: it forgets
a complete request when the same bytes go on with a broken one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from aiohttp.http import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.model import Reason
from gateway.proxy.client.facts import Message
from gateway.proxy.client.request_parser import RequestParser, body_length, is_of_http, request_parser, why_refused
from gateway.proxy.options import ProxyOptions
from gateway.proxy.wire.connection import Connection

HEAD_END = b"\r\n\r\n"
_REPEATED = 4096
"""Bytes of the largest head that is remembered."""
_PIPELINED = 32
"""Requests that may wait for the one before them; more of what the client sends is not read until half have gone."""
_HEAD_KEPT = 1 << 19
"""Bytes of an unfinished head, and of the end of a body in front of it, that are kept to find its first line in."""


_CHUNKS_SPARE = 1 << 16
_CHUNKS_SHARE = 8
"""Of a chunked body, the sizes, extensions and line ends of chunks may come to so many bytes, and to so many times the
body besides: a chunk of one byte needs five more. Nothing else bounds an extension, which nobody reads."""


class RequestReader:
    """It begins nothing: who feeds it looks afterwards at what waits, and whether there is room."""

    def __init__(self, connection: Connection, options: ProxyOptions, loop: asyncio.AbstractEventLoop) -> None:
        """Bodies pause `connection` while they are full."""
        self._connection: Connection | None = connection
        self._loop = loop
        self._room = options.read_buffer
        self.parser: RequestParser | None = request_parser(connection, options, loop)
        self.waiting: deque[tuple[Message | None, StreamReader, Reason | None]] = deque()
        """Requests that wait for their turn; without a message, why something is none."""
        self.payload: StreamReader = EMPTY_PAYLOAD
        """The body of the last request that was read."""
        self._payload_length = 0
        """The bytes that it has if its head says so, else 0."""
        self._chunked = 0
        """Bytes that came behind its head."""
        self.plain = True
        """What comes is for the parser, nothing waits to be fed to it, and what it reads may begin."""
        self.deaf = False
        """What more comes is not read: it follows what was no request, or the last answer."""
        self.holding = False
        self._held = b""
        """What is not for the parser yet: more pipelined requests, or what follows a request for an upgrade."""
        self.partial = False
        """Whether a request's head has come in part."""
        self.head_since = 0.0
        """Since when, on the loop's clock."""
        self._rests = True
        """The parser is known to be between two requests."""
        self._last_head: bytes | None = None
        """The bytes of a request without body that the parser read last, and nothing else ..."""
        self._last_message: Message | None = None
        """... and what it made of them, as it would of the same bytes again: clients that poll send nothing else."""
        self._fed = b""
        """What the parser has been fed of a head that it has not told of yet."""
        self._head_first = True
        """Whether that begins with the head, rather than with the end of a body."""

    @property
    def full(self) -> bool:
        """Whether as much is held as may be."""
        return len(self._held) >= self._room

    # --- bytes ---

    def known(self, data: bytes) -> Message | None:
        """The last request, where these are its bytes again. Only while it is `plain`."""
        return self._last_message if self._rests and data == self._last_head else None

    def head(self, data: bytes) -> Message | None:
        """For what ends where a head does, and has no other in it, while it is `plain`: the request, if that is all
        there is, with its body in `payload`; or else what there is waits."""
        rested, self._rests = self._rests, False
        messages, upgrade, tail = self._parsed(data)
        if len(messages) != 1 or upgrade or self.waiting:
            self._take(messages, upgrade=upgrade, tail=tail)
            return None
        message, self.payload = messages[0]
        if self.payload is EMPTY_PAYLOAD:
            self._rests = True
            if rested and len(data) <= _REPEATED:
                self._last_head, self._last_message = data, message
        else:
            self._payload_length = body_length(message)
        return message

    def feed(self, data: bytes) -> None:
        """Of all that comes. Nothing has begun before all of it was fed: a body that came with its head is there."""
        while not (self.deaf or self.holding):
            between = self._between_requests()
            if between and len(self.waiting) >= _PIPELINED:
                self.hold(data)
                return
            end = self._end_of_head(data) if between else self._payload_length - self.payload.total_bytes
            if not 0 < end < len(data):
                self._feed(data)
                return
            self._feed(data[:end])
            data = data[end:]
        if self.holding:
            self.hold(data)

    def hold(self, data: bytes) -> None:
        """Keeps it, until it is let go or taken."""
        self.holding, self.plain = True, False
        self._held += data

    def let_go(self) -> None:
        """Reads what was held: the upgrade that the parser waits for is not made, or there is room again."""
        assert self.parser is not None
        self.parser.set_upgraded(False)
        self.holding, self.plain = False, True
        self.feed(self.take_held())

    def take_held(self) -> bytes:
        """What was held is for somebody else."""
        held, self._held = self._held, b""
        return held

    # --- endings ---

    def drop(self) -> None:
        """None of what waits is to begin, nor what comes: it is read for the end of a body alone."""
        self.plain = False
        self.waiting.clear()

    def stop(self) -> None:
        """Reads none of what comes from now on."""
        self.deaf = True
        self.drop()

    def close(self) -> None:
        """The connection is gone."""
        self.stop()
        # These and the connection hold each other.
        self._connection = self.parser = None
        self.payload = EMPTY_PAYLOAD

    # --- what the parser tells, and what it does not ---

    def _between_requests(self) -> bool:
        """A body that is complete but has filled its stream is not told so before the stream has room again."""
        payload = self.payload
        return payload.is_eof() or 0 < self._payload_length == payload.total_bytes

    def _end_of_head(self, data: bytes) -> int:
        """Where the head that begins there, or began before, ends in `data`; 0 where it does not."""
        before = self._fed[-3:]
        found = (before + data).find(HEAD_END)
        return 0 if found < 0 else found + len(HEAD_END) - len(before)

    def _feed(self, data: bytes) -> None:
        self._rests = False
        messages, upgrade, tail = self._parsed(data)
        self._take(messages, upgrade=upgrade, tail=tail)

    def _parsed(self, data: bytes) -> tuple[Sequence[tuple[Message, StreamReader]], bool, bytes]:
        parser = self.parser
        if parser is None:
            return [], False, b""
        between = self._between_requests()
        body_before = self.payload.total_bytes
        begun, self.partial = self.partial, False
        try:
            messages, upgrade, tail = parser.feed_data(data)
        except HttpProcessingError as error:
            self._misread(why_refused(error))
            # The parser tells nothing to a body that it gave up.
            if not self.payload.is_eof():
                self.payload.set_exception(RequestPayloadError("broken framing"))
            return [], False, b""
        fed, self._fed = self._fed + data if self._fed else data, b""
        head_first = self._head_first if len(fed) > len(data) else between
        for at, (message, _) in enumerate(messages):
            if not is_of_http(message, fed, first=head_first and not at):
                for good, payload in messages[:at]:
                    self.payload = payload
                    self.waiting.append((good, payload, None))
                self._misread(Reason.BAD_REQUEST)
                return [], False, b""
        last = messages[-1][1] if messages else self.payload
        self._chunked = 0 if messages else self._chunked + len(data)
        if not last.is_eof():
            # A body of known length has nothing behind it: it was fed by itself.
            if not (body_length(messages[-1][0]) if messages else self._payload_length):
                self._chunks_go_on(last, fed)
        elif not upgrade and not (messages and fed.endswith(HEAD_END)):
            if messages:
                self._head_begins(*_behind_request(messages[-1], fed), begun)
            elif between:
                self._head_begins(fed, head_first, begun)
            else:
                self._head_begins(_behind_chunks(fed[last.total_bytes - body_before :]), False, begun)
        return messages, upgrade, tail

    def _chunks_go_on(self, body: StreamReader, fed: bytes) -> None:
        if self._connection is not None and self._connection.reading_paused:
            # The parser stopped at what filled the stream, and goes on with the rest when it is fed again.
            self._fed, self._head_first = fed[:_HEAD_KEPT], False
        elif self._chunked > _CHUNKS_SPARE + (1 + _CHUNKS_SHARE) * body.total_bytes:
            self._misread(Reason.BAD_REQUEST)
            body.set_exception(RequestPayloadError("more of its chunks than of the body"))

    def _head_begins(self, fed: bytes, head_first: bool, begun: bool) -> None:
        """With what was fed, unless that is nothing. `begun`: it had before."""
        if fed:
            self.partial = True
            self._fed, self._head_first = fed[:_HEAD_KEPT], head_first
            if not begun:
                self.head_since = self._loop.time()

    def _misread(self, reason: Reason) -> None:
        self.deaf, self.plain = True, False
        self.waiting.append((None, EMPTY_PAYLOAD, reason))

    def _take(self, messages: Sequence[tuple[Message, StreamReader]], *, upgrade: bool, tail: bytes) -> None:
        for message, payload in messages:
            self.payload = payload
            self._payload_length = 0 if payload is EMPTY_PAYLOAD else body_length(message)
            self.waiting.append((message, payload, None))
        if upgrade:
            self.hold(tail)


def _behind_request(request: tuple[Message, StreamReader], fed: bytes) -> tuple[bytes, bool]:
    """What is behind a request that is complete in what was fed, and whether nothing else is with it."""
    message, payload = request
    if payload is EMPTY_PAYLOAD:
        return fed[fed.rfind(HEAD_END) + len(HEAD_END) :], True
    length = body_length(message)
    complete = length and fed[:-length].endswith(HEAD_END)
    return (b"" if complete else _behind_chunks(fed)), False


def _behind_chunks(fed: bytes) -> bytes:
    """All of it, where there is anything behind a chunked body: its end looks as that of a head does."""
    return b"" if fed.endswith(HEAD_END) or not (fed.strip(b"\r\n") or fed.endswith(b"\r")) else fed
