"""What the instance and the client are told about hops, and what nobody is told."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from gateway.core.filters import Edit, EditRequestHeaders, EditResponseHeaders, StripPrefix
from gateway.core.limits import Networks
from gateway.core.model import Match, PathKind, PathMatch, Reason, ValueKind, ValueMatch
from gateway.core.template import parse
from tests.support.proxies import DEFAULT_ROUTE, OPTIONS, running_proxy
from tests.support.upstreams import ScriptedUpstream, request, saying

TRUSTING = replace(OPTIONS, trusted_hops=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))


async def test_hop_headers_end_here_both_ways() -> None:
    said = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Inner, keep-alive\r\n"
        b"X-Inner: secret\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: X\r\nX-Gateway-Debug: 1\r\n"
        b"X-Consul-Token: t\r\nX-Kept: y\r\n\r\nok"
    )
    lines = (
        "Connection: keep-alive, X-Private, close",
        "X-Private: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "TE: trailers",
        "Trailer: X",
        "X-Gateway-User: root",
        "X-Consul-Token: secret",
        "X-Kept: yes",
    )
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask(request("/", *lines))
        assert upstream.last.value("x-kept") == "yes"
        assert {name for name, _ in upstream.last.fields} == {
            *("host", "x-kept", "via", "x-request-id", "traceparent", "forwarded", "x-real-ip"),
            *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
        }
        assert {name for name, _ in response.fields} == {
            *("content-length", "x-kept", "via", "x-request-id", "date", "connection"),
        }
        assert response.value("connection") == "close"


@pytest.mark.parametrize("named", ["X-Forwarded-For", "Host", "X-Real-IP, Forwarded", "Via, X-Request-Id"])
async def test_what_connection_names_is_taken_from_the_client_only(named: str) -> None:
    lines = (f"Connection: close, {named}", "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6")
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        assert (await proxy.ask(request("/", *lines))).status == 200
        assert upstream.last.values("x-forwarded-for") == ["127.0.0.1"]
        assert upstream.last.values("x-real-ip") == ["127.0.0.1"]
        assert upstream.last.values("host") == ["gateway.test"]
        assert upstream.last.value("forwarded") == "for=127.0.0.1;proto=http;host=gateway.test"
        assert upstream.last.value("via") == "1.1 gw-test"
        assert upstream.last.value("x-request-id")


async def test_authorization_named_in_connection_goes_too() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        await proxy.ask(request("/", "Connection: Authorization", "Authorization: Bearer x"))
        assert upstream.last.value("authorization") is None


async def test_routes_do_not_see_what_is_stripped() -> None:
    matches = (Match(headers=(ValueMatch("x-gateway-admin", ValueKind.PRESENT),)),)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=replace(DEFAULT_ROUTE, matches=matches)) as proxy,
    ):
        assert (await proxy.ask(request("/", "X-Gateway-Admin: 1"))).status == 404
        assert not upstream.requests


@pytest.mark.parametrize("more", [(), ("X-Gateway-A: 1",), ("Connection: X-A", "X-A: 1"), ("X-Consul-Token: 1",)])
@pytest.mark.parametrize("name", ["te", "x-forwarded-for", "x-real-ip", "host"])
async def test_what_ends_here_and_what_anyone_may_forge_decides_nothing(name: str, more: tuple[str, ...]) -> None:
    matches = (Match(headers=(ValueMatch(name, ValueKind.PRESENT),)),)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=replace(DEFAULT_ROUTE, matches=matches)) as proxy,
    ):
        lines = ("TE: trailers", "X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1", *more)
        assert (await proxy.ask(request("/", *lines))).status == 404


@pytest.mark.parametrize("more", [(), ("X-Gateway-A: 1",)])
async def test_an_upgrade_decides_whatever_else_is_sent(more: tuple[str, ...]) -> None:
    matches = (Match(headers=(ValueMatch("upgrade", ValueKind.PRESENT),)),)
    nobody = Networks(deny=(ip_network("127.0.0.0/8"),))
    closed = replace(DEFAULT_ROUTE, name="closed", matches=matches, networks=nobody)
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", *more)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=[DEFAULT_ROUTE, closed]) as proxy:
        assert (await proxy.ask(request("/", *lines))).status == 403
        assert not upstream.requests


async def test_a_header_that_is_set_cannot_be_sent_by_its_twin() -> None:
    filters = (EditRequestHeaders(Edit(set=(("x-user", parse("ann")),), remove=("x-role",))),)
    route = replace(DEFAULT_ROUTE, filters=filters)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
        await proxy.ask(request("/", "x_user: root", "X_Role: root", "X-Role: root"))
        told = [(name, value) for name, value in upstream.last.fields if "user" in name or "role" in name]
        assert told == [("x-user", "ann")]


SPOOFED = (
    "X-Forwarded-For: 6.6.6.6, 10.1.1.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.test",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /evil",
    "Forwarded: for=6.6.6.6;proto=https",
    "X-Real-IP: 6.6.6.6",
    "X-Request-Id: chosen",
)


async def test_a_strangers_word_is_replaced() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        await proxy.ask(request("/", *SPOOFED))
        told = upstream.last
        assert told.values("x-forwarded-for") == ["127.0.0.1"]
        assert told.values("x-forwarded-proto") == ["http"]
        assert told.values("x-forwarded-host") == ["gateway.test"]
        assert told.values("x-forwarded-port") == [str(proxy.port)]
        assert told.values("x-forwarded-prefix") == []
        assert told.values("forwarded") == ["for=127.0.0.1;proto=http;host=gateway.test"]
        assert told.values("x-real-ip") == ["127.0.0.1"]
        assert len(told.value("x-request-id") or "") == 32
        assert (await proxy.record()).client_ip == "127.0.0.1"


async def test_a_trusted_hops_word_is_kept_and_added_to() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, options=TRUSTING) as proxy:
        response = await proxy.ask(request("/", *SPOOFED))
        told = upstream.last
        assert told.value("x-forwarded-for") == "6.6.6.6, 10.1.1.1, 127.0.0.1"
        assert told.values("x-forwarded-proto") == ["https"]
        assert told.values("x-forwarded-host") == ["public.test"]
        assert told.values("x-forwarded-port") == ["443"]
        assert told.value("forwarded") == "for=6.6.6.6;proto=https, for=127.0.0.1;proto=http;host=gateway.test"
        assert told.values("x-real-ip") == ["6.6.6.6"]
        assert told.value("x-request-id") == response.value("x-request-id") == "chosen"
        assert (await proxy.record()).client_ip == "6.6.6.6"


@pytest.mark.parametrize("odd", ["a b", "x" * 129, "\x7fx".replace("\x7f", "("), "a, b"])
async def test_an_odd_request_id_is_replaced_even_from_a_trusted_hop(odd: str) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, options=TRUSTING) as proxy:
        response = await proxy.ask(request("/", f"X-Request-Id: {odd}"))
        assert len(response.value("x-request-id") or "") == 32
        assert (await proxy.record()).request_id == response.value("x-request-id")


async def test_via_is_extended_both_ways() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 inner\r\n\r\nok"
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask(request("/", "Via: 1.0 fred, 1.1 outer (gw-test)"))
        assert upstream.last.value("via") == "1.0 fred, 1.1 outer (gw-test), 1.1 gw-test"
        assert response.value("via") == "1.1 inner, 1.1 gw-test"


@pytest.mark.parametrize("seen", ["1.1 gw-test", "1.0 other, HTTP/1.1 gw-test (comment), 1.1 more"])
async def test_a_circle_is_508(seen: str) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        response = await proxy.ask(request("/", f"Via: {seen}"))
        assert response.status == 508
        assert (await proxy.record()).reason is Reason.LOOP_DETECTED
        assert not upstream.requests


async def test_a_gateway_that_is_its_own_backend_ends_the_circle() -> None:
    async with running_proxy() as proxy:
        async with ScriptedUpstream() as stand_in:
            own = replace(stand_in.instance, port=proxy.port)
        proxy.conductor.apply_view("orders", [own])
        assert (await proxy.ask()).status == 508
        assert len(await proxy.records.wait_for(2)) == 2


async def test_filters_of_the_route() -> None:
    route = replace(
        DEFAULT_ROUTE,
        matches=(Match(PathMatch(PathKind.PREFIX, "/orders")),),
        filters=(
            StripPrefix("/orders"),
            EditRequestHeaders(Edit(set=(("x-team", "a"),), remove=("cookie",))),
            EditResponseHeaders(Edit(add=(("x-served", "b"),), remove=("server",))),
        ),
    )
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: nginx\r\n\r\nok"
    async with ScriptedUpstream(saying(said)) as upstream, running_proxy(upstream, route=route) as proxy:
        response = await proxy.ask(request("/orders/7?x", "Cookie: a=b", "X-Team: z"))
        assert upstream.last.target == "/7?x"
        assert upstream.last.values("x-team") == ["a"]
        assert upstream.last.value("cookie") is None
        assert response.value("x-served") == "b"
        assert response.value("server") is None
        assert (await proxy.record()).path == "/orders/7"


async def test_escaped_slashes_pass_where_the_route_says_so() -> None:
    route = replace(DEFAULT_ROUTE, pass_escaped_slashes=True)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
        assert (await proxy.ask(request("/a%2fb"))).status == 200
        assert upstream.last.target == "/a%2Fb"


async def test_repeated_and_empty_fields_pass_in_order() -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy:
        await proxy.ask(request("/", "Cookie: a=1", "X-Many: 1", "X-Many:", "x-many: 3", "Cookie: b=2", "A_b: c"))
        assert upstream.last.values("x-many") == ["1", "", "3"]
        assert upstream.last.values("cookie") == ["a=1", "b=2"]
        assert upstream.last.value("a_b") == "c"


async def test_refusals_have_a_type_and_retry_after() -> None:
    async with running_proxy() as proxy:
        response = await proxy.ask(request())
        assert response.status == 503
        assert b"urn:alims-gateway:problem:no_healthy_instance" in response.body
        proxy.conductor.apply_routes([])
        response = await proxy.ask(request(method="HEAD"), method="HEAD")
        assert response.status == 404
        assert int(response.value("content-length") or 0) > 0
