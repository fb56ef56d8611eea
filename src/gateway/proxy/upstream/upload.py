"""A streamed request body on its way to the instance, beside the wait for the response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.model import FailureKind
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.interface import ClientBodyFailure, UpstreamBody, UpstreamFailure


class Upload:
    """Pumps in a task of its own, with back-pressure; a failure is raised to whoever reads the response."""

    def __init__(
        self,
        connection: UpstreamConnection,
        body: UpstreamBody,
        *,
        idle: float,
        on_end: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """`idle` is how long, in seconds, the instance may take nothing; 0 is no limit. `fail` is told why it ended."""
        self.done = False
        self._connection = connection
        self._body = body
        self._idle = idle or None
        self._on_end = on_end
        self._fail = fail
        self._chunked = body.length is None
        self._task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._pump()
        finally:
            # It and the task would hold each other.
            self._task = None

    async def _pump(self) -> None:
        try:
            while data := await self._body.read():
                await self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            if self._chunked:
                await self._write(b"0\r\n\r\n")
        except ClientBodyFailure as failure:
            self._fail(failure)
        except TimeoutError:
            self._fail(UpstreamFailure(FailureKind.TIMEOUT, "the instance stopped taking the body"))
        except ConnectionError:
            # The reader learns it too, unless an early response is waiting for it, which then counts.
            return
        except Exception as error:  # noqa: BLE001  an error of ours: who waits for the response has to learn of it
            self._fail(error)
        else:
            self.done = True
            self._on_end()

    async def _write(self, data: bytes) -> None:
        self._connection.write(data)
        if self._connection.writing_paused:
            async with asyncio.timeout(self._idle):
                await self._connection.drain()
