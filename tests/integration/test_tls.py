"""TLS towards clients: whom a client is shown, what is refused, and the same requests as without it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from gateway.core.model import Outcome
from gateway.proxy.client.certificate_files import TlsOptions
from gateway.proxy.client.server_certificates import ServerCertificates
from tests.support.certificates import Authority
from tests.support.proxies import OPTIONS, RunningProxy, running_proxy
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, request

NAME = "shop.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificates(authority: Authority) -> ServerCertificates:
    return ServerCertificates(TlsOptions((authority.pair(NAME),)))


async def secure(proxy: RunningProxy, context: ssl.SSLContext, name: str = NAME) -> LiteralClient:
    return await LiteralClient.connect(proxy.tls_port, tls=context, name=name)


def shown_to(client: LiteralClient) -> Sequence[str]:
    """The DNS names of the certificate that the client was shown."""
    certificate = client.writer.get_extra_info("ssl_object").getpeercert()
    return [name for kind, name in certificate["subjectAltName"] if kind == "DNS"]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_request_by_tls_says_so_upstream(authority: Authority, certificates: ServerCertificates) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        async with await secure(proxy, authority.trusting()) as client:
            for _ in range(3):
                response = await client.ask(request(host=NAME))
                assert (response.status, response.body) == (200, b"ok")
            seen = upstream.last
            assert seen.value("x-forwarded-proto") == "https"
            assert seen.value("x-forwarded-port") == str(proxy.tls_port)
            assert seen.value("forwarded") == f"for=127.0.0.1;proto=https;host={NAME}"
            facts = (await proxy.record()).facts
            assert facts is not None
            assert facts.scheme == "https"
        assert (await proxy.ask()).status == 200
        assert upstream.last.value("x-forwarded-proto") == "http"
        assert upstream.last.value("x-forwarded-port") == str(proxy.port)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("shop.test", "shop.test"),
        ("b.test", "b.test"),
        ("B.TEST", "b.test"),
        ("x.wild.test", "*.wild.test"),
        ("exact.wild.test", "exact.wild.test"),
        ("x.y.wild.test", "shop.test"),
        ("wild.test", "shop.test"),
        ("stranger.test", "shop.test"),
        (None, "shop.test"),
    ],
)
async def test_the_name_that_is_asked_for_chooses(authority: Authority, asked: str | None, shown: str) -> None:
    pairs = tuple(authority.pair(name.replace("*", "_"), name) for name in ("shop.test", "b.test", "*.wild.test"))
    certificates = ServerCertificates(TlsOptions((*pairs, authority.pair("exact.wild.test"))))
    context = authority.trusting()
    context.check_hostname = False
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        # An address is not told to the server: a client that asks for none.
        await secure(proxy, context, asked or "127.0.0.1") as client,
    ):
        assert shown_to(client) == [shown]
        assert (await client.ask(request())).status == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_old_versions_are_refused(authority: Authority, certificates: ServerCertificates) -> None:
    async with running_proxy(certificates=certificates) as proxy:
        old = authority.trusting()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await secure(proxy, old)
        await until(lambda: proxy.listener.handshake_failures["protocol"] == 1)
        assert proxy.listener.connections == 0


@pytest.mark.parametrize(("least", "spoken"), [("1.2", ("TLSv1.2", "TLSv1.3")), ("1.3", ("TLSv1.3",))])
async def test_the_oldest_version_can_be_set(authority: Authority, least: str, spoken: Sequence[str]) -> None:
    version = ssl.TLSVersion.TLSv1_2 if least == "1.2" else ssl.TLSVersion.TLSv1_3
    certificates = ServerCertificates(TlsOptions((authority.pair(NAME),), min_version=version))
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        for wanted, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = authority.trusting()
            context.minimum_version = context.maximum_version = wanted
            if name not in spoken:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await secure(proxy, context)
                continue
            async with await secure(proxy, context) as client:
                assert (await client.ask(request())).status == 200
                connection = client.writer.get_extra_info("ssl_object")
                assert connection.version() == name
                assert connection.compression() is None


async def test_only_http_1_is_agreed_on(authority: Authority, certificates: ServerCertificates) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None)):
            context = authority.trusting()
            context.set_alpn_protocols(offered)
            async with await secure(proxy, context) as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed


@pytest.mark.parametrize("body", [b"", bytes(4 << 20)])
async def test_plain_http_at_the_port_for_tls_is_told_so(certificates: ServerCertificates, body: bytes) -> None:
    options = replace(OPTIONS, lingering=0.2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
    ):
        async with await LiteralClient.connect(proxy.tls_port) as client:
            response = await client.ask(request("/secret", method="POST", body=body))
            assert response.status == 400
            assert b"https" in response.body
            assert await client.closed()
        record = await proxy.record()
        assert (record.status, record.outcome, record.detail is not None) == (400, Outcome.REJECTED, True)
        assert proxy.listener.handshake_failures["not_tls"] == 1
        assert not upstream.requests


async def test_tls_at_the_port_for_plain_http_is_cut(authority: Authority, certificates: ServerCertificates) -> None:
    async with running_proxy(certificates=certificates) as proxy:
        with pytest.raises(ssl.SSLError):
            await LiteralClient.connect(proxy.port, tls=authority.trusting(), name=NAME)
        assert (await proxy.record()).status == 400


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00"])
async def test_a_silent_handshake_ends_at_its_deadline(certificates: ServerCertificates, said: bytes) -> None:
    options = replace(OPTIONS, head_timeout=0.3)
    async with running_proxy(options=options, certificates=certificates) as proxy:
        async with await LiteralClient.connect(proxy.tls_port) as client:
            if said:
                await client.say(said)
            await until(lambda: proxy.listener.connections == 1)
            assert await client.closed()
        await until(lambda: proxy.listener.handshake_failures["timeout"] == 1)
        assert proxy.listener.connections == 0


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16\x03\x01\x00\x05HELLO"])
async def test_a_client_that_leaves_in_the_handshake(certificates: ServerCertificates, said: bytes) -> None:
    async with running_proxy(certificates=certificates) as proxy:
        async with await LiteralClient.connect(proxy.tls_port) as client:
            if said:
                await client.say(said)
            await until(lambda: proxy.listener.connections == 1 or sum(proxy.listener.handshake_failures.values()))
        await until(lambda: sum(proxy.listener.handshake_failures.values()) == 1)
        assert proxy.listener.connections == 0


async def test_handshakes_count_as_connections(authority: Authority, certificates: ServerCertificates) -> None:
    options = replace(OPTIONS, max_connections=2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
        await LiteralClient.connect(proxy.tls_port),
        await LiteralClient.connect(proxy.tls_port),
    ):
        await until(lambda: proxy.listener.connections == 2)
        with pytest.raises(ConnectionError):
            await secure(proxy, authority.trusting())
        assert proxy.listener.connections_dropped == 1
        async with await proxy.connect() as plain:
            assert await plain.closed()


async def test_handshakes_count_among_their_clients(authority: Authority, certificates: ServerCertificates) -> None:
    options = replace(OPTIONS, max_connections_per_client=2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        async with await LiteralClient.connect(proxy.tls_port):
            await until(lambda: proxy.listener.connections == 2)
            with pytest.raises(ConnectionError):
                await secure(proxy, authority.trusting())
            assert proxy.listener.connections_dropped == 1
        await until(lambda: proxy.listener.connections == 1)
        for _ in range(3):
            async with await secure(proxy, authority.trusting()) as second:
                assert (await second.ask(request())).status == 200
            await until(lambda: proxy.listener.connections == 1)
        assert (await client.ask(request())).status == 200


async def test_the_oldest_idle_connection_makes_room(authority: Authority, certificates: ServerCertificates) -> None:
    options = replace(OPTIONS, max_connections=2)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
        await proxy.connect() as oldest,
        await secure(proxy, authority.trusting()) as older,
    ):
        await oldest.ask(request())
        await older.ask(request())
        async with await secure(proxy, authority.trusting()) as newest:
            assert await oldest.closed()
            assert (await newest.ask(request())).status == 200
            assert (await older.ask(request())).status == 200
        assert proxy.listener.connections_dropped == 1


class WithoutDescriptors:
    """A listening socket of a process that has no descriptors left for a while: to use them up would fail the test's
    own client as well."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.failures = 2

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        accepted, address = self._real.accept()
        return accepted, address


async def test_accepting_goes_on_once_there_are_descriptors_again(
    authority: Authority, certificates: ServerCertificates, caplog: pytest.LogCaptureFixture
) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        acceptor = proxy.listener._tls
        assert acceptor is not None
        acceptor._listening = cast(socket.socket, WithoutDescriptors(acceptor._listening))
        async with await secure(proxy, authority.trusting()) as client:
            assert (await client.ask(request())).status == 200
        assert caplog.text.count("No connection can be accepted.") == 2


async def test_bodies_both_ways_with_a_slow_reader_are_bounded_and_whole(
    authority: Authority, certificates: ServerCertificates
) -> None:
    size = 8 << 20
    body = os.urandom(1 << 20) * 8

    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        await exchange.say(exchange.request.body)

    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        await client.say(request("/", f"Content-Length: {size}", method="PUT", host=NAME) + body)
        await client.head()
        (connection,) = proxy.listener._server.open_connections  # type: ignore[union-attr]
        await until(lambda: connection.writing_paused)
        assert connection.transport is not None
        assert 0 < connection.transport.get_write_buffer_size() <= 1 << 20
        received = b""
        while len(received) < size:
            received += await client.reader.readexactly(min(1 << 19, size - len(received)))
            await asyncio.sleep(0.02)
        assert received == body


async def test_a_body_waits_for_an_instance_that_does_not_read(
    authority: Authority, certificates: ServerCertificates
) -> None:
    size, piece, sent = 64 << 20, bytes(1 << 16), 0
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        left = size
        while left:
            left -= len(await exchange.reader.read(1 << 20))
        await exchange.say(OK)

    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        await client.say(request("/", f"Content-Length: {size}", method="PUT", host=NAME))

        async def write() -> None:
            nonlocal sent
            while sent < size:
                await client.say(piece)
                sent += len(piece)

        writing, before = asyncio.ensure_future(write()), -1
        await upstream.arrived.wait()
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < size // 2, "the gateway took more than it may hold"
        go_on.set()
        assert (await client.response()).status == 200
        await writing


async def test_a_client_that_does_not_read_is_cut_off(authority: Authority, certificates: ServerCertificates) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        for _ in range(1 << 10):
            await exchange.say(bytes(1 << 20))

    options = replace(OPTIONS, write_timeout=0.3)
    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
    ):
        async with await secure(proxy, authority.trusting()) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.say(request())
            assert (await proxy.record()).outcome is Outcome.ABANDONED
        await until(lambda: proxy.listener.connections == 0)


async def test_a_response_that_is_the_last_reaches_the_client_whole(
    authority: Authority, certificates: ServerCertificates
) -> None:
    body = os.urandom(300_000)

    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        async with await secure(proxy, authority.trusting()) as client:
            await client.say(request("/", "Connection: close"))
            await asyncio.sleep(0.2)
            response = await client.response()
            assert (response.value("connection"), response.body == body) == ("close", True)
            assert await client.closed()
        await until(lambda: proxy.listener.connections == 0)


async def test_a_client_that_says_no_goodbye_holds_nothing(
    authority: Authority, certificates: ServerCertificates
) -> None:
    """Pools of clients do not look at connections that lie idle, so that they do not answer a close_notify."""
    options = replace(OPTIONS, keep_alive=0.1, write_timeout=0.3)
    context = authority.trusting()

    def ask(port: int) -> ssl.SSLSocket:
        spoken = context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=NAME)
        spoken.sendall(request(host=NAME))
        assert spoken.recv(65536).startswith(b"HTTP/1.1 200")
        return spoken

    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
    ):
        with await asyncio.to_thread(ask, proxy.tls_port):
            await until(lambda: proxy.listener.connections == 0)


KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)


async def test_websocket(authority: Authority, certificates: ServerCertificates) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(SWITCH)
        while data := await exchange.reader.read(65536):
            await exchange.say(data)

    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13")
        await client.say(request("/", *upgrade))
        assert (await client.head()).status == 101
        sent = os.urandom(1 << 20)
        writing = asyncio.ensure_future(client.say(sent))
        assert await client.reader.readexactly(len(sent)) == sent
        await writing
        client.writer.close()
        await until(lambda: proxy.listener.connections == 0)
        assert (await proxy.record()).outcome is Outcome.RESPONDED


async def test_a_broken_response_is_no_clean_end(authority: Authority, certificates: ServerCertificates) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.close()

    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        await client.say(request())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)):
            await client.response()
        assert (await proxy.record()).outcome is Outcome.BROKEN


async def test_draining_ends_connections_of_both_kinds(authority: Authority, certificates: ServerCertificates) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.say(OK)

    async with (
        ScriptedUpstream(script) as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as slow,
        await secure(proxy, authority.trusting()) as idle,
        await LiteralClient.connect(proxy.tls_port) as entering,
    ):
        await slow.say(request())
        await upstream.arrived.wait()
        draining = asyncio.ensure_future(proxy.listener.drain(0.1, 10))
        assert await idle.closed()
        assert await entering.closed()
        with pytest.raises(ConnectionError):
            await secure(proxy, authority.trusting())
        go_on.set()
        response = await slow.response()
        assert (response.status, response.value("connection")) == (200, "close")
        drained = await draining
        assert (drained.finished, drained.aborted) == (1, 0)
        assert proxy.listener.connections == 0


async def test_tls_alone(authority: Authority, certificates: ServerCertificates) -> None:
    options = replace(OPTIONS, port=None)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, options=options, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as client,
    ):
        assert (await client.ask(request())).status == 200


async def test_a_session_is_taken_up_again(authority: Authority, certificates: ServerCertificates) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        context = authority.trusting()

        def ask(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
            raw = socket.create_connection(("127.0.0.1", proxy.tls_port))
            with context.wrap_socket(raw, server_hostname=NAME, session=session) as spoken:
                spoken.sendall(request(host=NAME))
                assert spoken.recv(65536).startswith(b"HTTP/1.1 200")
                return spoken.session, bool(spoken.session_reused)

        session, _ = await asyncio.to_thread(ask, None)
        _, reused = await asyncio.to_thread(ask, session)
        assert reused
