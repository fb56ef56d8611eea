"""Filters and own answers in the data plane: what comes out, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.core.filters import (
    Edit,
    EditQuery,
    EditRequestHeaders,
    EditResponseHeaders,
    HostFrom,
    Redirect,
    ReplacePrefix,
    Respond,
    SetHost,
)
from gateway.core.model import Match, Outcome, PathKind, PathMatch, Reason, RetryPolicy, Route
from gateway.core.template import parse
from tests.support.proxies import DEFAULT_ROUTE, running_proxy
from tests.support.upstreams import OK, Exchange, ScriptedUpstream, request, saying

SERVED_BY = EditResponseHeaders(Edit(set=(("x-served-by", parse("${instance.id}", instance=True)),)))
TOLD = EditRequestHeaders(Edit(add=(("x-instance", parse("${instance.id}", instance=True)),)))


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def test_a_retry_is_told_its_own_instance() -> None:
    route = replace(DEFAULT_ROUTE, filters=(TOLD, SERVED_BY, SetHost(HostFrom.SERVICE)), retry=RetryPolicy(attempts=2))
    async with (
        ScriptedUpstream(reset, name="orders-1") as first,
        ScriptedUpstream(name="orders-2") as second,
        running_proxy(first, second, route=route) as proxy,
    ):
        for _ in range(2):
            response = await proxy.ask()
            assert response.value("x-served-by") == "orders-2"
        assert {each.value("x-instance") for each in first.requests} == {"orders-1"}
        assert {each.value("x-instance") for each in second.requests} == {"orders-2"}
        assert second.last.values("host") == ["orders"]
        assert any(len(record.trace) == 2 for record in await proxy.records.wait_for(2))


@pytest.mark.parametrize("evil", ["%0d%0aX-Evil:%201", "%0a%0d", "a%00b", "%e2%80%a8", "%c3%a9%0a"])
async def test_a_clients_bytes_break_no_line(evil: str) -> None:
    value = parse("<${request.query.q:-none}>")
    filters = (
        EditRequestHeaders(Edit(set=(("x-q", value),))),
        EditResponseHeaders(Edit(set=(("x-q", value),))),
        EditQuery(Edit(set=(("copy", parse("${request.query.q}")),))),
    )
    route = replace(DEFAULT_ROUTE, filters=filters)
    async with ScriptedUpstream() as upstream, running_proxy(upstream, route=route) as proxy:
        response = await proxy.ask(request(f"/?q={evil}"))
        assert response.value("x-q") == "<none>"
        assert upstream.last.values("x-q") == ["<none>"]
        assert upstream.last.value("x-evil") is None
        assert upstream.last.target == f"/?q={evil}&copy="


OWN = (
    Route(
        "moved",
        1,
        (),
        (Match(PathMatch(PathKind.PREFIX, "/old")),),
        answer=Redirect(path=ReplacePrefix("/old", "/new")),
    ),
    Route(
        "robots",
        1,
        (),
        (Match(PathMatch(PathKind.EXACT, "/robots.txt")),),
        filters=(EditResponseHeaders(Edit(set=(("x-path", parse("${request.path}")),))),),
        answer=Respond(200, b"User-agent: *\n", "text/plain", (("Cache-Control", "no-store"),)),
    ),
    Route("gone", 1, (), (Match(PathMatch(PathKind.EXACT, "/gone")),), answer=Respond(204)),
)


async def test_a_route_answers_itself_without_a_ticket() -> None:
    async with running_proxy(route=OWN) as proxy, await proxy.connect() as client:
        moved = await client.ask(request("/old/a%2520?x=%41"))
        assert (moved.status, moved.body) == (302, b"")
        assert moved.value("location") == "/new/a%2520?x=%41"
        assert moved.value("content-length") == "0"
        robots = await client.ask(request("/robots.txt"))
        assert (robots.status, robots.body) == (200, b"User-agent: *\n")
        assert robots.value("content-type") == "text/plain"
        assert robots.value("cache-control") == "no-store"
        assert robots.value("x-path") == "/robots.txt"
        assert robots.values("x-request-id")
        head = await client.ask(request("/robots.txt", method="HEAD"), method="HEAD")
        assert (head.value("content-length"), head.body) == ("14", b"")
        gone = await client.ask(request("/gone"))
        assert (gone.status, gone.value("content-length")) == (204, None)
        assert proxy.core.counters.tickets == 0
        records = await proxy.records.wait_for(4)
    assert [(each.route, each.status, each.outcome, each.reason, each.ticket) for each in records] == [
        ("moved", 302, Outcome.RESPONDED, None, None),
        ("robots", 200, Outcome.RESPONDED, None, None),
        ("robots", 200, Outcome.RESPONDED, None, None),
        ("gone", 204, Outcome.RESPONDED, None, None),
    ]


async def test_a_body_that_nobody_reads_ends_the_connection_behind_the_answer() -> None:
    async with running_proxy(route=OWN) as proxy, await proxy.connect() as client:
        await client.say(b"POST /old HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 9\r\n\r\n")
        moved = await client.response()
        assert (moved.status, moved.value("connection")) == (302, "close")


async def test_a_redirect_takes_no_host_from_the_path() -> None:
    route = Route("all", 1, (), answer=Redirect(path=parse("/${request.query.to}")))
    async with running_proxy(route=route) as proxy:
        for target in (
            "/?to=/evil.test",
            "/?to=%2fevil.test",
            "/?to=%5cevil.test",
            "/?to=%0d%0aSet-Cookie:a=b",
            "/?to=..",
        ):
            response = await proxy.ask(request(target))
            assert response.status in (302, 400)
            location = response.value("location") or "/"
            assert not location.startswith(("//", "/\\"))
            assert response.value("set-cookie") is None


async def test_refusals_are_not_edited() -> None:
    route = replace(
        DEFAULT_ROUTE,
        filters=(EditResponseHeaders(Edit(remove=("content-type",))), SetHost(parse("${request.query.h}"))),
    )
    async with ScriptedUpstream(saying(OK)) as upstream, running_proxy(upstream, route=route) as proxy:
        response = await proxy.ask(request("/?h=a%20b"))
        assert (response.status, response.value("content-type")) == (400, "application/problem+json")
        assert json.loads(response.body)["type"].endswith(Reason.BAD_REQUEST.value)
        assert "a b" not in response.body.decode()
        assert not upstream.requests
        assert (await proxy.ask(request("/?h=inner.test"))).status == 200
        assert upstream.last.values("host") == ["inner.test"]
