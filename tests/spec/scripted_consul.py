"""A Consul that does what `specs/RegistryMirror.tla` says it may, and a real watch of one service on it, by steps.

It is a fake because no real one lags, forgets, hides and restarts when it is told to. The watch, the subject and its
doubt are the real ones, on a virtual clock; what is played here is the HTTP client, the lighthouse and the time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from gateway.core.model import Health, Instance
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.consul_client import Question
from gateway.discovery.doubt import OLD, Sign
from gateway.discovery.errors import ConsulBadAnswer, ConsulError, ConsulUnavailable, ConsulUnreachable
from gateway.discovery.service_view import ServiceView
from gateway.discovery.transport import Reply
from gateway.discovery.view import View
from gateway.discovery.watch import Taken, Watch

SERVICE = "orders"
GRACE = 10.0
State = dict[str, Health]
"""Of the service: the health of each instance that is there."""

_ROUNDS = 12
"""Turns of the loop within which all that can go on has gone on."""


def body(state: Mapping[str, Health]) -> bytes:
    """As `/v1/health/service` tells it. Each instance has a node of its own."""
    return json.dumps(
        [
            {
                "Node": {"Node": name, "Address": "10.0.0.1", "Datacenter": "dc1"},
                "Service": {"ID": name, "Service": SERVICE, "Port": 80},
                "Checks": [{"CheckID": _check_of(health), "Status": _status_of(health), "Output": "as it is"}],
            }
            for name, health in state.items()
        ]
    ).encode()


def _check_of(health: Health) -> str:
    return "_node_maintenance" if health is Health.MAINTENANCE else "alive"


def _status_of(health: Health) -> str:
    return "critical" if health is Health.MAINTENANCE else str(health)


class Source:
    """What a `ServiceView` asks. A question waits here until it is answered, and an answer until it may be judged."""

    def __init__(self) -> None:
        self.rights: frozenset[str] = frozenset()
        self.asked: list[int | None] = []
        """The indices asked with."""
        self.parked: asyncio.Future[Reply[bytes]] | None = None
        self.gate: asyncio.Future[None] | None = None
        self.authority_fails = False

    async def health_service(self, service: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        self.asked.append(index)
        self.parked = asyncio.get_running_loop().create_future()
        try:
            return await self.parked
        finally:
            self.parked = None

    async def may_read(self, questions: Sequence[Question]) -> list[bool] | None:
        if self.authority_fails:
            raise ConsulUnavailable("500", "POST /v1/internal/acl/authorize")
        return [
            question.segment in self.rights if question.segment in {"a", "b", "c"} else bool(self.rights)
            for question in questions
        ]

    async def kv_read(self, key: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        raise AssertionError("is not asked here")

    async def pass_gate(self) -> None:
        self.gate = asyncio.get_running_loop().create_future()
        try:
            await self.gate
        finally:
            self.gate = None


class Judged(ServiceView):
    """The real subject, which judges each answer when it is told to."""

    source: Source

    async def take(self, reply: Reply[bytes], signs: Sign) -> Taken:
        await self.source.pass_gate()
        return await super().take(reply, signs)


class Calm:
    """A lighthouse under which every pause is over at once."""

    def suspect(self) -> None:
        return

    async def rest(self, seconds: float) -> bool:
        return False


class WatchedService:
    """A watch on its loop, which stops where the specification has a step."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.source = Source()
        self.published: list[State] = []
        self.subject = Judged(SERVICE, self.source, AddressPolicy(), GRACE, lambda: self.now, self._publish)
        self.subject.source = self.source
        self.view = View(SERVICE, lambda: self.now, lambda: self.now)
        self.watch = Watch(self.subject, self.view, Calm(), wait=300, clock=lambda: self.now, draw=lambda: 0.0)
        self.turn: asyncio.Task[None] | None = None

    def _publish(self, service: str, instances: Sequence[Instance]) -> None:
        self.published.append({instance.key.service_id: instance.health for instance in instances})

    @property
    def mirror(self) -> State:
        """As the core was told last."""
        return self.published[-1] if self.published else {}

    @property
    def phase(self) -> str:
        if self.turn is None:
            return "idle"
        return "parked" if self.source.parked is not None else "answered"

    def ask(self) -> int:
        """The next turn begins. Returns the index that is asked with, 0 for none."""
        self.turn = self.loop.create_task(self._one_turn())
        self._go_on()
        assert self.phase in {"parked", "answered"}
        return self.source.asked[-1] or 0

    def answer(self, state: State, index: int, *, unsure: str | None, filtered: bool) -> None:
        assert self.source.parked is not None
        known_leader = False if unsure == "leaderless" else None
        last_contact = 2 * OLD if unsure == "old" else None
        self.source.parked.set_result(Reply(body(state), 200, index, known_leader, last_contact, filtered))
        self._go_on()

    def judge(self) -> None:
        assert self.source.gate is not None
        self.source.gate.set_result(None)
        self._go_on()

    def fail(self, *, at_the_question: bool = False) -> None:
        """The question fails; or its answer does, as such or because we cannot be told our rights."""
        lost: ConsulError = ConsulUnreachable("reset", "GET /v1/health/service")
        if self.source.parked is not None:
            self.source.parked.set_exception(lost)
        elif at_the_question:
            self.source.authority_fails = True
            self.judge()
            self.source.authority_fails = False
        else:
            assert self.source.gate is not None
            self.source.gate.set_exception(ConsulBadAnswer("not JSON", "GET /v1/health/service"))
        self._go_on()

    def kick(self) -> None:
        async def called() -> None:
            self.watch.kick(True)

        self.loop.run_until_complete(called())
        self._go_on()

    def close(self) -> None:
        if self.turn is not None:
            self.turn.cancel()
            self._go_on()
        self.loop.close()

    async def _one_turn(self) -> None:
        """As `Mirror` has one made where it reads services in turn."""
        try:
            await self.watch.turn()
        except ConsulError as error:
            self.watch.failed(error)
        finally:
            self.turn = None

    def _go_on(self) -> None:
        async def rounds() -> None:
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rounds())
