"""One worker: a process with one event loop, which serves by what its parent tells it.

When the parent is gone without a word, it serves on by what is in force, for as long as the settings say; then it
drains, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping

import uvloop

from gateway.app.memory import settle_memory
from gateway.app.parts import Listening
from gateway.app.seat import Seat
from gateway.app.serving import Serving
from gateway.app.workers import messages
from gateway.app.workers.board import Board
from gateway.app.workers.channel import Channel
from gateway.app.workers.messages import FromParent
from gateway.app.workers.rates import AskingParent
from gateway.app.workers.sharing import SharedCircuits
from gateway.core.breaker import Imposition
from gateway.core.model import InstanceKey
from gateway.journal.segments import JournalError
from gateway.proxy.client.certificate_files import TlsError
from gateway.proxy.client.sockets import ListenError
from gateway.settings import Settings
from gateway.telemetry import logs

REPORT_INTERVAL = 1.0
_END_WITHIN = 15.0
"""Seconds that closing may take, once no request is waited for any more."""

logger = logging.getLogger("gateway.workers")


class Worker:
    """To be made in the event loop."""

    def __init__(self, listening: Listening, board: Board) -> None:
        self._listening = listening
        self._board = board
        self._channel: Channel[FromParent] = Channel(self._take, self._parent_left)
        self._loop = asyncio.get_running_loop()
        self._settings: Settings | None = None
        self._serving: Serving | None = None
        self._circuits: SharedCircuits | None = None
        self._rates: AskingParent | None = None
        self._ages: Mapping[str, float] = {}
        self._ages_at = 0.0
        self._reporting: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._serves = False
        self._starting: asyncio.Task[None] | None = None
        self._stop_asked = asyncio.Event()

    async def run(self, parent: socket.socket) -> None:
        """Until it is told to end, or the parent has been gone for long enough."""
        for number in (signal.SIGTERM, signal.SIGINT):
            # The parent is told to stop as well, and tells us; but for when there is none any more.
            self._loop.add_signal_handler(number, self._stop_asked.set)
        await self._channel.open(parent)
        await self._ended.wait()

    # --- what the parent says ---

    def _take(self, message: FromParent) -> None:
        try:
            self._do(message)
        except Exception:
            # What is in force stays in force, as in a gateway of one worker.
            logger.exception("News from the parent could not be taken.", extra={"news": type(message).__name__})

    def _do(self, message: FromParent) -> None:
        if isinstance(message, messages.Begin):
            self._begin(message)
            return
        serving, circuits, rates = self._serving, self._circuits, self._rates
        if serving is None or circuits is None or rates is None:
            return
        if isinstance(message, messages.News):
            message.tell(serving)
            return
        match message:
            case messages.Ages(at, ages):
                self._ages_at, self._ages = at, ages
            case messages.Impose(service, key, imposed):
                circuits.impose(service, key, imposed)
            case messages.Serve():
                self._starting = self._loop.create_task(self._serve(serving))
            case messages.Ask():
                self._channel.send(messages.Report(serving.figures_now(), asked=True))
            case messages.Judged(answers):
                rates.judged(answers)
            case messages.Drain():
                self._end(self._drain(serving, message))
            case messages.Close():
                self._end(self._close(serving))

    def _begin(self, message: messages.Begin) -> None:
        settings = self._settings = message.settings
        logs.configure(settings.log_level, settings.log_format, worker=message.number)
        seat = Seat(message.number, self._board.place(message.number), self._board.descriptor)
        try:
            self._serving = Serving(settings, self._listening, message.sticky_key, self._view_age, seat)
        except Exception as error:  # noqa: BLE001 - the parent says what it is
            self._fail(error)
            return
        self._circuits = SharedCircuits(self._serving.conductor, self._tell_circuit)
        self._serving.on_circuit = self._circuits.changed
        self._serving.rates.ask = self._rates = AskingParent(self._channel.send, self._serving.rates.judge)
        settle_memory()
        self._channel.send(messages.Made())
        self._report(self._serving)

    async def _serve(self, serving: Serving) -> None:
        try:
            await serving.start()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
            return
        self._serves = True
        self._channel.send(messages.Serves())

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, OSError | JournalError | ListenError | TlsError):
            logger.error("The worker cannot begin by an error of the gateway.", exc_info=error)
            error = RuntimeError(f"{type(error).__name__}: {error}")
        self._channel.send(messages.Failed(error))
        self._channel.close()
        self._ended.set()

    def _report(self, serving: Serving) -> None:
        self._channel.send(messages.Report(serving.figures_now(), asked=False))
        self._reporting = self._loop.call_later(REPORT_INTERVAL, self._report, serving)

    def _tell_circuit(self, service: str, key: InstanceKey, circuit: Imposition) -> None:
        self._channel.send(messages.Told(service, key, circuit, self._channel.taken))

    def _view_age(self, service: str) -> float | None:
        age = self._ages.get(service)
        return None if age is None else age + self._loop.time() - self._ages_at

    # --- endings ---

    async def _drain(self, serving: Serving, asked: messages.Drain) -> None:
        drained = await serving.drain(asked.linger, asked.limit, accepting=asked.accepting)
        await self._close(serving)
        self._channel.send(messages.Drained(drained.finished, drained.aborted, serving.figures_now()))

    async def _close(self, serving: Serving) -> None:
        self._stop_reporting()
        await serving.close()

    def _end(self, ending: Coroutine[None, None, None]) -> None:
        """Does that, whatever else was to be done, and then ends."""
        if self._ending is not None:
            self._ending.cancel()
        self._ending = self._loop.create_task(self._ends(ending))

    async def _ends(self, ending: Coroutine[None, None, None]) -> None:
        try:
            await ending
        except asyncio.CancelledError:
            return
        except Exception:
            logger.exception("The worker did not end in order.")
        self._channel.close()
        self._ended.set()

    def _stop_reporting(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None

    def _parent_left(self) -> None:
        if self._ended.is_set():
            return
        if self._settings is not None:
            settings = self._settings
            longest = settings.outlive + settings.drain_time + settings.finish_limit + _END_WITHIN
            self._loop.call_later(longest, _end_now)
        if self._ending is not None:
            return
        serving, circuits, rates = self._serving, self._circuits, self._rates
        if serving is None or circuits is None or rates is None or self._settings is None or not self._serves:
            self._ended.set()
            return
        self._stop_reporting()
        circuits.go_on_alone()
        rates.go_on_alone()
        self._end(self._outlive(serving, self._settings))

    async def _outlive(self, serving: Serving, settings: Settings) -> None:
        told = {"serves_on_for": settings.outlive}
        logger.error("The parent has gone; requests are served on by what is in force.", extra=told)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.outlive):
                await self._stop_asked.wait()
        logger.warning("The worker drains, and ends.")
        await self._drain(serving, messages.Drain(settings.drain_time, settings.finish_limit, accepting=True))


def _end_now() -> None:
    """Nobody is there any more to kill a worker that cannot end in order."""
    logger.error("The worker did not end in time, and ends now.")
    logging.shutdown()
    os._exit(1)


def main() -> None:
    """`main CHANNEL BOARD NAME=SOCKET …`: descriptors that were inherited."""
    channel, board, *sockets = sys.argv[1:]
    named = {name: int(descriptor) for name, _, descriptor in (each.partition("=") for each in sockets)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(channel), int(board), named))


async def _run(channel: int, board: int, sockets: Mapping[str, int]) -> None:
    named = {name: socket.socket(fileno=descriptor) for name, descriptor in sockets.items()}
    listening = Listening(named.get("proxy"), named.get("tls"))
    await Worker(listening, Board(board)).run(socket.socket(fileno=channel))


if __name__ == "__main__":
    main()
