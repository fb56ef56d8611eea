"""What one request costs in the core: microseconds for route_request, head and end, by policy and number of instances.

Run: python -m benchmarks.core
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import (
    Backend,
    Balance,
    BalancePolicy,
    HashOn,
    HashSource,
    Instance,
    InstanceKey,
    Route,
    ServicePolicy,
)
from gateway.core.tickets import Attempt, End, Head, Send
from gateway.discovery.regex import compile_full_match

SIZES = (3, 30, 300)
REQUESTS = 10_000
ROUNDS = 7
IN_FLIGHT = 16

SERVICE = "orders"
POLICIES = {
    "weighted_round_robin": ServicePolicy(SERVICE),
    "least_request": ServicePolicy(SERVICE, balance=Balance(BalancePolicy.LEAST_REQUEST)),
    "ring_hash": ServicePolicy(SERVICE, balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP))),
    "at most 8 per instance": ServicePolicy(SERVICE, in_flight_per_instance=8),
    "at most 1 per instance": ServicePolicy(SERVICE, in_flight_per_instance=1),
}


def core_with(policy: ServicePolicy, size: int, routes: list[Route]) -> Gateway:
    core = Gateway(compile_full_match, random.Random(7).random)
    core.apply_routes(routes, 0.0)
    core.apply_policies({SERVICE: policy}, 0.0)
    instances = [
        Instance(_key(f"i{number}"), SERVICE, "127.0.0.1", 1024 + number, weight_passing=1 + number % 3)
        for number in range(size)
    ]
    core.apply_view(SERVICE, instances, 0.0)
    core.apply_view("other", [Instance(_key("o"), "other", "127.0.0.1", 1023)], 0.0)
    return core


def _key(name: str) -> InstanceKey:
    return InstanceKey("dc1", "node", name)


def measure(policy: ServicePolicy, size: int, route: Route) -> float:
    """Microseconds per request, the best of several rounds, with a few requests in flight all the time."""
    core = core_with(policy, size, [route])
    headers: CIMultiDict[str] = CIMultiDict()
    requests = [RequestFacts("GET", "x", "/", "", headers, f"192.0.2.{number % 256}") for number in range(REQUESTS)]
    in_flight = min(IN_FLIGHT, size)
    best = float("inf")
    for _ in range(ROUNDS):
        best = min(best, _round(core.route_request, core.process_response, route, requests, in_flight))
    return best / REQUESTS * 1e6


def _round(
    route_request: Callable[[Route, RequestFacts, float], object],
    process_response: Callable[[Attempt, Head | End, float], object],
    route: Route,
    requests: list[RequestFacts],
    in_flight: int,
) -> float:
    flying: list[Attempt] = []
    head, end = Head(200, True), End()
    started = time.perf_counter()
    for request in requests:
        if len(flying) == in_flight:
            attempt = flying.pop(0)
            process_response(attempt, head, 1.0)
            process_response(attempt, end, 1.0)
        decision = route_request(route, request, 1.0)
        assert isinstance(decision, Send)
        flying.append(decision.attempt)
    elapsed = time.perf_counter() - started
    for attempt in flying:
        process_response(attempt, end, 1.0)
    return elapsed


def main() -> None:
    single = Route("r", 1, (Backend(SERVICE),))
    split = Route("r", 1, (Backend(SERVICE, 9), Backend("other", 1)))
    cases = [(name, policy, single) for name, policy in POLICIES.items()]
    cases.append(("weighted split of two", POLICIES["weighted_round_robin"], split))
    reference = measure(POLICIES["weighted_round_robin"], 3, single)
    print(f"{'policy':<26}{'instances':>10}{'us/request':>12}{'ratio':>8}")
    for name, policy, route in cases:
        for size in SIZES:
            cost = measure(policy, size, route)
            print(f"{name:<26}{size:>10}{cost:>12.2f}{cost / reference:>8.2f}")


if __name__ == "__main__":
    main()
