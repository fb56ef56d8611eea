"""A wall clock that jumps, under load: it decides about dates and tokens, and about nothing that waits or lasts.

Only what the gateway itself reads jumps (see tests/support/jumping_clock). The monotonic clock never jumps on a running
machine; for a gateway that was stopped and goes on it does, see test_process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.integration.faults.conftest import RETRIED, Orders, ServeOrders, tell
from tests.support import jumping_clock
from tests.support.gateway_process import eventually
from tests.support.tokens import key_of, public, token

HOUR = 3600.0
KEY = key_of("P-256")


async def _status(orders: Orders, bearer: str) -> int:
    headers = {"Authorization": f"Bearer {bearer}"}
    async with aiohttp.ClientSession() as session, session.get(orders.gateway.url + "/mine", headers=headers) as answer:
        return answer.status


async def _clock(orders: Orders) -> float:
    """What the gateway takes for the time, as its own refusals tell it."""
    async with aiohttp.ClientSession() as session, session.get(orders.gateway.url + "/nothing") as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()


@pytest.mark.long
async def test_a_wall_clock_that_jumps(serve_orders: ServeOrders, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    access = tmp_path / "access"
    through = (sys.executable, jumping_clock.__file__, offset)
    orders = serve_orders(through=through, access_log=access, journal=tmp_path / "journal")
    route = {
        "match": {"path_prefix": "/mine"},
        "backends": [{"service": "orders"}],
        "auth": {
            "jwt": {"jwks": {"keys": [public(KEY, kid="k1")]}, "issuer": "https://issuer.test", "audiences": ["orders"]}
        },
    }
    orders.agent.admin.put("gateway/routes/mine", route)
    await eventually(lambda: "mine" in orders.gateway.text("/v1/routes"))
    claims = {"iss": "https://issuer.test", "aud": "orders", "sub": "alice", "exp": int(time.time()) + 600}
    bearer = token("ES256", KEY, claims)
    bad = orders.instances["b"]
    async with orders.load(methods=RETRIED) as load:
        for jump, allowed in ((0.0, 200), (HOUR, 401), (-HOUR, 200), (30 * 24 * HOUR, 401), (0.0, 200)):
            await load.answered(50)
            offset.write_text(str(jump))
            assert abs(await _clock(orders) - time.time() - jump) < 30
            assert await _status(orders, bearer) == allowed, f"the token ends by the wall clock, at {jump}"
            # A circuit opens, waits and closes by the other clock, whatever happens to this one.
            await asyncio.to_thread(bad.kill)
            await eventually(partial(_circuit_is, orders, "open"), what="the circuit opens")
            offset.write_text(str(jump - HOUR))
            await asyncio.to_thread(bad.start)
            await eventually(partial(_circuit_is, orders, "closed"), within=10, what="the circuit closes")
        age = orders.gateway.metric("gateway_view_age_seconds", view="service:orders")
        assert 0 <= age < 60
    tell("the wall clock jumps", load.tally)
    assert load.tally.failed == 0, load.tally
    await eventually(lambda: len(access.read_text().splitlines()) > load.tally.begun)
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    times = ("duration", "queue", "connect", "first_byte", "view_age")
    assert all(0 <= line[name] < 60 for line in lines for name in times if line.get(name) is not None)


def _circuit_is(orders: Orders, state: str) -> bool:
    return orders.circuit("b") == state
