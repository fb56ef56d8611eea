"""A listener over a real core in this process, fed by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Connect, Instance, Outcome, Route, ServicePolicy
from gateway.discovery.addresses import AddressPolicy
from gateway.journal.monitor import Monitor
from gateway.journal.properties import Violation
from gateway.journal.stream import EventStream
from gateway.pipeline.stage import Pipelines
from gateway.proxy.client.server_certificates import ServerCertificates
from gateway.proxy.client.sockets import bind
from gateway.proxy.conductor import Conductor
from gateway.proxy.listener import Listener
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.pooled_upstream import PooledUpstream
from gateway.telemetry.records import RequestRecord
from tests.support.pipelines import all_stages
from tests.support.upstreams import LiteralClient, Response, ScriptedUpstream, request

DEFAULT_ROUTE = Route("orders", 1, (Backend("orders"),))
OPTIONS = ProxyOptions(gateway_id="gw-test", host="127.0.0.1", port=0)


class Records:
    """Collects what is told of requests."""

    def __init__(self) -> None:
        self.all: list[RequestRecord] = []
        self._more = asyncio.Event()

    def view_age(self, service: str) -> float | None:
        return 1.5

    def request_ended(self, record: RequestRecord) -> None:
        self.all.append(record)
        self._more.set()

    async def wait_for(self, count: int = 1) -> list[RequestRecord]:
        """The records once there are `count` of them."""
        async with asyncio.timeout(10):
            while len(self.all) < count:
                self._more.clear()
                await self._more.wait()
        return self.all


class RunningProxy:
    def __init__(
        self, core: Gateway, conductor: Conductor, upstream: PooledUpstream, listener: Listener, records: Records
    ) -> None:
        self.core = core
        self.conductor = conductor
        self.upstream = upstream
        self.listener = listener
        self.records = records
        self.port = listener.port
        self.tls_port = listener.tls_port

    async def connect(self, *, limit: int = 2**16) -> LiteralClient:
        return await LiteralClient.connect(self.port, limit=limit)

    async def ask(self, data: bytes | None = None, *, method: str = "GET") -> Response:
        """One exchange on a connection of its own."""
        async with await self.connect() as client:
            return await client.ask(request() if data is None else data, method=method)

    async def record(self, count: int = 1) -> RequestRecord:
        return (await self.records.wait_for(count))[count - 1]

    async def wait_for_attempts(self, count: int) -> None:
        """Returns once the core has begun that many attempts."""
        async with asyncio.timeout(10):
            while self.core.counters.attempts < count:
                await asyncio.sleep(0.005)

    def outcome(self, outcome: Outcome) -> int:
        return self.core.counters.outcomes[outcome]


@asynccontextmanager
async def running_proxy(
    *upstreams: ScriptedUpstream | Instance,
    route: Route | Sequence[Route] = DEFAULT_ROUTE,
    policy: ServicePolicy | None = None,
    options: ProxyOptions = OPTIONS,
    addresses: AddressPolicy = AddressPolicy(),  # noqa: B008 - it never changes
    certificates: ServerCertificates | None = None,
    pipelines: Pipelines | None = None,
) -> AsyncIterator[RunningProxy]:
    """Every upstream is an instance of its service; the policy is for each of them. With `certificates` it listens for
    TLS as well. `pipelines` are by default those of a gateway."""
    loop = asyncio.get_running_loop()
    violations: list[Violation] = []
    events = EventStream([Monitor(violations.append)])
    core = Gateway(
        lambda pattern: lambda text: re.fullmatch(pattern, text) is not None,
        lambda: 0.5,
        trace=events,
    )
    conductor = Conductor(core, loop.time)
    routes = [route] if isinstance(route, Route) else list(route)
    conductor.apply_routes(routes)
    instances = [each.instance if isinstance(each, ScriptedUpstream) else each for each in upstreams]
    services = {backend.service for each in routes for backend in each.backends}
    policy = policy or ServicePolicy("", connect=Connect(timeout=2.0))
    conductor.apply_policies({service: replace(policy, service=service) for service in services})
    for service in services:
        conductor.apply_view(service, [each for each in instances if each.service == service])
    upstream = PooledUpstream(options, addresses.check)
    records = Records()
    pipelines = pipelines or all_stages(loop.time, certificates=certificates is not None)
    if certificates is not None:
        options = replace(options, tls_socket=bind("127.0.0.1", 0, "--tls-listen"))
    listener = Listener(conductor, pipelines, upstream, options, records, certificates)
    await listener.start()
    try:
        yield RunningProxy(core, conductor, upstream, listener, records)
    finally:
        await listener.stop()
        await upstream.close()
        conductor.close()
        assert not violations
        assert not events.failed, "the monitor failed"
        counters = core.counters
        assert sum(counters.outcomes.values()) == counters.tickets, "a ticket did not end, or ended twice"
        assert conductor.waiting == 0
        assert all(load.in_flight == load.queued == 0 for load in core.loads())
