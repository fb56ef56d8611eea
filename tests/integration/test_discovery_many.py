"""Very many services: few connections, a fixed number of requests for a change."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest

from gateway.discovery import mirror
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.discovery import Running, discovering, eventually

OPTIONS = DiscoveryOptions("test", register=False, write_status=False)
SERVICES = 150


def arrange(consul: ConsulAgent, services: int) -> None:
    for number in range(services):
        service = f"s{number}"
        consul.admin.register(service, 7000 + number, id=service, checks=[ttl_check(f"c{number}")])
    backends = [{"service": f"s{number}"} for number in range(services)]
    for start in range(0, services, 50):
        consul.admin.put(f"gateway/routes/r{start}", {"backends": backends[start : start + 50]})


def by_lists(running: Running) -> bool:
    return running.discovery._mirror.by_lists


def connections(running: Running) -> int:
    """Open at the moment, those of idle keep-alive included."""
    session = running.client._transport._session
    assert session is not None
    connector = session.connector
    assert connector is not None
    return len(connector._acquired) + sum(len(idle) for idle in connector._conns.values())


class Spy:
    """Counts requests by kind."""

    def __init__(self, running: Running) -> None:
        self.kinds: Counter[str] = Counter()
        transport = running.client._transport
        request = transport.request

        async def counted(method: str, url: str, body: bytes | None = None, timeout: float | None = None) -> object:
            self.kinds[
                re.sub(r".*/v1/(health/service|health/state|catalog/services|kv|internal|status).*", r"\1", url)
            ] += 1
            return await request(method, url, body, timeout)

        transport.request = counted  # type: ignore[assignment, method-assign]


async def test_lists_are_watched_above_the_limit(dev_consul: ConsulAgent) -> None:
    arrange(dev_consul, SERVICES)
    async with discovering(dev_consul, OPTIONS) as running:
        sink = running.sink
        assert by_lists(running)
        assert len(sink.held) == SERVICES
        assert all(len(held) == 1 for held in sink.held.values())
        assert connections(running) <= OPTIONS.max_watches
        await running.state("list:checks", "live")
        await running.state("list:services", "live")
        spy = Spy(running)
        await asyncio.to_thread(dev_consul.admin.set_check, "c77", "critical")
        await sink.until(lambda: sink.health("s77") == {"s77": "critical"})
        await asyncio.to_thread(dev_consul.admin.deregister, "s78")
        await sink.until(lambda: not sink.held["s78"])
        await asyncio.to_thread(dev_consul.admin.register, "s78", 7999, id="s78b")
        await sink.until(lambda: set(sink.held["s78"]) == {"s78b"})
        # three changes; the rotation adds a few reads of its own
        assert spy.kinds["health/service"] <= 12
        assert spy.kinds["health/state"] + spy.kinds["catalog/services"] <= 12
        await asyncio.to_thread(dev_consul.admin.maintain_node)
        await sink.until(lambda: all(h == "maintenance" for s in sink.held for h in sink.health(s).values()), within=10)
        assert connections(running) <= OPTIONS.max_watches


async def test_edits_that_no_list_shows_arrive_by_rotation(
    dev_consul: ConsulAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "ROTATION", 2.0)
    arrange(dev_consul, 12)
    options = DiscoveryOptions("test", register=False, write_status=False, max_watches=10)
    async with discovering(dev_consul, options) as running:
        sink = running.sink
        assert by_lists(running)
        dev_consul.admin.register("s3", 7003, id="s3", weights=(9, 1), checks=[ttl_check("c3")])
        await sink.until(lambda: sink.held["s3"]["s3"].weight == 9, within=2 * 2.0 + 1)
        assert (running.view("service:s3").age or 0) < 2.5


async def test_between_the_modes_nothing_is_lost(dev_consul: ConsulAgent) -> None:
    arrange(dev_consul, 4)
    options = DiscoveryOptions("test", register=False, write_status=False, max_watches=mirror.OTHER_CONNECTIONS + 4)
    async with discovering(dev_consul, options) as running:
        sink = running.sink
        assert not by_lists(running)
        dev_consul.admin.register("s4", 7004, id="s4", checks=[ttl_check("c4")])
        dev_consul.admin.put("gateway/routes/more", {"backends": [{"service": "s4"}]})
        await sink.until(lambda: "s4" in sink.held and bool(sink.held["s4"]))
        assert by_lists(running)
        assert all(len(held) == 1 for held in sink.held.values())
        dev_consul.admin.set_check("c1", "critical")
        await sink.until(lambda: sink.health("s1") == {"s1": "critical"})
        dev_consul.admin.put("gateway/routes/r0", {"backends": [{"service": "s1"}]})
        dev_consul.admin.delete("gateway/routes/more")
        await eventually(lambda: not by_lists(running))
        dev_consul.admin.set_check("c1", "passing")
        await sink.until(lambda: sink.health("s1") == {"s1": "passing"})
        await sink.until(lambda: set(sink.held) == {"s1"})


async def test_an_outage_while_lists_are_watched(data_consul: ConsulAgent) -> None:
    arrange(data_consul, 8)
    for number in range(8):
        data_consul.admin.set_check(f"c{number}", "passing")
    options = DiscoveryOptions("test", register=False, write_status=False, max_watches=10)
    async with discovering(data_consul, options) as running:
        sink = running.sink
        await asyncio.to_thread(data_consul.kill)
        await running.state("list:checks", "stale", within=8)
        assert all(len(held) == 1 for held in sink.held.values())
        await asyncio.to_thread(data_consul.start)
        data_consul.admin.set_check("c5", "critical")
        await sink.until(lambda: sink.health("s5") == {"s5": "critical"}, within=5)


async def test_a_query_for_each_service_up_to_the_limit(dev_consul: ConsulAgent) -> None:
    arrange(dev_consul, 94)
    async with discovering(dev_consul, OPTIONS) as running:
        assert not by_lists(running)
        assert len(running.sink.held) == 94
        await eventually(lambda: all(view.state == "live" for view in running.discovery.views()))
        assert connections(running) <= OPTIONS.max_watches
        spy = Spy(running)
        await asyncio.to_thread(dev_consul.admin.set_check, "c50", "critical")
        await running.sink.until(lambda: running.sink.health("s50") == {"s50": "critical"})
        # one query returned, and is asked again
        assert spy.kinds["health/service"] <= 2
