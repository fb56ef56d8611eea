"""A running `Discovery` whose results can be awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from gateway.core.authentication import Credential
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.discovery.consul_client import ConsulClient
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.service import Discovery, DiscoveryOptions
from gateway.discovery.view import ViewState
from tests.support.consul import ConsulAgent

IN_TIME = 2.0
"""Seconds within which a change has to arrive; it takes milliseconds, but the machine is shared."""


class Sink:
    """What discovery passed on, and a way to wait for it."""

    def __init__(self) -> None:
        self.table: dict[str, Route] = {}
        self.policy: dict[str, ServicePolicy] = {}
        self.held: dict[str, dict[str, Instance]] = {}
        self.granted: list[Credential] = []
        self.forgotten: list[str] = []
        self.calls = 0
        self._changed = asyncio.Event()

    def routes(self, routes: Sequence[Route]) -> None:
        self.table = {route.name: route for route in routes}
        self._note()

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self.policy = dict(policies)
        self._note()

    def credentials(self, credentials: Sequence[Credential]) -> None:
        self.granted = list(credentials)
        self._note()

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        self.held[service] = {instance.key.service_id: instance for instance in instances}
        self._note()

    def forget(self, service: str) -> None:
        self.forgotten.append(service)
        self.held.pop(service, None)
        self._note()

    def health(self, service: str) -> dict[str, str]:
        return {name: str(instance.health) for name, instance in self.held.get(service, {}).items()}

    async def until(self, condition: Callable[[], bool], within: float = IN_TIME) -> None:
        """Return when `condition` holds after a call; fails after `within` seconds."""
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _note(self) -> None:
        self.calls += 1
        self._changed.set()


class Running:
    def __init__(self, discovery: Discovery, sink: Sink, client: ConsulClient) -> None:
        self.discovery = discovery
        self.sink = sink
        self.client = client

    def view(self, name: str) -> ViewState:
        return {view.name: view for view in self.discovery.views()}[name]

    async def state(self, name: str, state: str, within: float = IN_TIME) -> ViewState:
        """Wait until a view is in that state."""
        return await self.view_until(name, lambda view: view.state == state, within)

    async def view_until(self, name: str, condition: Callable[[ViewState], bool], within: float = IN_TIME) -> ViewState:
        await eventually(lambda: condition(self.view(name)), within, lambda: str(self.view(name)))
        return self.view(name)


async def eventually(
    condition: Callable[[], bool], within: float = IN_TIME, tell: Callable[[], str] = lambda: "it did not come true"
) -> None:
    """For what gives no sign of its own."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        assert loop.time() < deadline, tell()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def discovering(
    consul: ConsulAgent | ConsulSettings,
    options: DiscoveryOptions | None = None,
    *,
    token: str | None = None,
    ready: bool = True,
) -> AsyncIterator[Running]:
    """Discovery on a real agent, ended and closed behind the block."""
    settings = consul if isinstance(consul, ConsulSettings) else ConsulSettings.from_environment(consul.environment)
    if token is not None:
        settings = replace(settings, token=token)
    client = ConsulClient(settings)
    sink = Sink()
    options = options or DiscoveryOptions("test", register=False, write_status=False)
    discovery = Discovery(client, options, sink)
    running = asyncio.create_task(discovery.run())
    try:
        if ready:
            async with asyncio.timeout(10):
                await discovery.ready()
        yield Running(discovery, sink, client)
    finally:
        ended_early = running.done()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await client.close()
        assert not ended_early, "discovery ended by itself"
