"""Consul agents as fixtures. See tests/support/consul for what an agent can do."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from typing import Literal, TypeAlias

import pytest
import uvloop

from gateway.build import COMPILED
from tests.support import compiled
from tests.support.consul import Cluster, ConsulAgent, ConsulContainer, ConsulProcess, Options, Role, engine_reason
from tests.support.consul.engine import engine_required

ConsulKind: TypeAlias = Literal["process", "container"]
LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]
StartConsul: TypeAlias = Callable[..., ConsulAgent]

_KINDS: dict[ConsulKind, type[ConsulAgent]] = {"process": ConsulProcess, "container": ConsulContainer}
_names = count(1)


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """The loop that the gateway runs on; it differs from asyncio's own in small things that matter."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_report_header() -> str:
    processes = "compiled" if compiled.environment() else "interpreted"
    if not COMPILED:
        return f"gateway: interpreted; its processes: {processes}"
    if not compiled.environment():
        pytest.exit("what PYTHONPATH leads to was not compiled from these sources: make test-compiled", 4)
    return "gateway: compiled, here and in its processes"


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine: without one the test is skipped, and fails where CI or GATEWAY_REQUIRE_DOCKER is set."""
    reason = engine_reason()
    if reason and engine_required():
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(params=["process", pytest.param("container", marks=pytest.mark.container)])
def consul_kind(request: pytest.FixtureRequest) -> ConsulKind:
    """Runs the test twice: with an agent as a process, and as a container."""
    kind: ConsulKind = request.param
    if kind == "container":
        request.getfixturevalue("docker_engine")
    return kind


@pytest.fixture
def unique() -> str:
    """A name that no other test of this run uses, for services and key prefixes in a shared agent."""
    return f"t{next(_names)}"


@pytest.fixture(scope="session")
def shared_consul() -> Iterator[ConsulAgent]:
    """One dev agent for the whole run. Not to be stopped or emptied; take names from `unique`."""
    with ConsulProcess() as agent:
        yield agent


@pytest.fixture(scope="session")
def tls_consul() -> Iterator[ConsulAgent]:
    """One dev agent for the whole run that speaks HTTPS only and demands client certificates."""
    with ConsulProcess(Options(tls=True)) as agent:
        yield agent


@pytest.fixture
def start_consul() -> Iterator[StartConsul]:
    """`start_consul(Options(...), "process" | "container")`: a started agent, removed after the test."""
    with ExitStack() as stack:

        def start(options: Options | None = None, kind: ConsulKind = "process") -> ConsulAgent:
            return stack.enter_context(_KINDS[kind](options))

        yield start


@pytest.fixture
def dev_consul(start_consul: StartConsul) -> ConsulAgent:
    """A dev agent of the test's own, started in a fifth of a second; a restart empties it."""
    return start_consul()


@pytest.fixture
def data_consul(start_consul: StartConsul) -> ConsulAgent:
    """A server of the test's own that finds its data again after kill and start."""
    return start_consul(Options(role=Role.SERVER))


@pytest.fixture
def acl_consul(start_consul: StartConsul) -> ConsulAgent:
    """A server of the test's own under ACLs with default deny; its token manages everything."""
    return start_consul(Options(role=Role.SERVER, acl=True))


@pytest.fixture
def any_consul(start_consul: StartConsul, consul_kind: ConsulKind) -> ConsulAgent:
    """Like data_consul, once as a process and once as a container."""
    return start_consul(Options(role=Role.SERVER), consul_kind)


@pytest.fixture
def consul_cluster() -> Iterator[Cluster]:
    """Three servers and a client agent, as processes."""
    with Cluster() as cluster:
        yield cluster
