"""What the stages of limits add to a request: microseconds a call, and the ratio to the stages of a bare route.

Run: python -m benchmarks.limits
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.filters import Edit, EditRequestHeaders
from gateway.core.limits import BY_CLIENT, Cors, Networks, RateKey, RateLimit, RateSource
from gateway.core.model import Backend, Limits, Route
from gateway.core.template import parse
from gateway.pipeline.stage import Call, ResponseHead
from tests.support.pipelines import all_stages

CALLS = 20_000
ROUNDS = 5
CAPACITY = 10_000

_FILTERS = (EditRequestHeaders(Edit(set=(("x-tier", parse("edge")),))),)
_BARE = Route("orders", 1, (Backend("orders"),), filters=_FILTERS)
_RATE = RateLimit(100_000, 1.0, 100_000)
_ONE_A_DAY = RateLimit(1, 86_400.0, 1, BY_CLIENT)
_BY_TENANT = RateLimit(100_000, 1.0, 100_000, RateKey(RateSource.HEADER, "x-tenant"))
_FEW = Networks(deny=(ip_network("10.6.6.0/24"),))
_MANY = Networks(deny=tuple(ip_network(((10 << 24) + (number << 12), 20)) for number in range(1000, 4000)))
_CORS = Cors(("https://app.example.com", "https://*.shop.example.com"), credentials=True)

ROUTES = {
    "a filter alone": _BARE,
    "rate by client_ip": replace(_BARE, limits=Limits(rate=(_RATE,))),
    "two rates": replace(_BARE, limits=Limits(rate=(_RATE, _BY_TENANT))),
    "rate, a flood of new keys": replace(_BARE, limits=Limits(rate=(_ONE_A_DAY,))),
    "sizes": replace(_BARE, limits=Limits(header=16_384)),
    "one network": replace(_BARE, networks=_FEW),
    "3,000 networks": replace(_BARE, networks=_MANY),
    "CORS": replace(_BARE, cors=_CORS),
    "all of them": replace(_BARE, limits=Limits(header=16_384, rate=(_RATE, _BY_TENANT)), networks=_MANY, cors=_CORS),
}


def _calls(route: Route, clients: int) -> Sequence[Call]:
    fields = [("Host", "a.test"), ("Origin", "https://app.example.com"), ("x-tenant", "acme"), ("accept", "*/*")]
    headers = CIMultiDict(fields)
    calls = []
    for number in range(CALLS):
        client = f"10.{number % clients >> 16}.{number % clients >> 8 & 255}.{number % clients & 255}"
        facts = RequestFacts("GET", "a.test", "/", "", headers, client)
        calls.append(Call(facts, route, "a.test", "/", "", fields, head_size=300))
    return calls


def measure(route: Route, clients: int) -> float:
    """Microseconds for one call there and back, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        pipelines = all_stages(time.perf_counter, rate_keys=CAPACITY)
        calls = _calls(route, clients)
        began = time.perf_counter()
        for call in calls:
            stages = pipelines.of(route)
            if any(stage.request(call) is not None for stage in stages):
                raise AssertionError("a call was not let through")
            head = ResponseHead(200, [("Content-Type", "text/plain")])
            for stage in reversed(stages):
                stage.response(call, head)
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def main() -> None:
    print(f"{'stages':<28}{'us/call':>10}{'ratio':>8}")
    bare = 0.0
    for name, route in ROUTES.items():
        cost = measure(route, CALLS if "flood" in name else 100)
        bare = bare or cost
        print(f"{name:<28}{cost:>10.2f}{cost / bare:>8.2f}")


if __name__ == "__main__":
    main()
