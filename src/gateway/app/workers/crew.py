"""The workers of one gateway, as its parent keeps them: each replaced when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence

from gateway.app.figures import Figures, remains, together
from gateway.app.in_force import Taker
from gateway.app.parts import Listening
from gateway.app.workers import messages
from gateway.app.workers.board import Board
from gateway.app.workers.circuits import OpenCircuits
from gateway.app.workers.messages import FromWorker
from gateway.app.workers.process import WorkerProcess
from gateway.core.authentication import Credential
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.pipeline.rate_limits import RateLimits
from gateway.proxy.listener import Drained
from gateway.settings import Settings

ANSWER_WITHIN = 1.0
"""Seconds that figures are waited for; a worker's last ones are taken then."""
BEAT = 1.0
HUNG_AFTER = 15
"""Beats of the parent without a word from a worker, after which it is replaced."""
MADE_WITHIN = 60
"""The same, of one that has not said its first word: reading the code takes long on a busy machine."""
END_WITHIN = 5.0
_STEADY = 10.0
"""Seconds of life after which a worker's end is no sign that the next will end as well."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0

logger = logging.getLogger("gateway.workers")


class Crew:
    """Hands what it takes to each worker."""

    def __init__(
        self,
        settings: Settings,
        listening: Listening,
        sticky_key: bytes,
        brief: Callable[[Taker], None],
        ages: Callable[[], Mapping[str, float]],
    ) -> None:
        """To be made in the event loop. `brief` tells somebody all that is in force; `ages` are of the services'
        views, in seconds."""
        self._settings = settings
        self._listening = listening
        self._sticky_key = sticky_key
        self._brief = brief
        self._ages = ages
        self._loop = asyncio.get_running_loop()
        self._board = Board.make(settings.workers)
        self._workers: dict[int, WorkerProcess] = {}
        self._circuits = OpenCircuits(self._impose, self._loop.call_at)
        self._rates = RateLimits(self._loop.time, settings.rate_limit_keys)
        self._gone = Figures(workers=0)
        """Of the workers that have ended, together."""
        self._begun: dict[int, asyncio.Future[None]] = {}
        """Of the first worker of each number."""
        self._serving = self._ending = False
        self._keepers: list[asyncio.Task[None]] = []
        self._beating: asyncio.TimerHandle | None = None

    # --- what is in force (Taker) ---

    def routes(self, routes: Sequence[Route]) -> None:
        self._rates.follow(routes)
        for worker in self._briefed():
            worker.routes(routes)

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self._circuits.policies(policies)
        for worker in self._briefed():
            worker.policies(policies)

    def credentials(self, credentials: Sequence[Credential]) -> None:
        for worker in self._briefed():
            worker.credentials(credentials)

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        sent: dict[int, int] = {}
        for worker in self._briefed():
            worker.instances(service, instances)
            sent[worker.number] = worker.sent
        self._circuits.instances(service, instances, sent)

    def forget(self, service: str) -> None:
        self._circuits.forget(service)
        for worker in self._briefed():
            worker.forget(service)

    def prefer(self, node: str) -> None:
        for worker in self._briefed():
            worker.prefer(node)

    # --- serving ---

    async def open(self) -> None:
        """Starts the workers. Raises what keeps one of them from beginning."""
        numbers = range(1, self._settings.workers + 1)
        begun = {number: self._loop.create_future() for number in numbers}
        self._begun = begun
        self._keepers = [self._loop.create_task(self._keep(number)) for number in numbers]
        self._beat()
        await asyncio.gather(*begun.values())

    async def start(self) -> None:
        """Has all of them take requests."""
        self._serving = True
        workers = self._briefed()
        for worker in workers:
            worker.send(messages.Serve())
        await asyncio.gather(*(worker.serves_or_ended() for worker in workers))
        for worker in workers:
            if worker.failure is not None:
                raise worker.failure

    @property
    def able(self) -> bool:
        return any(worker.serves.is_set() for worker in self._workers.values())

    async def drain(self, linger: float, limit: float, *, accepting: bool) -> Drained:
        self._ending = True
        # From here on the socket lives as long as a worker takes from it.
        self._listening.close()
        workers = self._tell_all(messages.Drain(linger, limit, accepting))
        await self._ends(workers, linger + limit + END_WITHIN)
        drained = [worker.drained for worker in workers if worker.drained is not None]
        return Drained(sum(each.finished for each in drained), sum(each.aborted for each in drained))

    async def close(self) -> None:
        self._ending = True
        if self._beating is not None:
            self._beating.cancel()
        workers = self._tell_all(messages.Close())
        await self._ends(workers, END_WITHIN)
        for worker in workers:
            worker.kill()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._listening.close()

    async def figures(self) -> Figures:
        serving = [worker for worker in self._workers.values() if worker.serves.is_set()]
        answers = [worker.ask() for worker in serving]
        if answers:
            await asyncio.wait(answers, timeout=ANSWER_WITHIN)
        rates = Figures(rate_limits=tuple(self._rates.loads()), workers=0)
        return together([self._gone, rates, *(worker.figures for worker in serving)])

    def _tell_all(self, message: messages.Drain | messages.Close) -> Sequence[WorkerProcess]:
        workers = list(self._workers.values())
        for worker in workers:
            worker.send(message)
        return workers

    async def _ends(self, workers: Sequence[WorkerProcess], within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.gather(*(worker.ended.wait() for worker in workers))

    # --- one worker after the other ---

    async def _keep(self, number: int) -> None:
        """Keeps a worker of that number."""
        pause = _FIRST_PAUSE
        while not self._ending:
            began = self._loop.time()
            worker = WorkerProcess(number, self._heard)
            try:
                await worker.start(self._begin(number), self._listening, self._board.descriptor)
            except OSError as error:
                logger.error("A worker cannot be started.", extra={"number": number, "error": str(error)})
            else:
                self._workers[number] = worker
                self._has_ended(worker, await worker.wait())
            if self._loop.time() - began > _STEADY:
                pause = _FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _begin(self, number: int) -> messages.Begin:
        # Tokens are the parent's business alone.
        its = self._settings.model_copy(update={"consul_token": None, "admin_token": None})
        return messages.Begin(its, self._sticky_key, number)

    def _has_ended(self, worker: WorkerProcess, code: int) -> None:
        number = worker.number
        del self._workers[number]
        self._board.leave(number)
        self._circuits.leaves(number)
        by_itself = Figures(workers=0, restarts=0 if self._ending else 1)
        self._gone = together([self._gone, remains(worker.figures), by_itself])
        begun = self._begun[number]
        if not begun.done():
            begun.set_exception(worker.failure or RuntimeError(f"worker {number} ended with {code} as it began"))
        elif not self._ending:
            why = {} if worker.failure is None else {"error": str(worker.failure)}
            told = {"number": number, "pid": worker.pid, "exit_code": code, **why}
            logger.error("A worker ended by itself and is replaced.", extra=told)

    def _heard(self, worker: WorkerProcess, message: FromWorker) -> None:
        if isinstance(message, messages.Told):
            self._circuits.told(worker.number, message)
        elif isinstance(message, messages.RatesAsked):
            answers = [(number, self._rates.judge(asked)) for number, asked in message.asked]
            worker.send(messages.Judged(answers))
        elif isinstance(message, messages.Made):
            self._brief(worker)
            worker.briefed = True
            self._circuits.joins(worker.number)
            if self._serving:
                worker.send(messages.Serve())
            begun = self._begun[worker.number]
            if not begun.done():
                begun.set_result(None)

    def _briefed(self) -> Sequence[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.briefed]

    def _impose(self, number: int, message: messages.Impose) -> int:
        worker = self._workers[number]
        worker.send(message)
        return worker.sent

    def _beat(self) -> None:
        """Each second: tells the views' ages, and looks who has fallen silent."""
        ages = messages.Ages(self._loop.time(), self._ages())
        for worker in self._workers.values():
            worker.silent_for += 1
            if worker.silent_for > (HUNG_AFTER if worker.briefed else MADE_WITHIN):
                logger.error("A worker is silent, and is killed.", extra={"number": worker.number, "pid": worker.pid})
                worker.kill()
            elif worker.briefed:
                worker.send(ages)
        self._beating = self._loop.call_later(BEAT, self._beat)
