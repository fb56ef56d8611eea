"""Rates that hold over all workers: the parent counts, and workers ask.

It is asked once for all requests that come in one turn of a worker's event loop, and answers in that order. What is
the same for all requests of a stage is told once, before its first request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.app.workers import messages
from gateway.core.limits import RateLimit
from gateway.pipeline.gcra import Key
from gateway.pipeline.rate_limits import Asked, Over

PATIENCE = 1.0
"""Seconds that the parent has to answer; then the worker counts by itself."""
MOST_OUT = 1000
"""Questions without an answer, beyond which none are asked."""
MOST_KINDS = 4096

_Waiting = tuple[Asked, asyncio.Future[Over | None]]


class _Turn(NamedTuple):
    waiting: Sequence[_Waiting]
    late: asyncio.TimerHandle


class AskingParent:
    """The worker's end. Without a parent that answers, each worker counts for itself."""

    def __init__(
        self, send: Callable[[messages.RateKind | messages.RatesAsked], None], judge: Callable[[Asked], Over | None]
    ) -> None:
        """`judge` is this worker's own count."""
        self._send = send
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._kinds: dict[int, tuple[int, Sequence[RateLimit]]] = {}
        """Numbers, by the identity of a stage's limits, which are kept alive beside them."""
        self._waiting: list[_Waiting] = []
        self._out: deque[_Turn] = deque()
        self._alone = False

    def __call__(self, asked: Asked) -> asyncio.Future[Over | None]:
        answer: asyncio.Future[Over | None] = self._loop.create_future()
        if self._alone or len(self._out) >= MOST_OUT:
            answer.set_result(self._judge(asked))
            return answer
        if not self._waiting:
            self._loop.call_soon(self._ask)
        self._waiting.append((asked, answer))
        return answer

    def judged(self, answers: Sequence[tuple[int, float] | None]) -> None:
        turn = self._out.popleft()
        turn.late.cancel()
        for (asked, waiting), answer in zip(turn.waiting, answers, strict=True):
            if not waiting.done():
                waiting.set_result(None if answer is None else Over(asked.limits[answer[0]], answer[1]))

    def go_on_alone(self) -> None:
        """Nobody answers any more."""
        self._alone = True
        while self._out:
            turn = self._out.popleft()
            turn.late.cancel()
            self._decide(turn.waiting)

    def _ask(self) -> None:
        waiting, self._waiting = self._waiting, []
        asked = [(self._kind(each), each.keys) for each, _ in waiting]
        self._send(messages.RatesAsked(asked))
        self._out.append(_Turn(waiting, self._loop.call_later(PATIENCE, self._decide, waiting)))
        if self._alone:
            self.go_on_alone()

    def _decide(self, waiting: Sequence[_Waiting]) -> None:
        for asked, answer in waiting:
            if not answer.done():
                answer.set_result(self._judge(asked))

    def _kind(self, asked: Asked) -> int:
        known = self._kinds.get(id(asked.limits))
        if known is not None:
            return known[0]
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        number = len(self._kinds)
        self._kinds[id(asked.limits)] = (number, asked.limits)
        self._send(messages.RateKind(number, asked._replace(keys=())))
        return number


class RateJudge:
    """The parent's end, for one worker."""

    def __init__(self, judge: Callable[[Asked], Over | None]) -> None:
        self._judge = judge
        self._kinds: dict[int, Asked] = {}

    def kind(self, number: int, asked: Asked) -> None:
        self._kinds[number] = asked

    def judged(self, asked: Sequence[tuple[int, Sequence[Key]]]) -> Sequence[tuple[int, float] | None]:
        return [self._of(self._kinds[kind]._replace(keys=keys)) for kind, keys in asked]

    def _of(self, asked: Asked) -> tuple[int, float] | None:
        over = self._judge(asked)
        return None if over is None else (asked.limits.index(over.limit), over.wait)
