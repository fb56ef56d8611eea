"""Latency of one service's requests while another service hangs on every one of its own, as a ratio to without.

    python -m benchmarks.isolation [ROUNDS]

Rounds with and without the hung requests alternate, so that a change of the machine's speed meets both.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.support.consul import ConsulProcess, ttl_check
from tests.support.gateway_process import GatewayProcess
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

HUNG = 100
REQUESTS = 600


async def _round(url: str) -> tuple[float, float]:
    async with SteadyLoad(url, clients=16, rate=400) as load:
        await load.answered(REQUESTS)
    assert not load.tally.failed, load.tally
    return load.tally.median, load.tally.quantile(0.99)


async def _stuck(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url):
        pass


async def _measure(rounds: int) -> None:
    well, hung = InstanceProcess("well").start(), InstanceProcess("hung").start()
    hung.mode(answer="hang")
    ratios: list[tuple[float, float]] = []
    with ConsulProcess() as agent, tempfile.TemporaryDirectory() as directory:
        for instance in (well, hung):
            agent.admin.register(instance.name, instance.port, checks=[ttl_check("check:" + instance.name)])
            agent.admin.put(
                f"gateway/routes/{instance.name}",
                {"match": {"path_prefix": f"/{instance.name}"}, "backends": [{"service": instance.name}]},
            )
        gateway = GatewayProcess(Path(directory), agent.environment).start_ready()
        try:
            await _round(gateway.url + "/well")
            for _ in range(rounds):
                quiet = await _round(gateway.url + "/well")
                connector = aiohttp.TCPConnector(limit=HUNG)
                async with aiohttp.ClientSession(connector=connector) as session:
                    tasks = [asyncio.create_task(_stuck(session, gateway.url + "/hung")) for _ in range(HUNG)]
                    while (await asyncio.to_thread(hung.stats))["running"] < HUNG:
                        await asyncio.sleep(0.01)
                    beside = await _round(gateway.url + "/well")
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                while (await asyncio.to_thread(hung.stats))["running"]:
                    await asyncio.sleep(0.01)
                ratios.append((beside[0] / quiet[0], beside[1] / quiet[1]))
        finally:
            gateway.stop()
            well.kill()
            hung.kill()
    medians, tails = zip(*ratios, strict=True)
    print(f"latency beside {HUNG} hung requests of another service, to that without ({rounds} rounds)")
    print(f"  median {statistics.median(medians):.2f} (from {min(medians):.2f} to {max(medians):.2f})")
    print(f"  p99    {statistics.median(tails):.2f} (from {min(tails):.2f} to {max(tails):.2f})")


def main() -> None:
    asyncio.run(_measure(min(int(sys.argv[1]) if len(sys.argv) > 1 else 5, 100)))


if __name__ == "__main__":
    main()
