"""From a health flip in Consul to the last request that the instance got, measured at the instance.

    python -m benchmarks.flips [FLIPS]

A real dev Consul, a gateway process and two instances, on loopback, under steady load. Three kinds of flip in turn: a
TTL check set to critical, maintenance mode, deregistration. The clock starts before the call to Consul is made, so
Consul's own share is in the figures; printed beside them is that call's share: the time until Consul had answered it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.consul import Admin, ConsulProcess, ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

PACE = 0.4
"""Seconds for a flip and its mending: two changes, well within the ten a second that a watch passes on at once."""
RATE = 2000.0
"""Requests a second, so that an instance that is still picked shows it within a millisecond."""


def _register(admin: Admin, instance: InstanceProcess) -> None:
    admin.register("orders", instance.port, id=instance.name, checks=[ttl_check("check:" + instance.name)])


def _flips(admin: Admin, instance: InstanceProcess) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
    """By kind: what makes the instance unfit, and what mends it."""
    check = "check:" + instance.name
    return {
        "TTL check to critical": (
            lambda: admin.set_check(check, "critical"),
            lambda: admin.set_check(check, "passing"),
        ),
        "consul maint": (
            lambda: admin.maintain(instance.name),
            lambda: admin.maintain(instance.name, on=False),
        ),
        "deregistration": (lambda: admin.deregister(instance.name), lambda: _register(admin, instance)),
    }


async def _measure(flips: int) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    stays, flapping = InstanceProcess("stays").start(), InstanceProcess("flapping").start()
    with ConsulProcess() as agent, tempfile.TemporaryDirectory() as directory:
        for instance in (stays, flapping):
            _register(agent.admin, instance)
        agent.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
        gateway = GatewayProcess(Path(directory), agent.environment).start_ready()
        try:
            async with SteadyLoad(gateway.url, clients=8, rate=RATE, methods=("GET",)) as load:
                kinds = _flips(agent.admin, flapping)
                for number in range(flips):
                    kind = list(kinds)[number % len(kinds)]
                    found.setdefault(kind, []).append(await _flip(*kinds[kind], flapping, load))
            if load.tally.failed:
                print(f"{load.tally.failed} requests failed: {load.tally}")
        finally:
            gateway.stop()
            stays.kill()
            flapping.kill()
    return found


async def _flip(
    spoil: Callable[[], None], mend: Callable[[], None], instance: InstanceProcess, load: SteadyLoad
) -> tuple[float, float]:
    seen = load.tally.instances[instance.name]
    await eventually(lambda: load.tally.instances[instance.name] > seen, within=30, what="it gets requests")
    began = time.monotonic()
    await asyncio.to_thread(spoil)
    answered = time.monotonic() - began
    await asyncio.sleep(PACE / 2)
    stats = await asyncio.to_thread(instance.stats)
    await asyncio.to_thread(mend)
    await asyncio.sleep(PACE / 2)
    return max(0.0, stats["last_began"] - began), answered


def _row(name: str, values: list[tuple[float, float]]) -> str:
    ordered = sorted(last for last, _ in values)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    consul = statistics.median(answered for _, answered in values)
    return (
        f"{name:24} {len(values):5} flips   median {statistics.median(ordered) * 1000:6.2f} ms"
        f"   p99 {p99 * 1000:6.2f} ms   (Consul's answer: {consul * 1000:.2f} ms)"
    )


def main() -> None:
    flips = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    found = asyncio.run(_measure(min(flips, 3000)))
    print("health flip → last request to that instance")
    for kind, values in found.items():
        print("  " + _row(kind, values))
    print("  " + _row("all", [value for values in found.values() for value in values]))


if __name__ == "__main__":
    main()
