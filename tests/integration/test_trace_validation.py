"""A real gateway on a real Consul, with faults: what it decided is what the specification allows, and decides again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from specs.traces import Line, validate
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

_COMMAND = Path(sys.executable).with_name("gateway")
ROUTE = {
    "backends": [{"service": "orders"}],
    "limits": {"in_flight": 12, "queue": 4, "queue_timeout": "100ms"},
    "retry": {"attempts": 2, "retry_on": ["connect_failure", "reset", "500"]},
    "timeouts": {"attempt": "500ms"},
}
POLICY = {
    "circuit": {"consecutive_failures": 3, "open_for": "300ms", "max_open_for": "600ms", "max_open": "70%"},
    "in_flight_per_instance": 3,
}


def lines_of(journal: Path) -> Sequence[Line]:
    """Without the checkpoint, which says in one line what the events say again."""
    return [json.loads(text) for text in journal.read_text().splitlines()][1:]


def replay(*segments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_COMMAND, "replay", "--quiet", *segments], capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
async def test_a_run_with_faults_is_a_behaviour_of_the_specification(
    dev_consul: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
    tmp_path: Path,
) -> None:
    instances = {name: start_instance(name) for name in ("a", "b", "c")}
    for instance in instances.values():
        register(dev_consul, "orders", instance)
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    dev_consul.admin.put("gateway/services/orders", POLICY)
    journal = tmp_path / "journal"
    gateway = start_gateway(dev_consul.environment, journal=journal, journal_segment="256MiB")
    async with SteadyLoad(gateway.url, clients=24, rate=250) as load:
        await load.answered(200)
        await faults(dev_consul, gateway, instances["a"].name, load, register, instances)
    await asyncio.to_thread(gateway.stop)

    lines = lines_of(journal)
    seen = Counter(line["action"] for line in lines)
    circuits = Counter(line["decision"].get("circuit") for line in lines)
    print(f"{len(lines)} events: {dict(seen)}; circuits: {dict(circuits)}")
    assert len(lines) >= 5_000
    for action in ("Retry", "TriggerCircuitBreaker", "DeregisterService", "UpdateHealth", "Dequeue"):
        assert seen[action], f"no {action} in this run"
    assert circuits["trip"]
    assert circuits["probes_passed"]

    again = await asyncio.to_thread(replay, journal)
    assert again.returncode == 0, again.stderr
    assert f"{len(lines)} events" in again.stdout
    found = await asyncio.to_thread(validate, lines)
    refused = lines[found.taken] if found.taken < len(lines) else None
    assert found.accepted, f"{found}; refused: {refused}"


async def faults(
    consul: ConsulAgent,
    gateway: GatewayProcess,
    flapping: str,
    load: SteadyLoad,
    register: Callable[..., str],
    instances: Mapping[str, InstanceProcess],
) -> None:
    """One dies and comes back, one fails, one hangs, one flaps, one leaves and returns, a policy changes."""

    def state(name: str) -> str:
        rows = gateway.admin("/v1/circuits")["circuits"]
        return next((str(row["state"]) for row in rows if row["instance"].endswith(f"/{name}")), "gone")

    b, c = instances["b"], instances["c"]
    await asyncio.to_thread(b.kill)
    await eventually(lambda: state("b") in {"open", "half_open"}, what="the circuit of b opens")
    await load.answered(200)
    await asyncio.to_thread(b.start)
    await eventually(lambda: state("b") == "closed", within=30, what="the circuit of b closes")
    await c.mode_async(answer="hang")
    await eventually(lambda: state("c") in {"open", "half_open"}, what="the circuit of c opens")
    await c.mode_async(answer="fail")
    await load.answered(200)
    await c.mode_async(answer="ok")
    for status in ("warning", "critical", "passing"):
        await asyncio.to_thread(consul.admin.set_check, f"check:{flapping}", status)
        await load.answered(250)
    await asyncio.to_thread(consul.admin.deregister, flapping)
    await eventually(lambda: state(flapping) == "gone", what="the mirror follows")
    await load.answered(300)
    await asyncio.to_thread(register, consul, "orders", instances[flapping])
    consul.admin.put("gateway/services/orders", {**POLICY, "in_flight_per_instance": 1})
    for name in instances:
        await instances[name].mode_async(delay=0.03)
    await load.answered(400)
    assert load.tally.statuses[503], "nobody found the queue full or waited too long"
