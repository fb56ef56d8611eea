"""Files of TLS that cannot be used: the message names the file, and says what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gateway.proxy.client.certificate_files import CertificateFiles, TlsError, TlsOptions
from gateway.proxy.client.server_certificates import ServerCertificates
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def why(options: TlsOptions) -> str:
    with pytest.raises(TlsError) as caught:
        ServerCertificates(options)
    return str(caught.value)


def test_files_that_are_missing_or_hold_something_else(authority: Authority, tmp_path: Path) -> None:
    good, junk, missing = authority.pair("a.test"), tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")

    def of(certificate: Path, key: Path) -> str:
        return why(TlsOptions((CertificateFiles(certificate, key),)))

    assert of(missing, good.key) == f"{missing}: cannot be read: No such file or directory"
    assert of(good.certificate, missing) == f"{missing}: cannot be read: No such file or directory"
    assert of(tmp_path, good.key) == f"{tmp_path}: cannot be read: Is a directory"
    assert of(junk, good.key) == f"{junk}: holds no certificate in PEM that can be read"
    assert of(empty, good.key) == f"{empty}: holds no certificate in PEM that can be read"
    assert of(good.key, good.key) == f"{good.key}: holds no certificate in PEM that can be read"
    assert of(good.certificate, good.certificate) == f"{good.certificate}: holds no private key in PEM that can be read"
    assert of(good.certificate, junk) == f"{junk}: holds no private key in PEM that can be read"
    other = authority.pair("b.test")
    assert of(good.certificate, other.key) == f"{other.key}: is not the key of the certificate {good.certificate}"


def test_a_key_with_a_password_is_not_asked_for_it(authority: Authority) -> None:
    good = authority.pair("a.test")
    authority.encrypt(good)
    assert why(TlsOptions((good,))) == f"{good.key}: the key is encrypted; the gateway takes keys without a password"


def test_authorities_and_revocation_lists(authority: Authority, tmp_path: Path) -> None:
    good, junk = authority.pair("a.test"), tmp_path / "junk.pem"
    junk.write_text("junk")
    said = why(TlsOptions((good,), client_ca=junk))
    assert said == f"{junk}: holds no CA certificate in PEM that can be read"
    assert why(TlsOptions((good,), client_ca=tmp_path / "no")).startswith(f"{tmp_path / 'no'}: cannot be read")
    said = why(TlsOptions((good,), client_ca=authority.file, client_crl=junk))
    assert said == f"{junk}: holds no certificate revocation list in PEM that can be read"
    said = why(TlsOptions((good,), client_ca=authority.file, client_crl=authority.file))
    assert said == f"{authority.file}: holds no certificate revocation list"


def test_only_the_first_may_be_without_a_name(authority: Authority) -> None:
    nameless = authority.issue("nameless", x509.Name([]), uris=("spiffe://acme.test/a",))
    ServerCertificates(TlsOptions((nameless, authority.pair("a.test"))))
    said = why(TlsOptions((authority.pair("a.test"), nameless)))
    assert said.startswith(f"{nameless.certificate}: has no DNS name (subjectAltName)")


def test_certificate_and_key_may_be_in_one_file(authority: Authority, tmp_path: Path) -> None:
    pair, both = authority.pair("a.test"), tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.certificate.read_bytes())
    (found,) = ServerCertificates(TlsOptions((CertificateFiles(both, both),))).standings()
    assert (found.file, found.names, found.error) == (str(both), ("a.test",), None)


def test_the_end_of_a_certificate_is_told(authority: Authority) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    (found,) = ServerCertificates(TlsOptions((authority.pair("a.test", expires=ends),))).standings()
    assert found.not_after == ends.timestamp()


def test_the_first_with_a_name_has_it(authority: Authority) -> None:
    first = authority.pair("first", "a.test", "*.b.test")
    certificates = ServerCertificates(TlsOptions((first, authority.pair("second", "a.test", "x.b.test"))))
    one, two = certificates.in_force
    assert certificates.named("a.test") is one
    assert certificates.named("A.Test.") is one
    assert certificates.named("x.b.test") is two, "an exact name goes before a wildcard"
    assert certificates.named("y.b.test") is one
    assert certificates.named("*.b.test") is one
