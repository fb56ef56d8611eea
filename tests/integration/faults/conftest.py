"""A service `orders` behind a gateway whose decisions are monitored, for tests that break something under load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.consul.admin import Json
from tests.support.gateway_process import GatewayProcess
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad, Tally

RETRIED = ("GET", "PUT")
"""Idempotent: what another instance can answer is not lost."""
POLICY: Mapping[str, Json] = {"circuit": {"open_for": "500ms", "max_open_for": "1s"}}


@dataclass
class Orders:
    agent: ConsulAgent
    gateway: GatewayProcess
    instances: Mapping[str, InstanceProcess]

    def load(self, *, methods: Sequence[str] = (*RETRIED, "POST"), clients: int = 32, rate: float = 200) -> SteadyLoad:
        return SteadyLoad(self.gateway.url + "/orders", clients=clients, rate=rate, methods=methods)

    def circuit(self, name: str) -> str:
        """State of an instance's circuit."""
        rows = self.gateway.admin("/v1/circuits")["circuits"]
        return next(str(row["state"]) for row in rows if row["instance"].endswith(f"/{name}"))


ServeOrders: TypeAlias = Callable[..., Orders]


@pytest.fixture
def serve_orders(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> ServeOrders:
    """`serve_orders(retry={…}, names="ab")`: instances of a service, a route to it, and a gateway that is ready.

    `agent` is another Consul than a dev agent, `consul` the variables that lead to it; `retry` and `timeouts` are the
    route's, `policy` is the service's; what else is given is for the gateway.
    """

    def serve(
        *,
        names: str = "abc",
        agent: ConsulAgent = dev_consul,
        consul: Mapping[str, str] | None = None,
        retry: Json = None,
        timeouts: Json = None,
        policy: Mapping[str, Json] = POLICY,
        http: bool = False,
        through: Sequence[str | Path] = (),
        **settings: object,
    ) -> Orders:
        instances = {name: start_instance(name) for name in names}
        for instance in instances.values():
            register(agent, "orders", instance, http=http)
        route: dict[str, Json] = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}
        given = {"retry": retry, "timeouts": timeouts}
        agent.admin.put("gateway/routes/orders", route | {name: value for name, value in given.items() if value})
        agent.admin.put("gateway/services/orders", policy)
        gateway = start_gateway(consul or agent.environment, through=through, **settings)
        return Orders(agent, gateway, instances)

    return serve


def tell(fault: str, tally: Tally) -> None:
    """Prints what was lost, for the table in docs/operating.md."""
    by = {method: tally.lost(method) for method in (*RETRIED, "POST")}
    slow = f"p99 {tally.quantile(0.99) * 1000:.0f} ms" if tally.latencies else "nothing answered"
    print(f"fault {fault}: {tally.begun} begun, lost {by}, {slow}")
