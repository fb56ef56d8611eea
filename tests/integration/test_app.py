"""The process as a whole: an error of ours in discovery, and a second signal."""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import aiohttp
import pytest

from gateway import settings
from gateway.app.application import App
from gateway.app.serving import Serving
from gateway.core.model import Route, ServicePolicy
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import eventually
from tests.support.ports import free_port


async def test_discovery_that_fails_by_our_own_error_begins_anew(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    real = Serving.routes
    failures = [RuntimeError("a bug"), None, RuntimeError("another, later")]

    def failing(sink: Serving, routes: Sequence[Route]) -> None:
        error = failures.pop(0) if failures else None
        if error is not None:
            raise error
        real(sink, routes)

    monkeypatch.setattr(Serving, "routes", failing)
    port = free_port()
    given = {"listen": f"127.0.0.1:{port}", "admin_listen": f"127.0.0.1:{free_port()}", "access_log": "off"}
    monkeypatch.setenv("CONSUL_HTTP_ADDR", dev_consul.http_addr)
    gateway = App(settings.load({**given, "drain_time": "0s"}, None))
    running = asyncio.create_task(gateway.run())
    await eventually(lambda: gateway.readiness().ready)
    async with aiohttp.ClientSession() as session:

        async def status(path: str) -> int:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status

        assert await status("/") == 200
        dev_consul.admin.put(
            "gateway/routes/orders", {"match": {"path_prefix": "/v2"}, "backends": [{"service": "orders"}]}
        )
        while await status("/") != 404:
            await asyncio.sleep(0.02)
        assert await status("/v2") == 200
    assert not failures
    gateway.drain()
    await running


async def test_what_is_in_force_outlives_discovery(
    dev_consul: ConsulAgent,
    start_instance: StartInstance,
    register: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Consul has the last good version of a broken key no more, so that a new discovery cannot read it there."""
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    port = free_port()
    given = {"listen": f"127.0.0.1:{port}", "admin_listen": f"127.0.0.1:{free_port()}", "access_log": "off"}
    monkeypatch.setenv("CONSUL_HTTP_ADDR", dev_consul.http_addr)
    gateway = App(settings.load({**given, "drain_time": "0s"}, None))
    running = asyncio.create_task(gateway.run())
    await eventually(lambda: gateway.readiness().ready)
    dev_consul.admin.put("gateway/routes/orders", {"backends": []})
    await eventually(lambda: len(gateway.rejections()) == 1)

    real = Serving.policies
    failures = [RuntimeError("a bug")]

    def failing(sink: Serving, policies: Mapping[str, ServicePolicy]) -> None:
        if failures:
            raise failures.pop()
        real(sink, policies)

    monkeypatch.setattr(Serving, "policies", failing)
    first = gateway._discovery
    dev_consul.admin.put("gateway/services/orders", {"in_flight_per_instance": 2})
    await eventually(lambda: gateway._discovery is not first)
    await eventually(lambda: all(view.state == "live" for view in gateway.views()))
    assert len(gateway.rejections()) == 1
    assert gateway.policies()["orders"].in_flight_per_instance == 2
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
        assert response.status == 200
    await eventually(lambda: gateway.consul().registration.done)
    gateway.drain()
    await running


def test_a_signal_behind_an_order_to_drain_is_the_first_one(
    dev_consul: ConsulAgent, start_gateway: StartGateway
) -> None:
    gateway = start_gateway(dev_consul.environment, drain_time="1s")
    with urlopen(Request(f"http://127.0.0.1:{gateway.admin_port}/v1/drain", method="POST"), timeout=5) as answer:
        assert answer.status == 202
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(10) == 0
    assert "The gateway has drained." in gateway.log
    assert "cut the drain short" not in gateway.log


async def test_a_second_signal_cuts_the_drain_short(dev_consul: ConsulAgent, start_gateway: StartGateway) -> None:
    gateway = start_gateway(dev_consul.environment, drain_time="60s")
    gateway.send_signal(signal.SIGTERM)
    await eventually(lambda: "The gateway drains." in gateway.log)
    gateway.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(gateway.wait, 10) == 0
    assert "cut the drain short" in gateway.log
