"""Rates that hold over all workers: the parent counts, and workers ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.app.workers import messages
from gateway.pipeline.rate_limits import Asked, Over

PATIENCE = 1.0
"""Seconds that the parent has to answer; then the worker counts by itself."""


class AskingParent:
    """Asks for all requests that come in one turn of the event loop at once. Without a parent each worker counts for
    itself."""

    def __init__(self, send: Callable[[messages.RatesAsked], None], judge: Callable[[Asked], Over | None]) -> None:
        """`judge` is this worker's own count."""
        self._send = send
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Over | None]] = {}
        self._batch: list[tuple[int, Asked]] = []
        self._alone = False

    async def __call__(self, asked: Asked) -> Over | None:
        if self._alone:
            return self._judge(asked)
        self._last += 1
        number = self._last
        answer: asyncio.Future[Over | None] = self._loop.create_future()
        self._waiting[number] = answer
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((number, asked))
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return self._judge(asked)
        finally:
            self._waiting.pop(number, None)

    def judged(self, answers: Sequence[tuple[int, Over | None]]) -> None:
        for number, over in answers:
            waiting = self._waiting.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(over)

    def go_on_alone(self) -> None:
        """Nobody answers any more. Who waits was within its rate a moment ago, as far as we know."""
        self._alone = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self._send(messages.RatesAsked(batch))
