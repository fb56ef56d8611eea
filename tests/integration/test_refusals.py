"""The named refusals of the whole gateway, each counted once, in the metrics and by the core."""

import asyncio
from collections.abc import Callable

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually


async def _problem(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    async with session.get(url, headers=headers) as response:
        if response.status == 200:
            return 200, ""
        assert response.content_type == "application/problem+json"
        return response.status, (await response.json())["type"].rsplit(":", 1)[-1].rsplit("/", 1)[-1]


async def test_each_has_its_name_and_each_ticket_is_counted_once(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    slow = start_instance("slow")
    slow.mode(answer="hang")
    register(dev_consul, "slow", slow)
    bad = start_instance("bad")
    bad.mode(answer="fail")
    register(dev_consul, "bad", bad)
    dev_consul.admin.put("gateway/services/slow", {"in_flight_per_instance": 1})
    dev_consul.admin.put("gateway/services/bad", {"circuit": {"consecutive_failures": 1, "open_for": "60s"}})
    for service in ("slow", "nobody", "bad"):
        dev_consul.admin.put(
            f"gateway/routes/{service}",
            {
                "match": {"path_prefix": f"/{service}"},
                "backends": [{"service": service}],
                "limits": {"queue": 1, "queue_timeout": "500ms"},
            },
        )
    gateway = start_gateway(dev_consul.environment, id="edge-1")
    async with aiohttp.ClientSession() as session:
        assert await _problem(session, gateway.url + "/none") == (404, "no_route")
        assert await _problem(session, gateway.url + "/nobody") == (503, "no_healthy_instance")
        assert await _problem(session, gateway.url + "/slow", Via="1.1 edge-1") == (508, "loop_detected")
        async with session.get(gateway.url + "/bad") as response:
            assert response.status == 500, "the instance's own answer is passed on"
        async with session.get(gateway.url + "/bad") as response:
            assert response.status == 503
            assert 50 <= int(response.headers["Retry-After"]) <= 70
            assert "circuit_open" in (await response.json())["type"]

        served = asyncio.create_task(session.get(gateway.url + "/slow").__aenter__())
        await eventually(lambda: slow.stats()["running"] == 1)
        waiting = asyncio.create_task(_problem(session, gateway.url + "/slow"))
        await eventually(lambda: _queued(gateway) == 1)
        assert await _problem(session, gateway.url + "/slow") == (503, "queue_full")
        assert await waiting == (503, "queue_timeout")
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        await eventually(lambda: gateway.metric("gateway_tickets_open") == 0)

    reasons = ("no_route", "no_healthy_instance", "loop_detected", "circuit_open", "queue_full", "queue_timeout")
    counts = {reason: gateway.metric("gateway_refusals_total", reason=reason) for reason in reasons}
    assert counts == dict.fromkeys(reasons, 1.0)
    assert gateway.metric("gateway_tickets_total", outcome="responded") == 1
    assert gateway.metric("gateway_tickets_total", outcome="rejected") == 4
    assert gateway.metric("gateway_tickets_total", outcome="abandoned") == 1


async def test_a_queued_request_whose_service_vanishes_is_told_so(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    slow = start_instance("slow")
    slow.mode(answer="hang")
    register(dev_consul, "slow", slow)
    dev_consul.admin.put("gateway/services/slow", {"in_flight_per_instance": 1})
    dev_consul.admin.put("gateway/routes/slow", {"backends": [{"service": "slow"}], "limits": {"queue_timeout": "30s"}})
    gateway = start_gateway(dev_consul.environment)
    async with aiohttp.ClientSession() as session:
        served = asyncio.create_task(session.get(gateway.url).__aenter__())
        await eventually(lambda: slow.stats()["running"] == 1)
        waiting = asyncio.create_task(_problem(session, gateway.url))
        await eventually(lambda: _queued(gateway) == 1)
        dev_consul.admin.deregister("slow")
        assert await waiting == (503, "no_healthy_instance")
        assert not served.done(), "what is in flight finishes where it is"
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


def _queued(gateway: GatewayProcess) -> int:
    return sum(int(route["queued"]) for route in gateway.admin("/v1/routes")["routes"])
