"""Several workers: what holds over all of them, and what the end of one costs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.load import SteadyLoad

Register = Callable[..., str]


def _workers(gateway: GatewayProcess) -> list[int]:
    """Pids of the parent's children that live."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    return [int(child) for child in children]


def _circuits(gateway: GatewayProcess) -> list[str]:
    return [row["state"] for row in gateway.admin("/v1/circuits")["circuits"]]


async def _status(url: str) -> int:
    """By a connection of its own."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        await response.read()
        return response.status


async def test_routes_are_live_in_all_workers_and_metrics_are_of_all(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Register,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    access = tmp_path / "access.log"
    gateway = start_gateway(dev_consul.environment, workers=2, access_log=access)
    assert len(_workers(gateway)) == 2
    assert gateway.metric("gateway_workers") == 2
    for _ in range(100):
        assert await _status(gateway.url) == 200
    assert gateway.metric("http_server_request_duration_seconds_count") == 100
    await eventually(lambda: len(access.read_text().splitlines()) == 100)
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    by_worker = {worker: sum(line["worker"] == worker for line in lines) for worker in (1, 2)}
    print(f"requests by worker: {by_worker}")
    assert min(by_worker.values()) > 0


class Client:
    """One keep-alive connection, and so one worker, whose number the access log tells."""

    def __init__(self, gateway: GatewayProcess, access: Path) -> None:
        self._gateway = gateway
        self._access = access
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=60))
        self.worker = 0

    async def get(self) -> tuple[int, bytes]:
        async with self._session.get(self._gateway.url) as response:
            return response.status, await response.read()

    async def find_worker(self) -> int:
        async with self._session.get(self._gateway.url) as response:
            await response.read()
            name = response.headers["X-Request-Id"]

        def told() -> bool:
            for line in self._access.read_text().splitlines():
                entry = json.loads(line)
                if entry["request_id"] == name:
                    self.worker = entry["worker"]
            return self.worker > 0

        await eventually(told)
        return self.worker

    async def close(self) -> None:
        await self._session.close()


@asynccontextmanager
async def _client_of_each(gateway: GatewayProcess, access: Path, workers: int = 2) -> AsyncIterator[dict[int, Client]]:
    found: dict[int, Client] = {}
    async with AsyncExitStack() as stack:
        while len(found) < workers:
            client = Client(gateway, access)
            stack.push_async_callback(client.close)
            found.setdefault(await client.find_worker(), client)
        yield found


async def _answers(client: Client, status: int, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while (await client.get())[0] != status:
            await asyncio.sleep(0.01)


def _events(journal: Path, action: str) -> list[Any]:
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [line for line in lines if line["action"] == action]


async def test_a_circuit_that_opens_in_one_worker_is_open_in_the_other(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Register,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    bad = start_instance("bad")
    register(dev_consul, "orders", bad)
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}], "retry": {"attempts": 1}})
    dev_consul.admin.put("gateway/services/orders", {"circuit": {"open_for": "500ms", "consecutive_failures": 3}})
    access, journal = tmp_path / "access.log", tmp_path / "journal"
    gateway = start_gateway(dev_consul.environment, workers=2, access_log=access, journal=journal)
    async with _client_of_each(gateway, access) as clients:
        bad.mode(answer="fail")
        for _ in range(3):
            assert (await clients[1].get())[0] == 500
        await eventually(lambda: _circuits(gateway) == ["open"])
        status, problem = await clients[2].get()
        assert (status, json.loads(problem)["type"].rsplit(":", 1)[-1]) == (503, "circuit_open")
        bad.mode(answer="ok")
        # The worker that has the circuit gets no request to probe with: it hands it on to the one that does.
        await _answers(clients[2], 200)
        assert (await clients[1].get())[0] == 200
    gateway.stop()
    (tripped,) = (e for e in _events(tmp_path / "journal.worker-1", "ProcessResponse") if e["decision"]["circuit"])
    imposed = _events(tmp_path / "journal.worker-2", "ImposeCircuit")[0]
    print(f"open in the other worker after {1000 * (imposed['now'] - tripped['now']):.1f} ms")
    assert imposed["inputs"]["state"] == "open"
    assert imposed["now"] - tripped["now"] < 1.0, "a tenth of it is promised, of a machine that is not busy"
