"""The listener: start, what it refuses to start on, drain and stop."""

import asyncio
import socket
from dataclasses import replace

import pytest
from aiohttp import http_parser

from gateway.app.workers.board import Board
from gateway.core.model import Outcome
from gateway.pipeline.stage import Pipelines
from gateway.proxy.client.sockets import ListenError
from gateway.proxy.listener import Listener, NoCParser, require_c_parser
from gateway.proxy.options import ProxyOptions
from tests.support.proxies import OPTIONS, Records, running_proxy
from tests.support.upstreams import OK, Exchange, ScriptedUpstream, request


async def test_a_taken_port_is_named_with_the_flag() -> None:
    async with running_proxy() as proxy:
        options = replace(OPTIONS, port=proxy.port)
        with pytest.raises(ListenError, match=f"port {proxy.port} .*is taken.*--listen"):
            await Listener(proxy.conductor, Pipelines([]), proxy.upstream, options, Records()).start()


async def test_an_address_that_is_not_ours_is_named() -> None:
    async with running_proxy() as proxy:
        options = replace(OPTIONS, host="192.0.2.1")
        with pytest.raises(ListenError, match=r"192\.0\.2\.1.*--listen"):
            await Listener(proxy.conductor, Pipelines([]), proxy.upstream, options, Records()).start()


async def test_a_socket_that_was_handed_on_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options = replace(OPTIONS, listening_socket=listening)
        async with ScriptedUpstream() as upstream, running_proxy(upstream, options=options) as proxy:
            assert proxy.port == listening.getsockname()[1]
            assert (await proxy.ask()).status == 200


@pytest.mark.parametrize("several", [False, True], ids=["alone", "among several"])
async def test_nothing_is_held_back_and_a_vanished_client_is_noticed(several: bool) -> None:
    options = replace(OPTIONS, turns=Board.make(1).place(1)) if several else OPTIONS
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options) as proxy,
        await proxy.connect() as client,
    ):
        await client.ask(request())
        server = proxy.listener._server
        assert server is not None
        (connection,) = server.open_connections
        assert connection.transport is not None
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_without_the_c_parser_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    require_c_parser()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(NoCParser, match="C parser"):
        require_c_parser()


def test_an_id_that_cannot_stand_in_via_is_refused() -> None:
    with pytest.raises(ValueError, match="token"):
        replace(OPTIONS, gateway_id="gw, evil")


@pytest.mark.parametrize(
    ("options", "line", "status"),
    [
        (replace(OPTIONS, max_line=100), b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a", 414),
        (replace(OPTIONS, max_field=100), b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 101, 431),
        (replace(OPTIONS, max_fields=2), b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\nY: a", 431),
        (replace(OPTIONS, max_head=100), b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 60 + b"\r\nY: " + b"a" * 60, 431),
    ],
)
async def test_the_settings_are_in_force(options: ProxyOptions, line: bytes, status: int) -> None:
    async with ScriptedUpstream() as upstream:
        async with running_proxy(upstream) as proxy:
            assert (await proxy.ask(line + b"\r\n\r\n")).status == 200
        async with running_proxy(upstream, options=options) as proxy:
            assert (await proxy.ask(line + b"\r\n\r\n")).status == status


async def test_draining_serves_on_with_connections_that_end_then_takes_no_more() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/slow":
            await go_on.wait()
        await exchange.say(OK)

    go_on = asyncio.Event()
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream) as proxy,
        await proxy.connect() as slow,
        await proxy.connect() as idle,
        await proxy.connect() as old,
    ):
        assert (await old.ask(request())).value("connection") is None
        await slow.say(request("/slow"))
        await upstream.arrived.wait()
        draining = asyncio.ensure_future(proxy.listener.drain(0.3, 10))
        await asyncio.sleep(0)
        assert (await old.ask(request())).value("connection") == "close"
        assert (await proxy.ask()).value("connection") == "close"
        assert await idle.closed()
        with pytest.raises(ConnectionError):
            await proxy.connect()
        assert not draining.done()
        go_on.set()
        response = await slow.response()
        assert (response.status, response.value("connection")) == (200, "close")
        drained = await asyncio.wait_for(draining, 5)
        assert (drained.finished, drained.aborted) == (1, 0)
        assert proxy.listener.connections == 0


async def test_what_does_not_finish_in_time_is_cut_off() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.until_closed()
        exchange.close()

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:
        await client.say(request())
        await upstream.arrived.wait()
        drained = await asyncio.wait_for(proxy.listener.drain(0, 0.1), 5)
        assert (drained.finished, drained.aborted) == (0, 1)
        assert await client.closed()
        await upstream.left.wait()
        assert proxy.outcome(Outcome.ABANDONED) == 1


async def test_stop_may_be_called_twice() -> None:
    async with running_proxy() as proxy:
        await proxy.listener.stop()
        await proxy.listener.stop()


async def test_an_error_of_our_own_is_500_without_a_word_about_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream) as proxy, await proxy.connect() as client:

        def fail(*_: object) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(proxy.records, "view_age", fail)
        response = await client.ask(request())
        assert response.status == 500
        assert b"internal_error" in response.body
        assert b"secret" not in response.body
        assert await client.closed()
        assert "secret" in caplog.text
        assert (await proxy.record()).status == 500
        assert proxy.outcome(Outcome.ABANDONED) == 1
