"""A disk that is full, under load: it costs lines of the log, the journal and the snapshot, and no request."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.snapshot import decode
from tests.integration.conftest import StartInstance
from tests.integration.faults.conftest import Orders, ServeOrders, tell
from tests.support.gateway_process import eventually
from tests.support.small_disk import as_seen_by, can_mount, fill, on_small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the gateway has its small disk, once it runs."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not can_mount(folder):
        pytest.skip("no mount namespaces here; test_full_devices runs everywhere")
    return folder


def _lost(orders: Orders, what: str) -> float:
    return orders.gateway.metric(f"gateway_{what}_dropped_total")


@pytest.mark.long
async def test_a_full_disk_harms_no_request_and_is_used_again(
    serve_orders: ServeOrders, start_instance: StartInstance, disk: Path
) -> None:
    orders = await asyncio.to_thread(
        partial(
            serve_orders,
            through=on_small_disk(disk, "2m"),
            access_log=disk / "access",
            journal=disk / "journal",
            journal_segment="64KiB",
            journal_segments=2,
            snapshot=disk / "snapshot",
        )
    )
    seen = as_seen_by(orders.gateway.pid, disk)
    await eventually((seen / "snapshot").exists, what="the snapshot is written")
    kept = (seen / "snapshot").read_bytes()
    new = start_instance("d")
    async with orders.load() as load:
        await load.answered(100)
        fill(seen / "ballast")
        await load.answered(100)
        await asyncio.to_thread(orders.agent.admin.register, "orders", new.port, id="d")
        await eventually(lambda: load.tally.instances["d"] > 0, what="changes still arrive")
        await eventually(lambda: _lost(orders, "log_lines") > 0 and _lost(orders, "journal_events") > 0, within=20)
        await eventually(lambda: "cannot write the snapshot" in orders.gateway.log, within=20)
        assert (seen / "snapshot").read_bytes() == kept
        await load.answered(200)

        (seen / "ballast").unlink()
        logged = (seen / "access").stat().st_size
        await eventually(lambda: (seen / "access").stat().st_size > logged, what="the access log goes on")
        await eventually(lambda: "The journal is kept again" in orders.gateway.log, within=60)
        await eventually(lambda: (seen / "snapshot").read_bytes() != kept, within=20, what="the snapshot is caught up")
        lost = _lost(orders, "log_lines"), _lost(orders, "journal_events")
        await load.answered(100)
        assert lost == (_lost(orders, "log_lines"), _lost(orders, "journal_events"))
    tell("the disk is full", load.tally)
    assert load.tally.failed == 0, load.tally
    instances = decode((seen / "snapshot").read_bytes(), AddressPolicy()).instances["orders"]
    assert {each.key.service_id for each in instances} == set("abcd")


async def test_full_devices(serve_orders: ServeOrders) -> None:
    """Whatever it says, of requests and of itself, goes to a device that is full."""
    orders = await asyncio.to_thread(
        partial(serve_orders, through=("sh", "-c", 'exec "$@" >/dev/full 2>/dev/full', "sh"), access_log="on")
    )
    async with orders.load() as load:
        await load.answered(100)
        await asyncio.to_thread(orders.instances["b"].kill)  # so that it has something to say of itself
        await eventually(lambda: orders.circuit("b") == "open", what="the circuit opens")
        await load.answered(200)
        assert _lost(orders, "log_lines") > 100
    tell("standard output and error are full", load.tally)
    assert load.tally.lost("GET", "PUT") == 0, load.tally
    assert orders.gateway.metric("gateway_monitor_violations_total") == 0
