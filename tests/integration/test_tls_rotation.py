"""Files of certificates that change while they are in use, and such as cannot be used."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.core.model import Outcome
from gateway.proxy.client import server_certificates
from gateway.proxy.client.certificate_files import CertificateFiles, ServerCertificate, TlsOptions, read_certificate
from gateway.proxy.client.server_certificates import ServerCertificates
from tests.support.certificates import Authority
from tests.support.proxies import RunningProxy, running_proxy
from tests.support.upstreams import LiteralClient, ScriptedUpstream, request

NAME = "shop.test"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def certificates(authority: Authority) -> ServerCertificates:
    return ServerCertificates(TlsOptions((authority.pair(NAME),)))


async def secure(proxy: RunningProxy, context: ssl.SSLContext, name: str = NAME) -> LiteralClient:
    return await LiteralClient.connect(proxy.tls_port, tls=context, name=name)


async def shown_by(proxy: RunningProxy, authority: Authority, name: str = NAME) -> bytes:
    """The certificate that a new connection is shown, whoever has issued it."""
    context = authority.trusting()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with await secure(proxy, context, name) as client:
        shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown


async def test_a_new_certificate_counts_for_new_connections(
    authority: Authority, certificates: ServerCertificates
) -> None:
    async with (
        ScriptedUpstream() as upstream,
        running_proxy(upstream, certificates=certificates) as proxy,
        await secure(proxy, authority.trusting()) as old,
    ):
        before = await shown_by(proxy, authority)
        await certificates.look()
        assert await shown_by(proxy, authority) == before
        authority.pair(NAME)
        await certificates.look()
        assert await shown_by(proxy, authority) != before
        assert (await old.ask(request())).status == 200


async def test_certificate_and_key_may_be_replaced_one_after_the_other(
    authority: Authority, certificates: ServerCertificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = Authority(tmp_path, "new").pair("new", NAME)
    async with running_proxy(certificates=certificates) as proxy:
        before = await shown_by(proxy, authority)
        (tmp_path / f"{NAME}.pem").write_bytes(new.certificate.read_bytes())
        for _ in range(3):
            await certificates.look()
        assert await shown_by(proxy, authority) == before
        (standing,) = certificates.standings()
        assert standing.error is not None
        assert f"{NAME}.key: is not the key of the certificate" in standing.error
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1, "once for one problem"
        (tmp_path / f"{NAME}.key").write_bytes(new.key.read_bytes())
        await certificates.look()
        assert await shown_by(proxy, authority) == ssl.PEM_cert_to_DER_cert(
            new.certificate.read_text().split("\n\n")[0]
        )
        assert certificates.standings()[0].error is None


async def test_files_behind_a_link_that_is_swapped(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted secret: the names stay links into `..data`, which becomes another directory."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        Authority(tmp_path / version).pair("tls", NAME)
    (tmp_path / "..data").symlink_to("1")
    for file in ("tls.pem", "tls.key"):
        (tmp_path / file).symlink_to(Path("..data") / file)
    certificates = ServerCertificates(TlsOptions((CertificateFiles(tmp_path / "tls.pem", tmp_path / "tls.key"),)))
    before = certificates.in_force
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await certificates.look()
    assert certificates.in_force != before
    assert certificates.standings()[0].error is None


async def test_one_bad_file_harms_no_other(authority: Authority, tmp_path: Path) -> None:
    certificates = ServerCertificates(TlsOptions((authority.pair("a.test"), authority.pair("b.test"))))
    first, second = certificates.in_force
    (tmp_path / "a.test.pem").unlink()
    authority.pair("b.test")
    await certificates.look()
    assert certificates.in_force[0] is first
    assert certificates.in_force[1] is not second
    errors = [standing.error for standing in certificates.standings()]
    assert errors == [f"{tmp_path / 'a.test.pem'}: cannot be read: No such file or directory", None]
    authority.pair("a.test")
    await certificates.look()
    assert [standing.error for standing in certificates.standings()] == [None, None]


async def test_replacing_under_load_fails_no_request(authority: Authority, certificates: ServerCertificates) -> None:
    async with ScriptedUpstream() as upstream, running_proxy(upstream, certificates=certificates) as proxy:
        going, done = True, 0

        async def load(keep: bool) -> None:
            nonlocal done
            context = authority.trusting()
            client = await secure(proxy, context)
            while going:
                if not keep:
                    client.writer.transport.abort()
                    client = await secure(proxy, context)
                assert (await client.ask(request(host=NAME))).status == 200
                done += 1
            client.writer.transport.abort()

        loads = [asyncio.ensure_future(load(number % 2 == 0)) for number in range(6)]
        seen = set()
        for _ in range(10):
            authority.pair(NAME)
            await certificates.look()
            seen.add(await shown_by(proxy, authority))
            await asyncio.sleep(0.05)
        going = False
        await asyncio.gather(*loads)
        assert len(seen) == 10
        assert done > 50
        assert proxy.outcome(Outcome.RESPONDED) == done


async def test_an_error_of_ours_does_not_end_the_looking(
    authority: Authority,
    certificates: ServerCertificates,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [RuntimeError("a bug")]

    def failing(*given: Any) -> ServerCertificate:  # noqa: ANN401 - passed on
        if failures:
            raise failures.pop()
        return read_certificate(*given)

    monkeypatch.setattr(server_certificates, "read_certificate", failing)
    monkeypatch.setattr(server_certificates, "LOOK_AGAIN", 0.01)
    before = certificates.in_force
    following = asyncio.create_task(certificates.follow())
    try:
        authority.pair(NAME)
        async with asyncio.timeout(10):
            while certificates.in_force is before:
                await asyncio.sleep(0.01)
    finally:
        following.cancel()
    assert "a bug" in caplog.text
