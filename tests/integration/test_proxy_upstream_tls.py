"""TLS towards instances: what is verified and by what name, certificates of our own, and files that change."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.model import Connect, ConnectTls, FailureKind, RetryPolicy, ServicePolicy
from gateway.proxy.client.certificate_files import CertificateFiles
from gateway.telemetry.records import RequestRecord
from tests.support.certificates import Authority
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.upstreams import Exchange, ScriptedUpstream, answer_ok, request

ONCE = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=1))
NAME = "orders.internal"


class SecureUpstream(ScriptedUpstream):
    """An instance that speaks TLS; `asked` are the names that it was asked for, `clients` whose certificates it saw."""

    def __init__(self, pair: CertificateFiles, client_ca: Path | None = None) -> None:
        self.asked: list[str | None] = []
        self.clients: list[Sequence[str]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        context.sni_callback = lambda _, name, __: self.asked.append(name)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(script=self._noting, tls=context)

    async def _noting(self, exchange: Exchange) -> None:
        shown = exchange.writer.get_extra_info("peercert")
        if shown:
            self.clients.append([name for _, name in shown["subjectAltName"]])
        await answer_ok(exchange)
        exchange.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def policy(tls: ConnectTls) -> ServicePolicy:
    return ServicePolicy("", connect=Connect(timeout=2, tls=tls))


async def refused(proxy: RunningProxy) -> RequestRecord:
    """The record of a request that no connection could be made for; the client is not told why."""
    before = len(proxy.records.all)
    response = await proxy.ask(request(method="POST"))
    assert (response.status, b"upstream_unreachable" in response.body) == (502, True)
    record = await proxy.record(before + 1)
    assert record.trace[0].result == FailureKind.CONNECT_FAILURE.value
    assert record.detail is not None
    assert b"ertificate" not in response.body
    return record


async def test_the_name_of_the_policy_is_asked_for_and_verified(authority: Authority) -> None:
    tls = ConnectTls(server_name=NAME, ca_file=str(authority.file))
    async with (
        SecureUpstream(authority.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        assert (await proxy.ask()).status == 200
        assert upstream.asked == [NAME]


async def test_without_one_it_is_the_address(authority: Authority) -> None:
    async with (
        SecureUpstream(authority.pair("address", "127.0.0.1")) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(ConnectTls(ca_file=str(authority.file)))) as proxy,
    ):
        assert (await proxy.ask()).status == 200
        assert upstream.asked == [None], "an address is no name (RFC 6066 §3)"


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        (ConnectTls(), "certificate verify failed: unable to get local issuer certificate"),
        (ConnectTls(server_name=NAME), "certificate verify failed: unable to get local issuer certificate"),
        (ConnectTls(server_name="users.internal", ca_file="ca"), "Hostname mismatch"),
        (ConnectTls(ca_file="ca"), "IP address mismatch"),
    ],
)
async def test_what_is_not_verified_is_not_spoken_to(authority: Authority, tls: ConnectTls, said: str) -> None:
    if tls.ca_file is not None:
        tls = replace(tls, ca_file=str(authority.file))
    async with (
        SecureUpstream(authority.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        record = await refused(proxy)
        assert said in (record.detail or "")
        assert f"127.0.0.1:{upstream.port}" in (record.detail or "")
        assert [circuit.consecutive_failures for circuit in proxy.core.circuits()] == [1]
        assert not upstream.requests


async def test_an_expired_certificate(authority: Authority) -> None:
    expired = authority.pair(NAME, expires=datetime.now(UTC) - timedelta(minutes=1))
    tls = ConnectTls(server_name=NAME, ca_file=str(authority.file))
    async with SecureUpstream(expired) as upstream, running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy:
        assert "certificate has expired" in ((await refused(proxy)).detail or "")


async def test_verification_can_be_switched_off(authority: Authority) -> None:
    tls = ConnectTls(verify=False)
    async with (
        SecureUpstream(authority.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        assert (await proxy.ask()).status == 200


async def test_plain_http_is_not_fallen_back_to() -> None:
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(ConnectTls())) as proxy,
    ):
        await refused(proxy)
        assert not upstream.requests


@pytest.mark.parametrize("broken", ["missing", "junk", "encrypted"])
async def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path, broken: str) -> None:
    pair = authority.pair("gateway")
    tls = ConnectTls(ca_file=str(authority.file), cert_file=str(pair.certificate), key_file=str(pair.key))
    if broken == "missing":
        pair.key.unlink()
    elif broken == "junk":
        pair.key.write_text("junk")
    else:
        authority.encrypt(pair)
    async with (
        SecureUpstream(authority.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        detail = (await refused(proxy)).detail or ""
        assert str(pair.key) in detail
        assert ("encrypted" in detail) is (broken == "encrypted")


async def test_our_own_certificate_where_the_instance_asks_for_one(authority: Authority, tmp_path: Path) -> None:
    mine = authority.pair("gateway.internal")
    trusting = ConnectTls(server_name=NAME, ca_file=str(authority.file))
    showing = replace(trusting, cert_file=str(mine.certificate), key_file=str(mine.key))
    async with SecureUpstream(authority.pair(NAME), client_ca=authority.file) as upstream:
        async with running_proxy(upstream, route=ONCE, policy=policy(showing)) as proxy:
            assert (await proxy.ask()).status == 200
            assert upstream.clients == [["gateway.internal"]]
        async with running_proxy(upstream, route=ONCE, policy=policy(trusting)) as proxy:
            assert (await proxy.ask(request(method="POST"))).status == 502
        assert len(upstream.clients) == 1


async def test_our_certificate_is_rotated(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, next_one = authority.pair("mine", "old.internal"), authority.pair("next", "new.internal")
    tls = ConnectTls(True, NAME, str(authority.file), str(mine.certificate), str(mine.key))
    async with (
        SecureUpstream(authority.pair(NAME), client_ca=authority.file) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        assert (await proxy.ask()).status == 200
        next_one.certificate.replace(mine.certificate)
        for _ in range(3):
            assert (await proxy.ask()).status == 200, "the key is yet to come"
        assert upstream.clients == [["old.internal"]] * 4
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        assert str(mine.key) in warnings[0].__dict__["error"]
        next_one.key.replace(mine.key)
        assert (await proxy.ask()).status == 200
        assert upstream.clients[-1] == ["new.internal"]
        mine.key.unlink()
        assert (await proxy.ask()).status == 200


async def test_the_authority_is_rotated(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    tls = ConnectTls(server_name=NAME, ca_file=str(authority.file))
    async with (
        SecureUpstream(other.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        await refused(proxy)
        other.file.replace(authority.file)
        assert (await proxy.ask()).status == 200


async def test_files_behind_a_link_that_is_swapped(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for name, file in (("1", authority.file), ("2", other.file)):
        (tmp_path / name).mkdir()
        file.replace(tmp_path / name / "ca.pem")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "link.pem").symlink_to(Path("..data") / "ca.pem")
    tls = ConnectTls(server_name=NAME, ca_file=str(tmp_path / "link.pem"))
    async with (
        SecureUpstream(other.pair(NAME)) as upstream,
        running_proxy(upstream, route=ONCE, policy=policy(tls)) as proxy,
    ):
        await refused(proxy)
        (tmp_path / "..new").symlink_to("2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        assert (await proxy.ask()).status == 200
