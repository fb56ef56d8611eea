"""A restart under load: the next gateway takes the ports over, and no connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess
from tests.support.load import SteadyLoad

Register = Callable[..., str]


class NewConnections:
    """Requests in a row, each by a connection of its own."""

    def __init__(self, url: str) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._url = url
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                connector = aiohttp.TCPConnector(force_close=True)
                async with aiohttp.ClientSession(connector=connector) as session, session.get(self._url) as response:
                    await response.read()
                    if response.status != 200:
                        self.failures.append(str(response.status))
                self.answered += 1
            except (aiohttp.ClientError, OSError) as error:
                self.failures.append(repr(error))

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


def _next(gateway: GatewayProcess, tmp_path: Path, consul: ConsulAgent, **settings: object) -> GatewayProcess:
    """Another gateway at the same ports."""
    after = GatewayProcess(tmp_path, consul.environment, **settings)
    after.port, after.admin_port = gateway.port, gateway.admin_port
    after._environment |= {
        "GATEWAY_LISTEN": f"127.0.0.1:{gateway.port}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{gateway.admin_port}",
    }
    return after


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_restart_under_load_loses_nothing(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Register,
    start_gateway: StartGateway,
    tmp_path: Path,
    workers: int,
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    settings = {"workers": workers, "handover": tmp_path / "handover.sock", "drain_time": "3s", "monitor": True}
    old = start_gateway(dev_consul.environment, **settings)
    fresh = NewConnections(old.url)
    readiness: list[int] = []
    chain = [old]
    async with SteadyLoad(old.url, clients=16, rate=200) as load:
        await load.answered(100)
        for _ in range(2):
            after = _next(chain[-1], tmp_path, dev_consul, **settings)
            chain.append(after)
            await asyncio.to_thread(after.start)
            ended = asyncio.create_task(asyncio.to_thread(chain[-2].wait))
            while not ended.done():
                readiness.append(await asyncio.to_thread(old.status, "/readyz"))
                await asyncio.sleep(0.02)
            assert ended.result() == 0
            await load.answered(100)
        instances = dev_consul.admin.health("gateway")
    await fresh.stop()
    chain[-1].stop()
    print(f"{load.tally.begun} requests by keep-alive and {fresh.answered} new connections over two restarts")
    assert load.tally.failed == 0, load.tally
    assert not fresh.failures
    assert set(readiness) == {200}
    assert len(instances) == 1, "the registration is the next one's, and is not taken away"
