"""Certificates of clients: in the handshake, on routes, in sessions that are taken up again, and revoked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from gateway.core.authentication import Authentication, ClientCertificate
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route
from gateway.proxy.client.certificate_files import TlsOptions
from gateway.proxy.client.server_certificates import ServerCertificates
from tests.support.certificates import Authority
from tests.support.proxies import RunningProxy, running_proxy
from tests.support.upstreams import LiteralClient, ScriptedUpstream, request

NAME = "shop.test"
ALLOWED = ClientCertificate(
    san_dns=frozenset({"orders.test"}), headers=(("x-client", "san_dns"), ("x-fingerprint", "fingerprint"))
)


def route(name: str, auth: Authentication | None) -> Route:
    return Route(name, 1, (Backend("orders"),), (Match(PathMatch(PathKind.PREFIX, f"/{name}")),), auth=auth)


ROUTES = (route("open", None), route("closed", Authentication((ALLOWED,))))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def options(authority: Authority) -> TlsOptions:
    return TlsOptions((authority.pair(NAME),), client_ca=authority.file)


async def ask(proxy: RunningProxy, context: ssl.SSLContext, target: str, *lines: str) -> int:
    """The status; raises an OSError where the handshake fails."""
    async with await LiteralClient.connect(proxy.tls_port, tls=context, name=NAME) as client:
        try:
            return (await client.ask(request(target, *lines, host=NAME))).status
        except asyncio.IncompleteReadError as error:
            # In TLS 1.3 a client is told of the end of its handshake when it first reads.
            raise ConnectionResetError from error


async def test_a_route_takes_those_on_its_list(authority: Authority, options: TlsOptions) -> None:
    orders, users = authority.pair("orders.test"), authority.pair("users.test")
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(options)) as proxy,
    ):
        forged = ("X-Client: root.test", "X_Client: root.test", "X-Fingerprint: 00")
        assert await ask(proxy, authority.trusting(orders), "/closed", *forged) == 200
        assert upstream.last.values("x-client") == ["orders.test"]
        assert upstream.last.values("x_client") == []
        assert len(upstream.last.value("x-fingerprint") or "") == 64
        assert (await proxy.record()).identity is not None
        assert str((await proxy.record()).identity).startswith("client_certificate:")

        assert await ask(proxy, authority.trusting(users), "/closed") == 401
        record = await proxy.record(2)
        assert record.detail is not None
        assert record.detail.endswith("is not in the route's list")
        assert await ask(proxy, authority.trusting(), "/closed") == 401
        assert (await proxy.record(3)).detail == "no client certificate"
        assert await ask(proxy, authority.trusting(users), "/open") == 200
        assert await ask(proxy, authority.trusting(), "/open") == 200
        assert (await proxy.ask(request("/closed"))).status == 401
        assert (await proxy.record(6)).detail == "no client certificate"


async def test_each_connection_has_its_own(authority: Authority, options: TlsOptions) -> None:
    contexts = [authority.trusting(authority.pair(name)) for name in ("orders.test", "users.test")]
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(options)) as proxy,
        await LiteralClient.connect(proxy.tls_port, tls=contexts[0], name=NAME) as orders,
        await LiteralClient.connect(proxy.tls_port, tls=contexts[1], name=NAME) as users,
    ):
        for _ in range(5):
            assert (await orders.ask(request("/closed"))).status == 200
            assert (await users.ask(request("/closed"))).status == 401


async def test_a_stranger_fails_in_the_handshake(
    authority: Authority, options: TlsOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stranger = Authority(tmp_path, "elsewhere").pair("orders.test")
    async with running_proxy(route=ROUTES, certificates=ServerCertificates(options)) as proxy:
        with pytest.raises(OSError):  # noqa: PT011  what it says depends on the version of TLS
            await ask(proxy, authority.trusting(stranger), "/open")
        assert proxy.listener.handshake_failures["client_certificate"] == 1
        (told,) = [record for record in caplog.records if "client's certificate" in record.getMessage()]
        assert told.__dict__["peer"] == "127.0.0.1"


async def test_where_one_is_required_nobody_comes_without(authority: Authority, options: TlsOptions) -> None:
    required = TlsOptions(options.certificates, client_ca=options.client_ca, client_required=True)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(required)) as proxy,
    ):
        with pytest.raises(OSError):  # noqa: PT011
            await ask(proxy, authority.trusting(), "/open")
        assert sum(proxy.listener.handshake_failures.values()) == 1
        assert await ask(proxy, authority.trusting(authority.pair("users.test")), "/open") == 200


async def test_by_any_name_of_the_server_it_is_asked_for(authority: Authority, options: TlsOptions) -> None:
    """OpenSSL takes a part of what is set from the context that the name led to: all of them have to be alike."""
    several = TlsOptions((authority.pair("first.test"), *options.certificates), client_ca=authority.file)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(several)) as proxy,
    ):
        assert await ask(proxy, authority.trusting(authority.pair("orders.test")), "/closed") == 200
        assert await ask(proxy, authority.trusting(), "/closed") == 401


async def test_a_session_that_is_taken_up_again_keeps_it(authority: Authority, options: TlsOptions) -> None:
    context = authority.trusting(authority.pair("orders.test"))
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(options)) as proxy,
    ):
        session, _ = await asyncio.to_thread(_ask_in_session, proxy.tls_port, context, None)
        _, reused = await asyncio.to_thread(_ask_in_session, proxy.tls_port, context, session)
        assert reused
        assert upstream.last.value("x-client") == "orders.test"


async def test_a_revoked_one_is_refused_from_the_next_look_on(authority: Authority, options: TlsOptions) -> None:
    orders, users = authority.pair("orders.test"), authority.pair("users.test")
    revoking = TlsOptions(options.certificates, client_ca=options.client_ca, client_crl=authority.revoke(users))
    certificates = ServerCertificates(revoking)
    context = authority.trusting(orders)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=certificates) as proxy,
    ):
        session, _ = await asyncio.to_thread(_ask_in_session, proxy.tls_port, context, None)
        with pytest.raises(OSError):  # noqa: PT011
            await ask(proxy, authority.trusting(users), "/open")
        authority.revoke(users, orders)
        await certificates.look()
        with pytest.raises(OSError):  # noqa: PT011
            await ask(proxy, context, "/closed")
        with pytest.raises(OSError):  # noqa: PT011  nor by what it agreed on before
            await asyncio.to_thread(_ask_in_session, proxy.tls_port, context, session)
        assert proxy.listener.handshake_failures["client_certificate"] == 3
        assert await ask(proxy, authority.trusting(), "/open") == 200


async def test_a_revocation_list_out_of_date_refuses_all(authority: Authority, options: TlsOptions) -> None:
    revoking = TlsOptions(options.certificates, client_ca=options.client_ca, client_crl=authority.revoke(days=-1))
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=ServerCertificates(revoking)) as proxy,
    ):
        with pytest.raises(OSError):  # noqa: PT011
            await ask(proxy, authority.trusting(authority.pair("orders.test")), "/closed")
        assert await ask(proxy, authority.trusting(), "/open") == 200


async def test_another_authority_takes_over(authority: Authority, options: TlsOptions, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    client = other.pair("orders.test")
    certificates = ServerCertificates(options)
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ROUTES, certificates=certificates) as proxy,
    ):
        context = authority.trusting(client)
        with pytest.raises(OSError):  # noqa: PT011
            await ask(proxy, context, "/closed")
        authority.file.write_bytes(other.file.read_bytes())
        await certificates.look()
        assert await ask(proxy, context, "/closed") == 200


def _ask_in_session(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool]:
    """The session, and whether it was taken up again."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with context.wrap_socket(raw, server_hostname=NAME, session=session) as spoken:
        spoken.sendall(request("/closed", host=NAME))
        answer = spoken.recv(65536)
        if not answer:
            raise ConnectionResetError
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return spoken.session, bool(spoken.session_reused)
