"""Several workers: what holds over all of them, and what the end of one costs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from gateway.app.parts import Listening
from gateway.app.workers import messages
from gateway.app.workers.board import Board
from gateway.app.workers.process import WorkerProcess
from gateway.app.workers.rates import RateJudge
from gateway.settings import load
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
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
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
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
        await _answers(clients[1], 200)
    gateway.stop()
    for number in (1, 2):
        command: list[str | Path] = [Path(sys.executable).with_name("gateway"), "replay", f"{journal}.worker-{number}"]
        replayed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    (tripped,) = (e for e in _events(tmp_path / "journal.worker-1", "ProcessResponse") if e["decision"]["circuit"])
    imposed = _events(tmp_path / "journal.worker-2", "ImposeCircuit")[0]
    print(f"open in the other worker after {1000 * (imposed['now'] - tripped['now']):.1f} ms")
    assert imposed["inputs"]["state"] == "open"
    assert imposed["now"] - tripped["now"] < 1.0, "a tenth of it is promised, of a machine that is not busy"


async def test_a_worker_that_is_killed_costs_what_it_had_in_flight_and_is_replaced(
    dev_consul: ConsulAgent, orders: InstanceProcess, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, workers=2)
    clients = 16
    async with SteadyLoad(gateway.url, clients=clients, rate=400) as load:
        await load.answered(200)
        victim = _workers(gateway)[0]
        before = gateway.metric("gateway_tickets_total", outcome="responded")
        os.kill(victim, signal.SIGKILL)
        await load.answered(400)
        took = await eventually(lambda: len(_workers(gateway)) == 2 and victim not in _workers(gateway))
        await eventually(lambda: gateway.metric("gateway_workers") == 2)
        assert gateway.metric("gateway_tickets_total", outcome="responded") >= before
        assert gateway.ready()
        await load.answered(200)
    print(f"lost with a worker: {len(load.tally.failures)} of {load.tally.begun}; replaced {took:.2f} s later")
    assert load.tally.statuses.keys() == {200}
    assert len(load.tally.failures) <= clients / 2 + 2, load.tally
    assert gateway.metric("gateway_worker_restarts_total") == 1


async def test_a_worker_says_that_it_lives_while_it_waits_for_the_first_view() -> None:
    """It was taken for hung when Consul was away at the start."""
    said: list[messages.FromWorker] = []
    board, listening = Board.make(1), socket.create_server(("127.0.0.1", 0))
    worker = WorkerProcess(1, lambda _, message: said.append(message), RateJudge(lambda _: None))
    settings = load({"access_log": "off", "workers": "1"}, None)
    await worker.start(messages.Begin(settings, b"k" * 32, 1), Listening(listening, None), board.descriptor)
    async with asyncio.timeout(30):
        while sum(isinstance(each, messages.Report) for each in said) < 2:
            await asyncio.sleep(0.01)
    assert isinstance(said[0], messages.Made)
    worker.send(messages.Close())
    assert await worker.wait() == 0
    listening.close()
    os.close(board.descriptor)


async def test_a_worker_that_hangs_is_killed_and_replaced_while_the_other_serves(
    dev_consul: ConsulAgent,
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    access = tmp_path / "access.log"
    gateway = start_gateway(dev_consul.environment, workers=2, access_log=access)
    async with _client_of_each(gateway, access) as clients:
        hung = min(_workers(gateway))  # the first that was started
        os.kill(hung, signal.SIGSTOP)
        try:
            for _ in range(20):
                assert (await clients[2].get())[0] == 200
            dev_consul.admin.put("gateway/routes/more", {"match": {"path_prefix": "/x"}, "respond": {"status": 204}})
            await eventually(lambda: len(gateway.admin("/v1/routes")["routes"]) == 2)
            await eventually(lambda: hung not in _workers(gateway), within=30)
        finally:
            with suppress(ProcessLookupError):
                os.kill(hung, signal.SIGKILL)
        await eventually(lambda: len(_workers(gateway)) == 2)
    assert "A worker is silent, and is killed." in gateway.log
    await eventually(lambda: gateway.metric("gateway_workers") == 2)
    assert {await _status(f"{gateway.url}/x") for _ in range(10)} == {204}, "the new one was told of the new route"


async def test_workers_that_cannot_live_are_started_ever_more_slowly_and_readiness_says_so(
    dev_consul: ConsulAgent, orders: InstanceProcess, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, workers=2)
    until, killed = time.monotonic() + 6, 0
    while time.monotonic() < until:
        for pid in _workers(gateway):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        if killed == 2:
            await eventually(lambda: gateway.status("/readyz") == 503)
        await asyncio.sleep(0.02)
    assert 4 <= killed <= 2 * 8, "0.1 s, 0.2 s, 0.4 s … between two"
    await eventually(gateway.ready, within=30)
    assert await _status(gateway.url) == 200


async def test_an_open_circuit_outlives_the_worker_that_had_it(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Register,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    bad = start_instance("bad")
    register(dev_consul, "orders", bad)
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}], "retry": {"attempts": 1}})
    dev_consul.admin.put("gateway/services/orders", {"circuit": {"open_for": "3s", "consecutive_failures": 3}})
    access = tmp_path / "access.log"
    gateway = start_gateway(dev_consul.environment, workers=2, access_log=access)
    async with _client_of_each(gateway, access) as clients:
        bad.mode(answer="fail")
        while (await clients[1].get())[0] != 503:
            pass
        await eventually(lambda: gateway.metric("gateway_circuit_changes_total", to="open") == 1)
        # Its number tells which of the parent's children it is: they were started in that order.
        os.kill(min(_workers(gateway)), signal.SIGKILL)
        await eventually(lambda: gateway.metric("gateway_worker_restarts_total") == 1)
        assert _circuits(gateway) == ["open"]
        for _ in range(10):
            assert await _status(gateway.url) == 503, "open in the new worker too"
        bad.mode(answer="ok")
        await _answers(clients[2], 200)
    await eventually(lambda: _circuits(gateway) == ["closed"])


async def test_workers_serve_on_without_their_parent_and_end(
    dev_consul: ConsulAgent, orders: InstanceProcess, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, workers=2, outlive="2s")
    workers = _workers(gateway)
    async with SteadyLoad(gateway.url, clients=8, rate=100, time_limit=30) as load:
        await load.answered(50)
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
        await load.answered(100)
        assert load.tally.failed == 0, load.tally
    assert await _status(gateway.url) == 200
    took = await eventually(lambda: not any(map(_lives, workers)), within=20)
    print(f"workers ended {took:.1f} s after the load")
    assert gateway.log.count("The parent has gone") == 2


async def test_sigterm_drains_all_workers(
    dev_consul: ConsulAgent, orders: InstanceProcess, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, workers=2, drain_time="100ms")
    orders.mode(delay=1.5)
    requests = [asyncio.create_task(_status(gateway.url)) for _ in range(20)]
    await eventually(lambda: orders.stats()["running"] == 20)
    workers = _workers(gateway)
    for pid in (gateway.pid, *workers):
        os.kill(pid, signal.SIGTERM)  # as systemd does: to each process of the unit
    assert await asyncio.gather(*requests) == [200] * 20
    assert await asyncio.to_thread(gateway.wait) == 0
    assert not any(map(_lives, workers))
    drained = next(json.loads(line) for line in gateway.log.splitlines() if "has drained" in line)
    assert (drained["finished"], drained["aborted"]) == (20, 0)


async def test_a_second_signal_cuts_the_drain_of_all_workers_short(
    dev_consul: ConsulAgent, orders: InstanceProcess, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, workers=2, drain_time="0s", finish_limit="60s")
    orders.mode(answer="hang")
    requests = [asyncio.create_task(_status(gateway.url)) for _ in range(4)]
    await eventually(lambda: orders.stats()["running"] == 4)
    workers = _workers(gateway)
    gateway.send_signal(signal.SIGTERM)
    await eventually(lambda: "The gateway drains" in gateway.log)
    began = time.monotonic()
    gateway.send_signal(signal.SIGTERM)
    await asyncio.to_thread(gateway.wait)
    assert time.monotonic() - began < 10
    assert not any(map(_lives, workers))
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)


async def test_connections_to_consul_do_not_grow_with_workers(
    dev_consul: ConsulAgent, start_instance: StartInstance, register: Register, start_gateway: StartGateway
) -> None:
    for service in ("orders", "users", "stock"):
        register(dev_consul, service, start_instance(service))
        dev_consul.admin.put(f"gateway/routes/{service}", {"backends": [{"service": service}]})
    counts = []
    for workers in (1, 4):
        gateway = start_gateway(dev_consul.environment, workers=workers)
        await asyncio.sleep(1.0)  # connections of the start are over
        pids = [gateway.pid, *_workers(gateway)]
        counts.append(sum(_connections_to(dev_consul.http_addr, pid) for pid in pids))
        gateway.stop()
    print(f"connections to Consul with one worker and with four: {counts}")
    assert counts[1] <= counts[0] + 1, "one may be on its way in or out"


async def test_a_rate_holds_over_all_workers_and_without_their_parent_in_each(
    dev_consul: ConsulAgent, start_instance: StartInstance, register: Register, start_gateway: StartGateway
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    limits = {"rate": {"limit": "1/h", "burst": 20, "by": "route"}}
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}], "limits": limits})
    gateway = start_gateway(dev_consul.environment, workers=2)
    statuses = [await _status(gateway.url) for _ in range(60)]
    assert statuses == [200] * 20 + [429] * 40
    assert gateway.metric("gateway_rate_keys", route="orders") == 1
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    statuses = [await _status(gateway.url) for _ in range(200)]
    assert (statuses.count(200), statuses.count(429)) == (40, 160), "twenty in each"


async def test_what_needs_one_worker_gets_a_verdict(
    dev_consul: ConsulAgent, start_instance: StartInstance, register: Register, start_gateway: StartGateway
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}], "limits": {"in_flight": 5}})
    dev_consul.admin.put("gateway/services/orders", {"in_flight_per_instance": 1})
    gateway = start_gateway(dev_consul.environment, workers=4)
    found = {each["key"]: (each["field"], each["reason"]) for each in gateway.admin("/v1/routes")["rejections"]}
    assert found["gateway/routes/orders"][0] == "limits.in_flight"
    assert found["gateway/services/orders"][0] == "in_flight_per_instance"
    assert all("needs one worker: this gateway runs 4" in reason for _, reason in found.values())


async def test_what_keeps_workers_from_beginning_ends_the_start(
    dev_consul: ConsulAgent, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = start_gateway(dev_consul.environment, wait=False, workers=2, access_log=tmp_path / "none" / "access.log")
    assert await asyncio.to_thread(gateway.wait) != 0
    assert "--access-log moves it" in gateway.log
    assert gateway.log.count("Traceback") == 0


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _connections_to(address: str, pid: int) -> int:
    """Established ones of a process."""
    port = f"{int(address.rsplit(':', 1)[1]):04X}"
    inodes = {
        fields[9]
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())[2].endswith(f":{port}") and fields[3] == "01"
    }
    held = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            held += str(descriptor.readlink()).removeprefix("socket:[").rstrip("]") in inodes
    return held
