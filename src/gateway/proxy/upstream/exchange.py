"""One attempt on one connection to an instance: the request out, the response in."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from time import perf_counter

from aiohttp.http import HttpProcessingError
from aiohttp.streams import StreamReader

from gateway.core.model import FailureKind
from gateway.proxy.http.fields import is_safe_value
from gateway.proxy.http.own_answer import phrase
from gateway.proxy.http.websocket import accept_of
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.interface import ClientBodyFailure, Receiver, Tunnel, UpstreamFailure, UpstreamRequest
from gateway.proxy.upstream.pool import UpstreamPool
from gateway.proxy.upstream.response_reader import BadResponse, KnownFields, ResponseReader
from gateway.proxy.upstream.upload import Upload
from gateway.proxy.wire.streams import PipedTunnel

_SWITCHING_PROTOCOLS = 101


_NO_HEAD = KnownFields([], [])


@lru_cache(maxsize=256)
def _phrase(received: bytes, status: int) -> str:
    """The reason phrase as received if it is fit to be sent, or else the usual one."""
    text = received.decode("latin-1")
    return text if text.isascii() and is_safe_value(text) else phrase(status)


class UpstreamExchange:
    """Tells its receiver of the response's head, or of a failure before it, and nothing once it is closed."""

    __slots__ = (
        "_connection",
        "_loop",
        "_options",
        "_over",
        "_payload",
        "_pool",
        "_receiver",
        "_request",
        "_task",
        "_upload",
        "_waiting_since",
        "bodiless",
        "head",
        "length",
        "phrase",
        "status",
    )

    def __init__(self, pool: UpstreamPool, request: UpstreamRequest, receiver: Receiver, options: ProxyOptions) -> None:
        self._pool = pool
        self._request = request
        self._receiver: Receiver | None = receiver
        """Until it was told."""
        self._options = options
        self._loop = pool.loop
        self._connection: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._upload: Upload | None = None
        self._payload: StreamReader | None = None
        """The body, where it has not come with the head."""
        self._waiting_since: float | None = None
        self._over = False
        self.status = 0
        self.phrase = ""
        self.head = _NO_HEAD
        self.length: int | None = None
        self.bodiless = False

    # --- the request ---

    def begin(self) -> None:
        """Sends on a kept connection, or on a new one once there is one."""
        connection = self._pool.take()
        if connection is None:
            self._task = self._loop.create_task(self._connect())
        else:
            self._send(connection)

    async def _connect(self) -> None:
        began = perf_counter()
        try:
            connection = await self._pool.open()
        except Exception as error:  # noqa: BLE001  an error of ours: who waits for the response has to learn of it
            self._request.connect_time = perf_counter() - began
            self.fail(error)
            return
        self._request.connect_time = perf_counter() - began
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        request = self._request
        connection.begin(self, head_only=request.method == "HEAD")
        body = request.body
        whole: bytes | None = b""
        framing = f"Host: {request.host or self._pool.authority}\r\n"
        if body is not None:
            try:
                whole = body.whole()
            except ClientBodyFailure as failure:
                # Not at once: who called `send` has not even got this object yet.
                self._loop.call_soon(self.fail, failure)
                return
            if whole is None and body.length is None:
                framing += "Transfer-Encoding: chunked\r\n"
            else:
                framing += f"Content-Length: {body.length if whole is None else len(whole)}\r\n"
        if request.upgrade is not None:
            framing += f"Connection: Upgrade\r\nUpgrade: {request.upgrade}\r\n"
        line = f"{request.method} {request.target} HTTP/1.1\r\n{framing}"
        start = b"".join((line.encode("utf-8", "surrogateescape"), request.lines, b"\r\n", whole or b""))
        try:
            connection.write(start)
        except ConnectionError:
            # A new one, which has not lived until now. Not at once, as above.
            detail = f"{self._pool.authority} closed a new connection before it was used"
            self._loop.call_soon(self.fail, UpstreamFailure(FailureKind.CONNECT_FAILURE, detail))
            return
        if whole is None:
            assert body is not None
            self._upload = Upload(connection, body, idle=request.idle_timeout, on_end=self._uploaded, fail=self.fail)
        else:
            self._start_timer()

    def _uploaded(self) -> None:
        request = self._request
        if self._receiver is not None:
            if request.request_timeout:
                request.deadline = self._loop.time() + request.request_timeout
            self._start_timer()

    # --- what the connection tells (OnConnection) ---

    def heard(self, bad: BadResponse | None) -> None:
        connection = self._connection
        assert connection is not None
        reader = connection.reader
        if self._receiver is not None:
            if not reader.has_head or (bad is not None and reader.complete):
                if bad is not None:
                    self.fail(self._reset(f"sent what is no HTTP: {bad}"))
                return
            self._take_head(connection, bad)
        else:
            self._take_body(connection, bad)

    def _take_head(self, connection: UpstreamConnection, bad: BadResponse | None) -> None:
        reader = connection.reader
        connection.alarm.clear()
        if reader.version not in ("1.1", "1.0"):
            self.fail(self._reset("answered in another version of HTTP"))
            return
        status = self.status = reader.status
        if status == _SWITCHING_PROTOCOLS and not self._switches(reader):
            self.fail(self._reset("switched protocols unasked"))
            return
        self.phrase = _phrase(reader.reason, status)
        self.head = reader.head
        self.bodiless, self.length = reader.bodiless, reader.length
        receiver, self._receiver = self._receiver, None
        assert receiver is not None
        if not reader.complete:
            self._open_payload(connection, bad)
        # Last: in there this exchange may end, and the next one begin on the same connection.
        receiver.response_began(self)

    def _switches(self, reader: ResponseReader) -> bool:
        request, head = self._request, reader.head
        return reader.tail is not None and head.upgrade == request.upgrade and head.accept == accept_of(request.lines)

    def _open_payload(self, connection: UpstreamConnection, bad: BadResponse | None = None) -> StreamReader:
        payload = self._payload = connection.stream(self._options.read_buffer)
        self._take_body(connection, bad)
        return payload

    def _take_body(self, connection: UpstreamConnection, bad: BadResponse | None) -> None:
        payload, reader = self._payload, connection.reader
        if payload is None or payload.is_eof():
            return
        pieces = reader.body
        if pieces:
            reader.body = []
            for piece in pieces:
                payload.feed_data(piece)
        if bad is not None:
            self._break(f"{bad}")
        elif reader.complete:
            payload.feed_eof()

    def interrupted(self) -> None:
        self._never_sent("said something before it was asked")

    def timed_out(self) -> None:
        if self._receiver is not None:
            detail = f"{self._pool.authority} sent no response head in time"
            self.fail(UpstreamFailure(FailureKind.TIMEOUT, detail))
        else:
            self._watch_silence()

    def lost(self, error: Exception | None) -> None:
        connection, payload = self._connection, self._payload
        assert connection is not None
        if self._receiver is not None:
            if not connection.asked:
                self._never_sent("closed a connection before it was asked")
            elif connection.requests > 1 and not connection.answered:
                detail = f"{self._pool.authority} closed a kept connection"
                self.fail(UpstreamFailure(FailureKind.STALE_CONNECTION, detail))
            else:
                self.fail(self._reset(f"broke the connection off: {error!r}"))
        elif payload is not None and not payload.is_eof():
            if error is None and connection.reader.ends_with_connection:
                payload.feed_eof()
            else:
                self._break(f"{error!r}")

    # --- failures ---

    def fail(self, error: Exception) -> None:
        """Ends the attempt: the receiver learns of it, or who reads the body."""
        if self._over:
            return
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            self.close()
            receiver.attempt_failed(error)
        elif self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(error)

    def _break(self, why: str) -> None:
        detail = f"the response of {self._pool.authority} ended early: {why}"
        self.fail(UpstreamFailure(FailureKind.TRUNCATED, detail))

    def _never_sent(self, what: str) -> None:
        """Nobody has seen the request: it goes out on another connection, whatever its method, unless this was a new
        one, or bytes of its body are gone."""
        connection, body = self._connection, self._request.body
        assert connection is not None
        if connection.requests > 1 and self._upload is None and (body is None or body.replayable):
            self._pool.discard(connection)
            self._connection = None
            if body is not None:
                body.restart()
            self.begin()
            return
        kind = FailureKind.STALE_CONNECTION if connection.requests > 1 else FailureKind.CONNECT_FAILURE
        self.fail(UpstreamFailure(kind, f"{self._pool.authority} {what}"))

    def _reset(self, what: str) -> UpstreamFailure:
        return UpstreamFailure(FailureKind.RESET, f"{self._pool.authority} {what}")

    # --- the response ---

    def whole(self) -> bytes | None:
        if self._payload is not None:
            return None
        connection = self._connection
        assert connection is not None
        pieces = connection.reader.body
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._release()
        return data

    async def read(self) -> bytes:
        connection = self._connection
        assert connection is not None
        payload = self._payload or self._open_payload(connection)
        self._waiting_since = self._loop.time()
        if self._request.idle_timeout and not connection.alarm.is_set:
            connection.alarm.set(self._waiting_since + self._request.idle_timeout)
        try:
            data = await payload.readany()
        except (UpstreamFailure, ClientBodyFailure):
            raise
        except (HttpProcessingError, OSError, RuntimeError) as error:
            detail = f"the response of {self._pool.authority} ended early: {error!r}"
            raise UpstreamFailure(FailureKind.TRUNCATED, detail) from None
        finally:
            self._waiting_since = None
        if not data:
            self._release()
        return data

    def tunnel(self) -> Tunnel:
        connection = self._connection
        assert connection is not None
        return PipedTunnel(connection, connection.tunnel(self._options.read_buffer))

    def close(self) -> None:
        """Gives the attempt up, wherever it is."""
        self._receiver = None
        if self._over:
            return
        self._over = True
        if self._task is not None:
            self._task.cancel()
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.cancel()
        if self._connection is not None:
            self._pool.discard(self._connection)

    def _release(self) -> None:
        connection = self._connection
        assert connection is not None
        if self._over:
            return
        if self._upload is not None and not self._upload.done:
            self.close()
            return
        self._over, self._upload = True, None
        self._pool.release(connection)

    # --- time ---

    def _start_timer(self) -> None:
        request = self._request
        until = request.deadline
        if request.attempt_timeout:
            attempt = self._loop.time() + request.attempt_timeout
            until = attempt if until is None else min(attempt, until)
        if until is not None and self._connection is not None:
            self._connection.alarm.set(until)

    def _watch_silence(self) -> None:
        idle, since, now = self._request.idle_timeout, self._waiting_since, self._loop.time()
        silent_until = (now if since is None else since) + idle
        if silent_until > now:
            assert self._connection is not None
            self._connection.alarm.set(silent_until)
        else:
            detail = f"{self._pool.authority} fell silent in the middle of its response"
            self.fail(UpstreamFailure(FailureKind.TRUNCATED, detail))
