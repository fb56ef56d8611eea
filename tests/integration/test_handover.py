"""A restart under load: the next gateway takes the ports over, and no connection is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from gateway.app.handover import HandoverError, find
from tests.integration.conftest import StartGateway
from tests.support.certificates import Authority
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad
from tests.support.ports import free_port

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
            await asyncio.sleep(0.005)
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
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
    workers: int,
) -> None:
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


async def test_a_port_that_speaks_tls_is_taken_over_as_well(
    dev_consul: ConsulAgent,
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    authority, port = Authority(tmp_path), free_port()
    pair = authority.pair("shop.test")
    settings = {
        "workers": 2,
        "handover": tmp_path / "handover.sock",
        "tls_listen": f"127.0.0.1:{port}",
        "tls_certificates": f"{pair.certificate}:{pair.key}",
        "access_log": tmp_path / "access.log",
    }
    old = start_gateway(dev_consul.environment, **settings)
    failures: list[str] = []
    answered = 0

    async def ask() -> None:
        nonlocal answered
        context = authority.trusting()
        connector = aiohttp.TCPConnector(force_close=True)
        url, host = f"https://127.0.0.1:{port}/", {"Host": "shop.test"}
        async with aiohttp.ClientSession(connector=connector) as session:
            try:
                async with session.get(url, headers=host, ssl=context, server_hostname="shop.test") as response:
                    answered += response.status == 200
            except aiohttp.ClientError as error:
                failures.append(repr(error))

    async def keep_asking() -> None:
        while True:
            await ask()
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(keep_asking())
    after = _next(old, tmp_path, dev_consul, **settings)
    after.start()
    assert await asyncio.to_thread(old.wait) == 0
    before = answered
    await eventually(lambda: answered > before + 20)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    after.stop()
    workers = {json.loads(line)["worker"] for line in (tmp_path / "access.log").read_text().splitlines()}
    assert workers == {1, 2}
    assert not failures


async def test_the_journal_of_the_next_one_begins_when_the_one_before_has_ended(
    dev_consul: ConsulAgent,
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    journal = tmp_path / "journal"
    settings = {"handover": tmp_path / "handover.sock", "drain_time": "500ms", "journal": journal}
    old = start_gateway(dev_consul.environment, **settings)
    async with SteadyLoad(old.url, clients=4, rate=100) as load:
        await load.answered(50)
        after = _next(old, tmp_path, dev_consul, **settings)
        after.start()
        assert await asyncio.to_thread(old.wait) == 0
        await eventually(lambda: "The journal begins." in after.log)
        await load.answered(100)
    after.stop()
    assert load.tally.failed == 0, load.tally
    for path in (tmp_path / "journal.1", journal):
        command: list[str | Path] = [Path(sys.executable).with_name("gateway"), "replay", path]
        replayed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr


async def test_a_next_one_that_fails_before_it_serves_changes_nothing(
    dev_consul: ConsulAgent,
    orders: InstanceProcess,
    start_gateway: StartGateway,
    tmp_path: Path,
) -> None:
    path = tmp_path / "handover.sock"
    old = start_gateway(dev_consul.environment, handover=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    nowhere = {"CONSUL_HTTP_ADDR": "http://127.0.0.1:1"}
    after = _next(old, tmp_path, dev_consul, handover=path)
    after._environment |= nowhere
    async with SteadyLoad(old.url, clients=8, rate=100) as load:
        after.start()
        await eventually(lambda: "The gateway starts." in after.log)
        await load.answered(50)
        after.send_signal(signal.SIGKILL)
        after.wait()
        await eventually(lambda: "has gone; this one serves on" in old.log)
        await load.answered(50)
    assert load.tally.failed == 0, load.tally
    assert old.ready()


async def test_a_path_that_nobody_listens_at_is_a_normal_start(
    dev_consul: ConsulAgent, start_gateway: StartGateway, tmp_path: Path
) -> None:
    path = tmp_path / "handover.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    gateway = start_gateway(dev_consul.environment, handover=path)
    assert gateway.ready()
    gateway.stop()
    assert not path.exists()


async def test_another_port_is_bound_anew(dev_consul: ConsulAgent, start_gateway: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    old = start_gateway(dev_consul.environment, handover=path)
    after = GatewayProcess(tmp_path, dev_consul.environment, handover=path)
    after.start_ready()
    assert await asyncio.to_thread(old.wait) == 0
    assert after.ready()
    registered = dev_consul.admin.health("gateway")
    after.stop()
    assert len(registered) == 1, "the one before had another id, and took its registration away"


def test_what_is_no_gateway_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "handover.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()

        def answer() -> None:
            with other.accept()[0] as accepted:
                accepted.sendall(b"SSH-2.0\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(HandoverError, match="of another version, or busy"):
            find(path)
        answering.join()


def test_a_path_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake only of who we are: tests have one user."""
    path = tmp_path / "handover.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(HandoverError, match="--handover moves it"):
            find(path)
