"""Instances whose address is the name of a host: what it leads to is looked up, checked, and shared."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.core.model import Connect, Reason, ServicePolicy
from gateway.discovery.addresses import AddressPolicy
from gateway.proxy.upstream import host_name
from gateway.proxy.upstream.host_name import HostName
from tests.support.proxies import running_proxy
from tests.support.upstreams import ScriptedUpstream

METADATA = "169.254.169.254"


class Resolver:
    """A stand-in for the system's, which cannot be made to change its mind, or to hang, on demand."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.asked = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked += 1
        await self.answering.wait()
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


async def test_a_name_leads_to_the_instance() -> None:
    async with ScriptedUpstream() as upstream:
        async with running_proxy(replace(upstream.instance, address="localhost")) as proxy:
            response = await proxy.ask()
        assert response.status == 200
        assert upstream.last.value("Host") == "gateway.test"


async def test_a_name_that_leads_into_a_denied_network_is_never_connected_to() -> None:
    nobody = AddressPolicy(denied=[ip_network("127.0.0.0/8"), ip_network("::1/128")])
    async with ScriptedUpstream() as upstream:
        named = replace(upstream.instance, address="localhost")
        async with running_proxy(named, addresses=nobody) as proxy:
            response = await proxy.ask()
            assert response.status == 502
            record = await proxy.record()
        assert record.reason is Reason.UPSTREAM_UNREACHABLE
        assert "denied network" in (record.detail or "")
        assert b"denied" not in response.body, "addresses are no client's business"
        assert upstream.connections == 0


async def test_a_name_that_is_unknown_is_a_failed_connect() -> None:
    async with ScriptedUpstream() as upstream:
        named = replace(upstream.instance, address="no-such-host.invalid")
        policy = ServicePolicy("", connect=Connect(timeout=20.0))
        async with running_proxy(named, policy=policy) as proxy:
            assert (await proxy.ask()).status == 502
            assert (await proxy.record()).reason is Reason.UPSTREAM_UNREACHABLE


@pytest.mark.parametrize("address", [METADATA, "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::"])
async def test_one_denied_address_among_others_is_enough(address: str) -> None:
    name = HostName("orders.test", AddressPolicy().check, Resolver("10.0.0.1", address))
    with pytest.raises(PermissionError, match="an address that is"):
        await name.addresses()


async def test_a_name_that_begins_to_lead_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_name, "KEPT", 0.05)
    resolver = Resolver("10.0.0.1")
    name = HostName("orders.test", AddressPolicy().check, resolver)
    assert [await name.addresses() for _ in range(3)] == [("10.0.0.1",)] * 3
    assert resolver.asked == 1
    resolver.addresses = (METADATA,)
    await asyncio.sleep(0.06)  # what is kept is kept by the clock
    with pytest.raises(PermissionError):
        await name.addresses()


async def test_a_resolver_that_hangs_is_asked_once_and_its_answer_is_used_when_it_comes() -> None:
    resolver = Resolver("10.0.0.1")
    resolver.answering.clear()
    name = HostName("orders.test", AddressPolicy().check, resolver)
    waiting = [asyncio.create_task(name.addresses()) for _ in range(50)]
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(name.addresses(), 0.02)
    waiting[0].cancel()
    resolver.answering.set()
    assert await asyncio.gather(*waiting[1:]) == [("10.0.0.1",)] * 49
    assert resolver.asked == 1


async def test_a_failure_is_not_kept() -> None:
    resolver = Resolver()
    name = HostName("orders.test", AddressPolicy().check, resolver)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await name.addresses()
    resolver.addresses = ("10.0.0.1",)
    assert await name.addresses() == ("10.0.0.1",)
    assert resolver.asked == 3
