"""Limits, networks and CORS where the proxy takes part: sizes, the route of a preflight, what refusals carry."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from gateway.core.limits import Cors, Networks, RateLimit
from gateway.core.model import Limits, Match, Outcome, Reason
from tests.support.proxies import DEFAULT_ROUTE, running_proxy
from tests.support.upstreams import ScriptedUpstream, request, saying

APP = "https://app.example.com"
CORS = Cors((APP,), ("PUT",))
ORIGIN = f"Origin: {APP}"
PREFLIGHT = request("/", ORIGIN, "Access-Control-Request-Method: PUT", method="OPTIONS")


async def test_headers_over_the_routes_limit_are_431_and_at_it_they_pass() -> None:
    asked = request("/", "x-large: " + "a" * 100)
    size = sum(len(line) for line in asked.split(b"\r\n")[1:]) + 2 * asked.count(b": ")
    for limit, status in ((size, 200), (size - 1, 431)):
        route = replace(DEFAULT_ROUTE, limits=Limits(header=limit))
        async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
            assert (await proxy.ask(asked)).status == status
            assert len(upstream.requests) == (status == 200)


async def test_a_refusal_for_size_can_be_read_by_the_page_that_asked() -> None:
    route = replace(DEFAULT_ROUTE, limits=Limits(body=10), cors=CORS)
    async with running_proxy(route=route) as proxy:
        response = await proxy.ask(request("/", ORIGIN, method="PUT", body=b"0123456789a"))
        assert response.status == 413
        assert response.value("access-control-allow-origin") == APP


async def test_a_refusal_of_the_core_can_be_read_by_the_page_that_asked() -> None:
    async with running_proxy(route=replace(DEFAULT_ROUTE, cors=CORS)) as proxy:
        response = await proxy.ask(request("/", ORIGIN))
        assert response.status == 503
        assert (response.value("access-control-allow-origin"), response.value("vary")) == (APP, "Origin")


async def test_what_an_instance_says_of_cors_is_replaced() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\nVary: Accept\r\n\r\n"
    async with (
        ScriptedUpstream(saying(answer)) as upstream,
        running_proxy(upstream, route=replace(DEFAULT_ROUTE, cors=CORS)) as proxy,
    ):
        response = await proxy.ask(request("/", ORIGIN))
        assert response.values("access-control-allow-origin") == [APP]
        assert response.values("vary") == ["Accept", "Origin"]
        assert (await proxy.ask(request())).values("access-control-allow-origin") == []


async def test_a_preflight_takes_the_route_of_the_request_that_it_asks_about() -> None:
    reads = replace(DEFAULT_ROUTE, name="reads", matches=(Match(methods=frozenset({"GET", "OPTIONS"})),))
    writes = replace(DEFAULT_ROUTE, name="writes", matches=(Match(methods=frozenset({"PUT"})),), cors=CORS)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=[reads, writes]) as proxy:
        response = await proxy.ask(PREFLIGHT, method="OPTIONS")
        assert response.status == 204
        assert response.value("access-control-allow-methods") == "PUT"
        assert not upstream.requests
        record = await proxy.record()
        assert (record.route, record.outcome, record.ticket) == ("writes", Outcome.RESPONDED, None)


async def test_a_route_without_cors_leaves_preflights_to_its_instances() -> None:
    writes = replace(DEFAULT_ROUTE, name="writes", matches=(Match(methods=frozenset({"PUT"})),))
    options = replace(DEFAULT_ROUTE, name="options", matches=(Match(methods=frozenset({"OPTIONS"})),))
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=[writes, options]) as proxy:
        assert (await proxy.ask(PREFLIGHT)).status == 200
        assert upstream.last.value("access-control-request-method") == "PUT"
        assert (await proxy.record()).route == "options"


async def test_networks_come_before_cors_and_preflights_before_rates() -> None:
    once = Limits(rate=(RateLimit(1, 3600, 1),))
    route = replace(DEFAULT_ROUTE, cors=CORS, limits=once)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
        assert [(await proxy.ask(PREFLIGHT, method="OPTIONS")).status for _ in range(3)] == [204] * 3
        assert [(await proxy.ask(request())).status for _ in range(3)] == [200, 429, 429]
    closed = replace(route, networks=Networks(deny=(ip_network("127.0.0.0/8"),)))
    async with running_proxy(route=closed) as proxy:
        response = await proxy.ask(PREFLIGHT, method="OPTIONS")
        assert response.status == 403
        assert response.values("vary") == []
        assert (await proxy.record()).reason is Reason.FORBIDDEN
