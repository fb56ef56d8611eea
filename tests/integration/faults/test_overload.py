"""Ten times the clients that a gateway may serve: the surplus is told so at once, the others are served as before."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles

from tests.integration.faults.conftest import Orders, ServeOrders
from tests.support.upstreams import LiteralClient, request

IN_FLIGHT = 10
DELAY = 0.1
"""Seconds that an instance takes to answer."""


@dataclass
class Heard:
    """Seconds that requests took. One that had no answer is in none of the lists."""

    begun: int = 0
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    async def ask(self, client: LiteralClient) -> bool:
        """Whether it was accepted."""
        self.begun += 1
        began = time.perf_counter()
        response = await client.ask(request("/orders"))
        taken = time.perf_counter() - began
        if response.status == 200:
            self.accepted.append(taken)
            return True
        assert (response.status, response.value("retry-after")) == (503, "1")
        assert json.loads(response.body)["type"] == "urn:alims-gateway:problem:overloaded"
        assert response.value("connection") is None, "a new connection would cost more than the refusal"
        self.refused.append(taken)
        return False


async def load(orders: Orders, *, clients: int, seconds: float) -> Heard:
    """Each on a connection of its own, which asks again as soon as it was answered; who was refused waits a little."""
    heard = Heard()

    async def visit() -> None:
        async with await LiteralClient.connect(orders.gateway.port) as client:
            while time.perf_counter() < end:
                if not await heard.ask(client):
                    await asyncio.sleep(DELAY / 2)

    end = time.perf_counter() + seconds
    await asyncio.gather(*(visit() for _ in range(clients)))
    return heard


async def test_ten_times_the_connections_that_it_may_serve(serve_orders: ServeOrders) -> None:
    orders = await asyncio.to_thread(partial(serve_orders, max_in_flight=IN_FLIGHT))
    for instance in orders.instances.values():
        await instance.mode_async(delay=DELAY)
    alone = await load(orders, clients=IN_FLIGHT, seconds=1)
    crowded = await load(orders, clients=10 * IN_FLIGHT, seconds=2.5)
    after = await load(orders, clients=IN_FLIGHT, seconds=1)
    print(
        f"overload: alone {median(alone.accepted) * 1000:.0f} ms; of {crowded.begun} requests {len(crowded.accepted)} "
        f"accepted in {median(crowded.accepted) * 1000:.0f} ms, the rest refused in "
        f"{median(crowded.refused) * 1000:.0f} ms; then {median(after.accepted) * 1000:.0f} ms"
    )
    for heard in (alone, crowded, after):
        assert heard.begun == len(heard.accepted) + len(heard.refused), "a request had no answer"
    assert alone.refused == after.refused == []

    assert len(crowded.refused) > len(crowded.accepted) > len(alone.accepted), "those who are served are served on"
    assert median(crowded.refused) < DELAY / 2, "before anything was done about them"
    assert quantiles(crowded.accepted, n=20)[-1] < 10 * median(alone.accepted)
    assert median(after.accepted) < 2 * median(alone.accepted)

    stats = [await asyncio.to_thread(instance.stats) for instance in orders.instances.values()]
    assert sum(each["count"] for each in stats) == sum(len(heard.accepted) for heard in (alone, crowded, after))
    assert sum(each["most_at_once"] for each in stats) >= IN_FLIGHT
    assert all(each["most_at_once"] <= IN_FLIGHT for each in stats)
    assert orders.gateway.metric("gateway_refusals_total", reason="overloaded") == len(crowded.refused)
    assert {orders.circuit(name) for name in orders.instances} == {"closed"}
