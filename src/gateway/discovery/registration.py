"""The gateway as an instance of its own service, registered with the agent that it talks to.

By default the check is a TTL check that the gateway itself keeps up: it works wherever the agent runs, while an HTTP
check of `/readyz` needs the agent to reach the admin surface, which listens on loopback and is out of reach for an
agent in a container or on another host. Where it is reachable, `check_url` makes it an HTTP check.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from gateway.discovery.duty import Duty
from gateway.discovery.errors import ConsulError, ConsulUnavailable
from gateway.discovery.mirror import Tower

GONE_AFTER = "30m"
"""After so long without a sign of life the agent forgets a gateway that died without deregistering."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What is registered. Without an `address` it is the node's; `ttl` seconds."""

    service_id: str
    service: str
    port: int
    address: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    check_url: str | None = None
    ttl: float = 15.0

    @property
    def check_id(self) -> str:
        return f"service:{self.service_id}"

    def definition(self, *, ready: bool) -> dict[str, object]:
        """As in the API (Agent: Register Service)."""
        check: dict[str, object] = {
            "CheckID": self.check_id,
            "Name": "Gateway is ready",
            "Status": "passing" if ready else "critical",
            "DeregisterCriticalServiceAfter": GONE_AFTER,
        }
        if self.check_url is None:
            check["TTL"] = f"{self.ttl:g}s"
        else:
            check |= {"HTTP": self.check_url, "Interval": f"{self.ttl / 3:g}s", "Timeout": "2s"}
        return {
            "ID": self.service_id,
            "Name": self.service,
            "Port": self.port,
            "Tags": list(self.tags),
            "Meta": dict(self.meta),
            "Weights": {"Passing": 1, "Warning": 1},
            "Check": check,
        } | ({"Address": self.address} if self.address else {})


class Agent(Protocol):
    async def register_service(self, definition: Mapping[str, object]) -> None: ...
    async def deregister_service(self, service_id: str) -> None: ...
    async def agent_has_service(self, service_id: str) -> bool: ...
    async def check_pass(self, check_id: str, note: str) -> bool: ...
    async def check_fail(self, check_id: str, note: str) -> bool: ...


class Registration:
    """`ready` tells whether the gateway can serve; its answer is the check's state."""

    def __init__(self, agent: Agent, identity: Identity, ready: Callable[[], bool], tower: Tower) -> None:
        self._agent = agent
        self._identity = identity
        self._ready = ready
        self._tower = tower
        self._wanted = False
        self._registered = False
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self.duty = Duty("registration")

    async def register(self) -> None:
        """Register, and from now on see to it that it stays so. Trouble is recorded, not raised: it is tried again."""
        self._wanted = True
        await self._keep()
        self._wake.set()

    async def deregister(self) -> None:
        """Leave the catalog, for good. Trouble is recorded, not raised."""
        self._wanted = False
        async with self._lock:
            if not self._registered:
                return
            try:
                await self._agent.deregister_service(self._identity.service_id)
            except ConsulError as error:
                self.duty.failed(error)
            else:
                self.duty.ended()
            self._registered = False

    def leave(self) -> None:
        """Another one keeps the registration from now on, under the same id."""
        self._wanted = self._registered = False
        self.duty.ended()

    def note_readiness(self) -> None:
        """`ready` answers otherwise than before."""
        self._wake.set()

    async def run(self) -> NoReturn:
        """Keep the check up, and register again where the agent forgot us, until cancelled."""
        with self._tower.listening(lambda _lost: self._wake.set()):
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._identity.ttl / 3):
                        await self._wake.wait()
                self._wake.clear()
                if self._wanted:
                    await self._keep()

    async def _keep(self) -> None:
        async with self._lock:
            if not self._wanted:
                return
            try:
                if not self._registered or not await self._is_known():
                    await self._agent.register_service(self._identity.definition(ready=self._ready()))
                    self._registered = True
            except ConsulError as error:
                self.duty.failed(error)
            else:
                self.duty.succeeded()

    async def _is_known(self) -> bool:
        """Tell the agent how we are; whether it knows of us. After a restart without data it does not."""
        identity = self._identity
        if identity.check_url is not None:
            return await self._agent.agent_has_service(identity.service_id)
        try:
            if self._ready():
                return await self._agent.check_pass(identity.check_id, "ready")
            return await self._agent.check_fail(identity.check_id, "not ready")
        except ConsulUnavailable:
            # up to Consul 1.11 an unknown check is a 500
            return False
