"""What it costs a decision that the request says where it may go: each against the same route where it says nothing.

Run: python -m benchmarks.steering
"""

from __future__ import annotations

import time
from dataclasses import replace

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Instance, InstanceKey, Route, Sticky, StickyOn
from gateway.core.steering import Steerer
from gateway.core.sticky import tagger
from gateway.core.tickets import End, Head, Send
from gateway.discovery.predicates import compile_instances
from gateway.discovery.regex import compile_full_match
from gateway.pipeline.stage import Call

SIZES = (3, 10, 100)
REQUESTS = 3_000
ROUNDS = 5
TAG = tagger(b"a key for this benchmark")

PLAIN = Route("r", 1, (Backend("orders"),))
NEAR = 'instance.meta.region == request.headers["x-region"]'
ROUTES = {
    "nothing": PLAIN,
    "instances: instance.meta.region == 'r1'": replace(
        PLAIN, backends=(Backend("orders", instances="instance.meta.region == 'r1'"),)
    ),
    f"instances: {NEAR}": replace(PLAIN, backends=(Backend("orders", instances=NEAR),)),
    f"prefer: {NEAR}": replace(PLAIN, backends=(Backend("orders", prefer=NEAR),)),
    "sticky by cookie": replace(PLAIN, sticky=Sticky(StickyOn.COOKIE, "at")),
    "sticky by header": replace(PLAIN, sticky=Sticky(StickyOn.HEADER, "x-session")),
}


def instances(size: int) -> list[Instance]:
    def instance(number: int) -> Instance:
        key = InstanceKey("dc1", "n", f"i{number}")
        return Instance(key, "orders", "10.0.0.1", 1000 + number, meta={"region": f"r{number % 3}"})

    return [instance(number) for number in range(size)]


def cost(route: Route, size: int) -> float:
    """Microseconds from an authenticated request to its response, all of the core's work included."""
    made = instances(size)
    core = Gateway(compile_full_match, lambda: 0.5)
    core.apply_routes([route], 0.0)
    core.apply_view("orders", made, 0.0)
    steerer = Steerer(compile_instances, TAG, lambda *_: None)
    headers = CIMultiDictProxy(CIMultiDict({"X-Region": "r1", "X-Session": "s7", "Cookie": f"at={TAG(made[1])}"}))
    now, best = 0.0, float("inf")
    for _ in range(ROUNDS):
        asked = [RequestFacts("GET", "a", "/", "", headers, "10.1.2.3") for _ in range(REQUESTS)]
        calls = [Call(facts, route, None, "/", "", []) for facts in asked]
        started = time.perf_counter()
        for call in calls:
            now += 0.001
            steering = steerer.steer(call, core.standings(route, now)) if route.steers else None
            decision = core.route_request(route, call.facts, now, steering)
            assert isinstance(decision, Send)
            core.process_response(decision.attempt, Head(200, replayable=True), now)
            core.process_response(decision.attempt, End(), now)
        best = min(best, time.perf_counter() - started)
    return best / REQUESTS * 1e6


def main() -> None:
    for size in SIZES:
        print(f"\n{size} instances\n{'us':>8}{'ratio':>8}  what the request says")
        base = 0.0
        for name, route in ROUTES.items():
            found = cost(route, size)
            base = base or found
            print(f"{found:>8.2f}{found / base:>8.2f}  {name}")


if __name__ == "__main__":
    main()
