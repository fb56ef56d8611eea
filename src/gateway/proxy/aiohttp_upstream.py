"""The first upstream implementation: aiohttp's client protocol on connections of our own.

`ClientSession` is left out on purpose. Half of it is what a proxy has to switch off one by one (cookies, redirects,
its own resends, environment proxies, added fields), and it hides which connection a request went out on, which is what
tells a stale connection from a reset one. The parser and its flow control are aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from time import perf_counter

from aiohttp import ClientError
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from gateway.core.model import FailureKind
from gateway.core.tickets import Attempt
from gateway.proxy.fields import Field, head, is_safe_value
from gateway.proxy.hop_headers import BadField, sift_response
from gateway.proxy.options import ProxyOptions
from gateway.proxy.own_answer import phrase
from gateway.proxy.streams import PipedTunnel
from gateway.proxy.upload import Upload
from gateway.proxy.upstream import ClientBodyFailure, Tunnel, UpstreamFailure, UpstreamRequest
from gateway.proxy.upstream_connection import UpstreamConnection
from gateway.proxy.upstream_pool import UpstreamPool

_SWITCHING_PROTOCOLS = 101


class AiohttpUpstream:
    """One pool for each service and endpoint; a changed set of connect settings makes a new one."""

    def __init__(self, options: ProxyOptions) -> None:
        self._options = options
        self._pools: dict[tuple[str, str, int], UpstreamPool] = {}

    async def send(self, attempt: Attempt, request: UpstreamRequest) -> AiohttpResponse:
        pool = self._pool(attempt)
        began = perf_counter()
        try:
            connection = await pool.acquire()
        finally:
            request.connect_time = perf_counter() - began
        exchange = AiohttpResponse(pool, connection, request, self._options)
        try:
            await exchange.begin()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def retain(self, endpoints: Collection[tuple[str, int]]) -> None:
        for key in [key for key in self._pools if (key[1], key[2]) not in endpoints]:
            self._pools.pop(key).retire()

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)

    @property
    def idle_connections(self) -> dict[tuple[str, int], int]:
        """Kept connections by endpoint."""
        return {(pool.address, pool.port): pool.idle for pool in self._pools.values()}

    def _pool(self, attempt: Attempt) -> UpstreamPool:
        instance, connect = attempt.instance, attempt.policy.connect
        key = (instance.service, instance.address, instance.port)
        pool = self._pools.get(key)
        if pool is None or (pool.connect is not connect and pool.connect != connect):
            if pool is not None:
                pool.retire()
            pool = self._pools[key] = UpstreamPool(instance.address, instance.port, connect)
        return pool


class AiohttpResponse:
    """One exchange on one connection: request out, response in."""

    def __init__(
        self, pool: UpstreamPool, connection: UpstreamConnection, request: UpstreamRequest, options: ProxyOptions
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._request = request
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._upload: Upload | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._payload: StreamReader | None = None
        self._waiting_since: float | None = None
        self._released = False
        self.status = 0
        self.phrase = ""
        self.fields: Sequence[Field] = ()
        self.length: int | None = None
        self.bodiless = False

    async def begin(self) -> None:
        """Sends the request and waits for the response's head."""
        request, options = self._request, self._options
        connection = self._connection
        connection.begin(
            head_only=request.method == "HEAD",
            line_limit=options.max_line,
            field_limit=options.max_field,
            fields_limit=options.max_fields,
            buffer=options.read_buffer,
        )
        self._send()
        try:
            message, payload = await connection.head()
        except (UpstreamFailure, ClientBodyFailure):
            raise
        except (ClientError, OSError) as error:
            raise self._disconnected(error) from None
        except HttpProcessingError as error:
            raise UpstreamFailure(
                FailureKind.RESET, f"{self._pool.authority} sent what is no HTTP: {error.message}"
            ) from None
        finally:
            self._stop_timer()
        self._take(message, payload)

    def _send(self) -> None:
        request = self._request
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise self._disconnected(ConnectionResetError("closed before the request was sent"))
        body = request.body
        whole: bytes | None = b""
        framing = f"Host: {request.host or self._pool.authority}\r\n"
        if body is not None:
            whole = body.whole()
            if whole is None and body.length is None:
                framing += "Transfer-Encoding: chunked\r\n"
            else:
                framing += f"Content-Length: {body.length if whole is None else len(whole)}\r\n"
        if request.upgrade is not None:
            framing += f"Connection: Upgrade\r\nUpgrade: {request.upgrade}\r\n"
        start = head(f"{request.method} {request.target} HTTP/1.1", request.fields, framing)
        if whole is None:
            assert body is not None
            transport.write(start)
            self._upload = Upload(self._connection, body, idle=request.idle_timeout, on_end=self._upload_ended)
        else:
            transport.write(start + whole if whole else start)
            self._start_timer()

    def _upload_ended(self) -> None:
        request = self._request
        if self._payload is None:
            if request.request_timeout:
                request.deadline = self._loop.time() + request.request_timeout
            self._start_timer()

    def _take(self, message: RawResponseMessage, payload: StreamReader) -> None:
        if message.version not in ((1, 1), (1, 0)):
            raise UpstreamFailure(FailureKind.RESET, f"{self._pool.authority} answered in another version of HTTP")
        try:
            self.fields = sift_response(message.headers.items())
        except BadField as bad:
            raise UpstreamFailure(FailureKind.RESET, f"{self._pool.authority}: {bad.reason}") from None
        self.status = message.code
        self._payload = payload
        if message.code == _SWITCHING_PROTOCOLS:
            wanted = self._request.upgrade
            if not self._connection.upgraded or message.headers.get("Upgrade", "").lower() != wanted:
                raise UpstreamFailure(FailureKind.RESET, f"{self._pool.authority} switched protocols unasked")
        self.phrase = (
            message.reason if is_safe_value(message.reason) and message.reason.isascii() else phrase(message.code)
        )
        self.bodiless = self._request.method == "HEAD" or message.code in (204, 304)
        length = message.headers.get("Content-Length")
        if length is not None and message.code != 204:
            self.length = int(length)

    def whole(self) -> bytes | None:
        payload = self._payload
        assert payload is not None
        if self.bodiless:
            self._release()
            return b""
        if not payload.is_eof() or payload.exception() is not None:
            return None
        data = payload.read_nowait()
        self._release()
        return data

    async def read(self) -> bytes:
        payload = self._payload
        assert payload is not None
        self._waiting_since = self._loop.time()
        if self._timer is None and self._request.idle_timeout:
            self._timer = self._loop.call_later(self._request.idle_timeout, self._watch_silence)
        try:
            data = await payload.readany()
        except (UpstreamFailure, ClientBodyFailure):
            raise
        except (ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            detail = f"the response of {self._pool.authority} ended early: {error!r}"
            raise UpstreamFailure(FailureKind.TRUNCATED, detail) from None
        finally:
            self._waiting_since = None
        if not data:
            self._release()
        return data

    def tunnel(self) -> Tunnel:
        self._stop_timer()
        return PipedTunnel.over_upstream(self._connection, self._options.read_buffer)

    def close(self) -> None:
        self._stop_timer()
        if self._upload is not None:
            self._upload.cancel()
        if not self._released:
            self._released = True
            self._pool.discard(self._connection)

    def _release(self) -> None:
        self._stop_timer()
        if self._released:
            return
        if self._upload is not None and not self._upload.done:
            self.close()
            return
        self._released = True
        self._pool.release(self._connection)

    # --- time ---

    def _start_timer(self) -> None:
        request = self._request
        until = request.deadline
        if request.attempt_timeout:
            attempt = self._loop.time() + request.attempt_timeout
            until = attempt if until is None else min(attempt, until)
        if until is not None:
            self._timer = self._loop.call_at(until, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        detail = f"{self._pool.authority} sent no response head in time"
        self._connection.set_exception(UpstreamFailure(FailureKind.TIMEOUT, detail))

    def _watch_silence(self) -> None:
        idle, since, now = self._request.idle_timeout, self._waiting_since, self._loop.time()
        silent_until = (now if since is None else since) + idle
        if silent_until > now:
            self._timer = self._loop.call_at(silent_until, self._watch_silence)
        else:
            detail = f"{self._pool.authority} fell silent in the middle of its response"
            self._connection.set_exception(UpstreamFailure(FailureKind.TRUNCATED, detail))

    def _disconnected(self, error: Exception) -> UpstreamFailure:
        connection = self._connection
        if connection.requests > 1 and not connection.answered:
            return UpstreamFailure(FailureKind.STALE_CONNECTION, f"{self._pool.authority} closed a kept connection")
        return UpstreamFailure(FailureKind.RESET, f"{self._pool.authority} broke the connection off: {error!r}")
