"""What a soak is of: a Consul of three servers and two agents, the gateway's and that of the instances' node, the
instances, and a gateway with everything on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import jumping_clock
from tests.support.consul import Cluster, ConsulAgent, http_check
from tests.support.consul.admin import Admin, Json
from tests.support.consul_proxy import ConsulProxy, consul_proxy
from tests.support.gateway_process import GatewayProcess
from tests.support.instances import InstanceProcess
from tests.support.small_disk import as_seen_by, can_mount, on_small_disk

_CHECKED = ("a", "b")
"""Instances that Consul checks; the others are left to the gateway's circuits."""
_UNCHECKED = ("c", "d")
_ROUTE: Json = {
    "match": {"path_prefix": "/orders"},
    "backends": [{"service": "orders"}],
    "timeouts": {"attempt": "2s", "request": "15s"},
    "retry": {"attempts": 4, "retry_on": ["connect_failure", "reset", "timeout", "500"]},
}
_POLICY: Json = {"circuit": {"open_for": "500ms", "max_open_for": "2s"}}
_DISK = "160m"


@dataclass
class World:
    cluster: Cluster
    proxy: ConsulProxy
    instances: Mapping[str, InstanceProcess]
    gateway: GatewayProcess
    clock: Path
    """The file that says how many seconds the gateway's wall clock is off."""
    disk: Path | None
    """The gateway's disk, as seen from here; None where it has none of its own."""
    workers: int

    @property
    def agent(self) -> ConsulAgent:
        """The gateway's."""
        return self.cluster.clients[0]

    @property
    def node(self) -> ConsulAgent:
        """The agent of the instances' node: while it is silent, Consul calls them critical."""
        return self.cluster.clients[1]

    @property
    def admin(self) -> Admin:
        return self.node.admin

    @property
    def url(self) -> str:
        return self.gateway.url + "/orders"

    def register(self, name: str, address: str = "127.0.0.1") -> None:
        """As it is registered from the beginning, but for the address."""
        instance = self.instances[name]
        health = f"http://127.0.0.1:{instance.port}/_control/health"
        checks = [http_check(health, interval="500ms", status="passing")] if name in _CHECKED else []
        self.admin.register("orders", instance.port, id=name, address=address, checks=checks)

    def healthy(self) -> bool:
        """Whether the gateway knows all instances as passing, all circuits are closed, and the view is live."""
        try:
            circuits = self.gateway.admin("/v1/circuits")["circuits"]
            views = self.gateway.admin("/v1/consul")["views"]
            services = self.gateway.admin("/v1/services")["services"]
        except OSError:
            return False
        (view,) = (each for each in views if each["view"] == "service:orders")
        (service,) = (each for each in services if each["service"] == "orders")
        names = {each["instance"].rsplit("/", 1)[1] for each in circuits}
        return (
            names == set(self.instances)
            and all(each["state"] == "closed" for each in circuits)
            and all(each["health"] == "passing" for each in service["instances"])
            and view["state"] == "live"
        )

    def processes(self) -> Sequence[int]:
        """Ids of the gateway's process and of its workers."""
        children = Path(f"/proc/{self.gateway.pid}/task/{self.gateway.pid}/children").read_text()
        return [self.gateway.pid, *map(int, children.split())]


@asynccontextmanager
async def world(folder: Path, workers: int) -> AsyncIterator[World]:
    """All of it, running; everything ends and goes with the block."""
    with ExitStack() as stack:
        cluster = await asyncio.to_thread(stack.enter_context, Cluster(clients=2))
        async with consul_proxy(cluster.clients[0]) as proxy:
            clock, disk = folder / "clock", folder / "disk"
            clock.write_text("0")
            disk.mkdir()
            own_disk = can_mount(disk)
            gateway = GatewayProcess(
                folder,
                proxy.environment,
                (
                    *(on_small_disk(disk, _DISK) if own_disk else ()),
                    *(sys.executable, jumping_clock.__file__, clock),
                ),
                monitor=True,
                access_log=disk / "access",
                journal=disk / "journal",
                journal_segment="4MiB",
                journal_segments=2,
                snapshot=disk / "snapshot",
                grace="30s",
                drain_time="2s",
                workers=workers,
            )
            instances = {name: InstanceProcess(name) for name in (*_CHECKED, *_UNCHECKED)}
            for instance in instances.values():
                stack.callback(instance.kill)
                await asyncio.to_thread(instance.start)
            made = World(cluster, proxy, instances, gateway, clock, None, workers)
            for name in instances:
                await asyncio.to_thread(made.register, name)
            await asyncio.to_thread(made.admin.put, "gateway/routes/orders", _ROUTE)
            await asyncio.to_thread(made.admin.put, "gateway/services/orders", _POLICY)
            stack.callback(gateway.stop)
            await asyncio.to_thread(gateway.start_ready)
            if own_disk:
                made.disk = as_seen_by(gateway.pid, disk)
            yield made
