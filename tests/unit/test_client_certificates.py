"""Client certificates: what is read of one, whose are taken, and what an instance is told of them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.core.authentication import ApiKey, Basic, ClientCertificate, Place, PlaceKind
from gateway.core.limits import RateKey, RateSource
from gateway.core.model import Reason
from gateway.discovery.documents.distinguished_name import NotDistinguished, distinguished_name
from gateway.discovery.predicates import compile_require
from gateway.pipeline.peer_certificate import BadCertificate, PeerCertificate, peer_certificate
from gateway.pipeline.rate_limits import key_of
from gateway.pipeline.stage import Identity
from tests.support.certificates import Authority
from tests.support.tokens import NOW
from tests.unit.authentication_support import World, refused, sent

CERTIFICATE = PeerCertificate(
    subject="CN=orders,O=Acme",
    common_name="orders",
    san_dns=("orders.test", "orders.internal"),
    san_uris=("spiffe://acme.test/orders",),
    san_emails=("orders@acme.test",),
    issuer="CN=ca,O=Acme",
    serial="0A1B",
    fingerprint="ab" * 32,
    not_after=NOW + 60,
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.authenticators.close()


def read(authority: Authority, subject: x509.Name, *uris: str) -> PeerCertificate:
    files = authority.issue("client", subject, uris=uris)
    return peer_certificate(ssl.PEM_cert_to_DER_cert(files.certificate.read_text()))


def name(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])


# --- what is read -----------------------------------------------------------------------------------------------------


def test_all_parts_are_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    subject = name(
        (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Acme, Inc."), (NameOID.COMMON_NAME, "Müller"),
        (NameOID.EMAIL_ADDRESS, "m@acme.test"),
    )  # fmt: skip
    files = authority.issue("client", subject, uris=("spiffe://acme.test/m",), emails=("m@acme.test",))
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    found = peer_certificate(der)
    assert found.subject == "emailAddress=m@acme.test,CN=Müller,O=Acme\\, Inc.,C=DE"
    assert found.common_name == "Müller"
    assert (found.san_uris, found.san_emails, found.san_dns) == (("spiffe://acme.test/m",), ("m@acme.test",), ())
    certificate = x509.load_der_x509_certificate(der)
    assert int(found.serial, 16) == certificate.serial_number
    assert len(found.serial) % 2 == 0
    assert found.not_after == certificate.not_valid_after_utc.timestamp()
    assert peer_certificate(der) is found, "once for each certificate"


def test_subjects_are_spelled_as_in_routes(tmp_path: Path) -> None:
    subject = name(
        (NameOID.ORGANIZATION_NAME, "a+b=c;d<e>"), (NameOID.COMMON_NAME, ' #x \\ "q" \n'), (NameOID.SERIAL_NUMBER, "7"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "nul\x00"),
    )  # fmt: skip
    found = read(Authority(tmp_path), subject)
    assert distinguished_name(found.subject) == found.subject


def test_names_that_are_none() -> None:
    for text in ("orders", "/CN=a/O=b", "CN=", "CN=a,", "cn=a", "CN = a", "CN=a;O=b", "1.2.3=#zz"):
        with pytest.raises(NotDistinguished):
            distinguished_name(text)


def test_without_a_subject_it_goes_by_another_name(tmp_path: Path) -> None:
    found = read(Authority(tmp_path), x509.Name([]), "spiffe://acme.test/orders")
    assert (found.subject, found.common_name, found.owner) == ("", "", "spiffe://acme.test/orders")
    nameless = replace(CERTIFICATE, subject="", san_uris=(), san_dns=(), san_emails=())
    assert nameless.owner == nameless.fingerprint


def test_what_is_no_certificate() -> None:
    for der in (b"", b"\x30\x00", b"x" * 100):
        with pytest.raises(BadCertificate):
            peer_certificate(der)


# --- whose are taken --------------------------------------------------------------------------------------------------


async def test_without_a_list_every_one_of_the_ca_is_taken(world: World) -> None:
    answer, call = await world.ask(world.route(ClientCertificate()), certificate=CERTIFICATE)
    assert answer is None
    assert call.identity == Identity("client_certificate", "CN=orders,O=Acme", "CN=ca,O=Acme")
    assert call.claims == CERTIFICATE.claims


@pytest.mark.parametrize(
    ("policy", "taken"),
    [
        (ClientCertificate(subjects=frozenset({"CN=orders,O=Acme"})), True),
        (ClientCertificate(subjects=frozenset({"O=Acme,CN=orders"})), False),
        (ClientCertificate(subjects=frozenset({"CN=orders"})), False),
        (ClientCertificate(common_names=frozenset({"orders"})), True),
        (ClientCertificate(common_names=frozenset({"order"})), False),
        (ClientCertificate(common_names=frozenset({"orders.test"})), False),
        (ClientCertificate(san_dns=frozenset({"orders.internal"})), True),
        (ClientCertificate(san_dns=frozenset({"orders"})), False),
        (ClientCertificate(san_uris=frozenset({"spiffe://acme.test/orders"})), True),
        (ClientCertificate(san_uris=frozenset({"spiffe://acme.test/"})), False),
        (ClientCertificate(san_emails=frozenset({"orders@acme.test"})), True),
        (ClientCertificate(subjects=frozenset({"CN=other"}), san_dns=frozenset({"orders.test"})), True),
        (ClientCertificate(subjects=frozenset({"CN=other"}), san_dns=frozenset({"other.test"})), False),
    ],
)
async def test_any_name_in_any_list_is_enough(world: World, policy: ClientCertificate, taken: bool) -> None:
    answer, _ = await world.ask(world.route(policy), certificate=CERTIFICATE)
    if taken:
        assert answer is None
    else:
        assert refused(answer) == "the client certificate CN=orders,O=Acme is not in the route's list"


async def test_no_certificate(world: World) -> None:
    answer, _ = await world.ask(world.route(ClientCertificate()))
    assert refused(answer) == "no client certificate"
    assert answer is not None
    assert ("WWW-Authenticate", 'ClientCertificate realm="gateway"') in answer.fields


async def test_a_gateway_that_asks_nobody_says_so_once_for_each_route(caplog: pytest.LogCaptureFixture) -> None:
    world = World(certificates=False)
    route = world.route(ClientCertificate())
    for _ in range(2):
        world.authenticators.follow([route, replace(route, name="open", auth=None)])
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "tls_client_ca" in warning.getMessage()
    assert warning.__dict__["route"] == "orders"
    answer, _ = await world.ask(route)
    assert "tls_client_ca is not set" in refused(answer)
    await world.authenticators.close()


async def test_one_that_expires_while_its_connection_lasts(world: World) -> None:
    route = world.route(ClientCertificate())
    assert (await world.ask(route, certificate=CERTIFICATE))[0] is None
    await world.time.pass_by(61)
    answer, _ = await world.ask(route, certificate=CERTIFICATE)
    assert refused(answer) == "the client certificate CN=orders,O=Acme has expired"


async def test_another_connection_is_another_client(world: World) -> None:
    route = world.route(ClientCertificate(common_names=frozenset({"orders"}), headers=(("x-client", "common_name"),)))
    assert (await world.ask(route, certificate=CERTIFICATE))[0] is None
    other = replace(CERTIFICATE, common_name="users", subject="CN=users")
    assert "CN=users" in refused((await world.ask(route, certificate=other))[0])
    _, call = await world.ask(route, certificate=replace(CERTIFICATE))
    assert sent(call)["x-client"] == "orders"


# --- what the instance is told ----------------------------------------------------------------------------------------

TELLING = ClientCertificate(
    headers=(
        ("X-Subject", "subject"),
        ("X-Dns", "san_dns"),
        ("X-Uri", "san_uri"),
        ("X-Issuer", "issuer"),
        ("X-Serial", "serial"),
        ("X-Fingerprint", "fingerprint"),
    )
)


async def test_headers_carry_it_and_nobody_else_may_send_them(world: World) -> None:
    forged = (("x-subject", "CN=root"), ("X_Subject", "CN=root"), ("X-DNS", "root.test"), ("authorization", "Bearer x"))
    _, call = await world.ask(world.route(TELLING), *forged, certificate=CERTIFICATE)
    assert sent(call) == {
        "x-subject": "CN=orders,O=Acme",
        "x-dns": "orders.test,orders.internal",
        "x-uri": "spiffe://acme.test/orders",
        "x-issuer": "CN=ca,O=Acme",
        "x-serial": "0A1B",
        "x-fingerprint": "ab" * 32,
        "authorization": "Bearer x",  # it is none of ours
    }


async def test_what_is_not_ascii_is_escaped(world: World) -> None:
    odd = replace(CERTIFICATE, subject="CN=Müller\r\nX-Admin: yes\x7f")
    _, call = await world.ask(world.route(TELLING), certificate=odd)
    assert sent(call)["x-subject"] == r"CN=M\C3\BCller\0D\0AX-Admin: yes\7F"
    assert call.identity == Identity("client_certificate", odd.subject, odd.issuer)


async def test_a_list_that_would_be_read_otherwise_is_refused(world: World) -> None:
    odd = replace(CERTIFICATE, san_uris=("https://acme.test/a,spiffe://acme.test/root",))
    assert "comma" in refused((await world.ask(world.route(TELLING), certificate=odd))[0])
    assert (await world.ask(world.route(ClientCertificate()), certificate=odd))[0] is None


async def test_headers_of_several_methods_are_nobodys_to_send(world: World) -> None:
    key = ApiKey(Place(PlaceKind.HEADER, "x-api-key"))
    route = world.route(key, TELLING)
    answer, call = await world.ask(route, ("x-api-key", "wrong"), ("x-subject", "CN=root"), certificate=CERTIFICATE)
    assert answer is None
    assert sent(call)["x-subject"] == "CN=orders,O=Acme"
    assert "x-api-key" not in sent(call)


async def test_all_of_several(world: World) -> None:
    route = world.route(ClientCertificate(), Basic(), every=True)
    answer, _ = await world.ask(route, certificate=CERTIFICATE)
    assert refused(answer) == "no user and password"
    answer, _ = await world.ask(route)
    assert refused(answer) == "no client certificate"


async def test_rates_and_require_know_it(world: World) -> None:
    _, call = await world.ask(world.route(ClientCertificate()), certificate=CERTIFICATE)
    assert key_of(RateKey(RateSource.CREDENTIAL))(call) == "client_certificate:12:CN=ca,O=Acme:CN=orders,O=Acme"
    for source, holds in (
        ('identity.kind == "client_certificate" && identity.owner == "CN=orders,O=Acme"', True),
        ('claims.san_uri.exists(uri, uri.startsWith("spiffe://acme.test/"))', True),
        ('"orders.internal" in claims.san_dns', True),
        ('claims.common_name == "users"', False),
    ):
        assert compile_require(source).holds(call) is holds


async def test_a_refusal_does_not_tell_why(world: World) -> None:
    answer, _ = await world.ask(world.route(ClientCertificate(common_names=frozenset({"x"}))), certificate=CERTIFICATE)
    assert answer is not None
    assert (answer.reason, answer.detail, answer.body) == (Reason.UNAUTHENTICATED, None, b"")
