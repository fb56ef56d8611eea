"""One worker as its parent sees it: a process, and what it said last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from gateway.app.figures import Figures
from gateway.app.parts import Listening
from gateway.app.workers import messages
from gateway.app.workers.channel import Channel
from gateway.app.workers.messages import FromParent, FromWorker
from gateway.app.workers.rates import RateJudge
from gateway.core.authentication import Credential
from gateway.core.model import Instance, Route, ServicePolicy

_NOT_FOR_WORKERS = frozenset({"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "GATEWAY_CONSUL_TOKEN"})
"""They never talk to Consul."""


class WorkerProcess:
    """What is in force is told to it as to a sink of discovery."""

    def __init__(self, number: int, heard: Callable[[WorkerProcess, FromWorker], None], rates: RateJudge) -> None:
        """`heard` is called with what it says, after that has been noted here."""
        self.number = number
        self.rates = rates
        self.figures = Figures(workers=0)
        """As of its last report."""
        self.silent_for = 0
        """Beats of the parent since it said anything."""
        self.briefed = False
        self.serves = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: Exception | None = None
        """Why it could not begin."""
        self.drained: messages.Drained | None = None
        self._heard = heard
        self._channel: Channel[FromWorker] = Channel(self._take, self._lost)
        self._channel_lost = asyncio.Event()
        self._answer: asyncio.Future[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, begin: messages.Begin, listening: Listening, board: int) -> None:
        """Raises OSError where there can be no more processes."""
        ours, its = socket.socketpair()
        with its:
            sockets = {name: each.fileno() for name, each in listening.named().items()}
            passed = (its.fileno(), board, *sockets.values())
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # never modules from the directory that the gateway happens to be started in
                    "-m",
                    "gateway.app.workers.main",
                    str(its.fileno()),
                    str(board),
                    *(f"{name}={descriptor}" for name, descriptor in sockets.items()),
                    stdin=asyncio.subprocess.DEVNULL,
                    env={name: value for name, value in os.environ.items() if name not in _NOT_FOR_WORKERS},
                    pass_fds=passed,
                    # Ctrl-C at the terminal reaches the parent alone.
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        await self._channel.open(ours)
        self.send(begin)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def sent(self) -> int:
        """Messages to it so far."""
        return self._channel.sent

    def send(self, message: FromParent) -> None:
        self._channel.send(message)

    def ask(self) -> asyncio.Future[None]:
        """Done when `figures` are those of now, or will never be."""
        if self._answer is None or self._answer.done():
            self._answer = asyncio.get_running_loop().create_future()
            if self._channel_lost.is_set():
                self._answer.set_result(None)
        self.send(messages.Ask())
        return self._answer

    async def wait(self) -> int:
        """Until it has ended, and all that it said was taken; its exit code, negative where a signal ended it."""
        assert self._process is not None
        code = await self._process.wait()
        await self._channel_lost.wait()
        self.ended.set()
        return code

    async def serves_or_ended(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self.serves, self.ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    # --- what is in force (Taker) ---

    def routes(self, routes: Sequence[Route]) -> None:
        self.send(messages.Routes(tuple(routes)))

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self.send(messages.Policies(policies))

    def credentials(self, credentials: Sequence[Credential]) -> None:
        self.send(messages.Credentials(tuple(credentials)))

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        self.send(messages.Instances(service, tuple(instances)))

    def forget(self, service: str) -> None:
        self.send(messages.Forget(service))

    def prefer(self, node: str) -> None:
        self.send(messages.Prefer(node))

    # --- what it says ---

    def _take(self, message: FromWorker) -> None:
        self.silent_for = 0
        match message:
            case messages.Failed(error):
                self.failure = error
            case messages.Serves():
                self.serves.set()
            case messages.Report(figures, asked):
                self.figures = figures
                if asked:
                    self._answered()
            case messages.Drained(_, _, figures):
                self.drained, self.figures = message, figures
        self._heard(self, message)

    def _answered(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _lost(self) -> None:
        self._channel_lost.set()
        self._answered()
