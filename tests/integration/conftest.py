"""A gateway process, instances as processes, and the arranging of both in a real Consul."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from gateway.journal.stream import FAILED
from gateway.journal.violations import VIOLATED
from tests.support.consul import ConsulAgent, http_check, ttl_check
from tests.support.gateway_process import GatewayProcess
from tests.support.instances import InstanceProcess

StartGateway: TypeAlias = Callable[..., GatewayProcess]
StartInstance: TypeAlias = Callable[..., InstanceProcess]

BROKEN = (VIOLATED, FAILED)
"""What the gateway's log says where its monitor found something, or failed."""


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """`start_gateway(agent.environment, drain_time="1s")`: a gateway that is ready, stopped after the test.

    Each of its decisions is held against the specification; one that breaks it fails the test.
    """
    gateways: list[GatewayProcess] = []
    with ExitStack() as stack:

        def start(
            consul: Mapping[str, str], *, wait: bool = True, through: Sequence[str | Path] = (), **settings: object
        ) -> GatewayProcess:
            gateway = GatewayProcess(tmp_path, consul, through, **{"monitor": True, **settings})
            gateways.append(gateway)
            stack.callback(gateway.stop)
            return gateway.start_ready() if wait else gateway.start()

        yield start
    lines = (line for gateway in gateways for line in gateway.log.splitlines())
    broken = [line for line in lines if any(text in line for text in BROKEN)]
    assert not broken, "\n".join(broken)


@pytest.fixture
def start_instance() -> Iterator[StartInstance]:
    """`start_instance("a")`: a running instance process, killed after the test."""
    with ExitStack() as stack:

        def start(name: str) -> InstanceProcess:
            instance = InstanceProcess(name)
            stack.callback(instance.kill)
            return instance.start()

        yield start


@pytest.fixture
def register() -> Callable[..., str]:
    """`register(agent, "orders", instance, weights=(10, 2))`: through the agent.

    With a TTL check `check:<name>` that the test sets; or, `http=True`, one that the agent makes each second.
    """

    def through(
        agent: ConsulAgent,
        service: str,
        instance: InstanceProcess,
        *,
        weights: tuple[int, int] = (1, 1),
        http: bool = False,
    ) -> str:
        url = f"http://127.0.0.1:{instance.port}/_control/health"
        check = http_check(url, status="passing") if http else ttl_check(f"check:{instance.name}", status="passing")
        return agent.admin.register(service, instance.port, id=instance.name, weights=weights, checks=[check])

    return through


@pytest.fixture
def orders(dev_consul: ConsulAgent, start_instance: StartInstance, register: Callable[..., str]) -> InstanceProcess:
    """The one instance of a service, and the route of that name that leads to it."""
    instance = start_instance("orders-1")
    register(dev_consul, "orders", instance)
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    return instance
