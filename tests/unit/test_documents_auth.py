"""`auth` of a route, and credentials, as operators write them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from pydantic import JsonValue

from gateway.core.authentication import (
    ApiKey,
    Authentication,
    Basic,
    Credential,
    Jwt,
    KeySetFile,
    KeySetText,
    KeySetUrl,
    Place,
    PlaceKind,
    SecretFile,
)
from gateway.core.model import Route
from gateway.discovery.documents import (
    BUILT_IN,
    Defaults,
    Rejection,
    describe,
    hashed_key,
    hashed_password,
    parse_credential,
    parse_defaults,
    parse_route,
)
from gateway.journal.values import bare
from tests.support.tokens import key_of, public

URL = "https://issuer.test/jwks"
KEY = public(key_of("P-256"), kid="k1")


def route(auth: object, defaults: Defaults = BUILT_IN) -> Route | Rejection:
    document = {"backends": [{"service": "orders"}]} | ({} if auth is None else {"auth": auth})
    return parse_route("orders", json.dumps(document).encode(), 7, defaults)


def accepted(auth: object, defaults: Defaults = BUILT_IN) -> Authentication | None:
    found = route(auth, defaults)
    assert isinstance(found, Route), found
    return found.auth


def rejected(auth: object) -> tuple[str, str]:
    found = route(auth)
    assert isinstance(found, Rejection)
    return found.field, found.reason


GOOD: list[object] = [
    {"jwt": {"jwks_url": URL}},
    {"jwt": {"jwks_url": "http://127.0.0.1:8000/", "allow_http": True, "refresh": "1h", "min_refresh": "1s"}},
    {"jwt": {"jwks_file": "/etc/jwks.json", "algorithms": ["HS256", "RS256"], "cookie": "session"}},
    {"jwt": {"secret_file": "/etc/secret", "algorithms": ["HS512"], "query": "t", "max_size": "1KiB", "leeway": "0s"}},
    {"jwt": {"jwks": {"keys": [KEY]}, "issuer": ["b", "a"], "audiences": "orders", "header": "x-token"}},
    {"jwt": {"jwks_url": URL, "required_claims": ["sub"], "scopes": ["b", "a"], "headers": {"X-User": "sub"}}},
    {"api_key": {"header": "X-Api-Key", "scopes": ["read"], "headers": {"x-owner": "owner"}, "forward": True}},
    {"api_key": {"query": "key"}},
    {"basic": {}},
    {"basic": {"headers": {"x-user": "sub"}}},
    {"any": [{"jwt": {"jwks_url": URL}}, {"basic": {}}]},
    {"external": {"service": "authz"}},
    {
        "external": {
            "service": "authz",
            "path": "/check",
            "request_headers": ["Cookie"],
            "headers": {"X-User": "X-Auth-User"},
            "refusal_headers": ["Location"],
            "owner": "X-Auth-User",
            "timeout": "250ms",
            "forward": True,
        }
    },
    {"all": [{"api_key": {"query": "key"}}]},
    {"client_certificate": {}},
    {
        "client_certificate": {
            "subject": ["CN=orders,O=Acme\\, Inc.,C=DE", "emailAddress=a@b.test,CN=Müller"],
            "common_name": "orders",
            "san_dns": "Orders.Test",
            "san_uri": ["spiffe://acme.test/orders"],
            "san_email": "a@b.test",
            "headers": {"X-Client": "subject", "X-Client-San": "san_uri"},
        }
    },
    {"any": [{"client_certificate": {"common_name": "a"}}, {"basic": {}}]},
    {"none": True},
]


@pytest.mark.parametrize("auth", GOOD)
def test_what_is_in_force_is_described_and_reads_back(auth: object) -> None:
    found = route(auth)
    assert isinstance(found, Route)
    elsewhere = parse_defaults(b'{"route": {"auth": {"basic": {}}}}', 1)
    assert isinstance(elsewhere, Defaults)
    assert parse_route("orders", json.dumps(describe(found)).encode(), 7, elsewhere) == found


def test_the_fullest_token() -> None:
    auth = {
        "jwt": {
            "jwks_url": URL, "refresh": "10m", "min_refresh": "5s", "stale": "1h", "algorithms": ["RS256"],
            "issuer": "https://issuer.test", "audiences": ["a", "b"], "required_claims": ["sub"], "scopes": ["read"],
            "leeway": "5s", "max_size": "4KiB", "header": "X-Token", "headers": {"X-User": "sub"}, "forward": True,
        }
    }  # fmt: skip
    assert accepted(auth) == Authentication(
        (
            Jwt(
                keys=KeySetUrl(URL, 600, 5, 3600),
                place=Place(PlaceKind.HEADER, "x-token"),
                algorithms=frozenset({"RS256"}),
                issuers=frozenset({"https://issuer.test"}),
                audiences=frozenset({"a", "b"}),
                required_claims=("sub",),
                scopes=frozenset({"read"}),
                leeway=5,
                max_size=4096,
                headers=(("X-User", "sub"),),
                forward=True,
            ),
        )
    )


def test_sources_of_keys() -> None:
    def keys(**jwt: object) -> object:
        found = accepted({"jwt": jwt})
        assert found is not None
        (method,) = found.methods
        assert isinstance(method, Jwt)
        return method.keys

    assert keys(jwks_url=URL) == KeySetUrl(URL)
    assert keys(jwks_file="/a") == KeySetFile("/a")
    assert keys(secret_file="/a") == SecretFile("/a")
    assert keys(jwks={"keys": [KEY]}) == KeySetText(json.dumps({"keys": [KEY]}, sort_keys=True))


def test_several() -> None:
    several: tuple[object, ...] = ({"basic": {}}, {"api_key": {"header": "x"}})
    methods = (Basic(), ApiKey(Place(PlaceKind.HEADER, "x")))
    assert accepted({"any": several}) == Authentication(methods)
    assert accepted({"all": several}) == Authentication(methods, every=True)


def test_defaults() -> None:
    defaults = parse_defaults(b'{"route": {"auth": {"basic": {}}}}', 1)
    assert isinstance(defaults, Defaults)
    assert accepted(None, defaults) == Authentication((Basic(),))
    assert accepted({"none": True}, defaults) is None
    assert accepted({"api_key": {"query": "k"}}, defaults) == Authentication((ApiKey(Place(PlaceKind.QUERY, "k")),))
    assert accepted(None) is None


def test_defaults_ask_no_gateway_about_its_own_requests() -> None:
    asked = b'{"route": {"auth": {"external": {"service": "gateway"}}}}'
    found = parse_defaults(asked, 1, own_service="gateway")
    assert isinstance(found, Rejection)
    assert found.field == "route.auth.external.service"
    assert found.reason == "is the gateway's own service: its requests would go in a circle"
    assert isinstance(parse_defaults(asked, 1, own_service="edge"), Defaults)


def jwt(**fields: object) -> object:
    return {"jwt": {"jwks_url": URL} | fields}


ONE_METHOD = "api_key, basic, client_certificate, external, jwt"
SHORT = {"kty": "RSA", "n": "s" * 172, "e": "AQAB"}


@pytest.mark.parametrize(
    ("auth", "field", "reason"),
    [
        ({}, "auth", f"needs exactly one of all, any, {ONE_METHOD}, none"),
        (
            {"basic": {}, "none": True},
            "auth",
            f"needs exactly one of all, any, {ONE_METHOD}, none",
        ),
        ({"none": False}, "auth.none", "can only be true"),
        ({"any": []}, "auth.any", "needs at least one entry"),
        (
            {"any": [{"any": []}]},
            "auth.any[0].any",
            f"unknown field; known are {ONE_METHOD}",
        ),
        ({"any": [{}]}, "auth.any[0]", f"needs exactly one of {ONE_METHOD}"),
        ({"jwt": {}}, "auth.jwt", "needs exactly one of jwks, jwks_file, jwks_url, secret_file"),
        (jwt(secret_file="/a"), "auth.jwt", "needs exactly one of jwks, jwks_file, jwks_url, secret_file"),
        ({"jwt": {"secret": "s"}}, "auth.jwt.secret", "unknown field; did you mean"),
        ({"jwt": {"jwks_file": "/a", "stale": "1h"}}, "auth.jwt", "only jwks_url goes with stale"),
        ({"jwt": {"jwks_file": "a"}}, "auth.jwt.jwks_file", "has to be an absolute path"),
        (jwt(jwks_url="http://issuer.test/"), "auth.jwt", "jwks_url has to be https, or allow_http has to be true"),
        (jwt(jwks_url="file:///etc/passwd"), "auth.jwt.jwks_url", "has to be an https URL with a host"),
        (jwt(jwks_url="https://"), "auth.jwt.jwks_url", "has to be an https URL with a host"),
        (jwt(jwks_url="https://a:b@issuer.test/"), "auth.jwt.jwks_url", "must not hold a user or a password"),
        (jwt(jwks_url="https://issuer.test/#a"), "auth.jwt.jwks_url", "must not have a fragment"),
        (jwt(jwks_url="https://issuer.test/a b"), "auth.jwt.jwks_url", "is not a URL"),
        (jwt(jwks_url="https://[::1/"), "auth.jwt.jwks_url", "is not a URL"),
        (jwt(jwks_url="https://issuer.test:99999/"), "auth.jwt.jwks_url", "is not a URL"),
        (jwt(algorithms=["none"]), "auth.jwt.algorithms[0]", "has to be one of ES256, "),
        (jwt(algorithms=["ES256K"]), "auth.jwt.algorithms[0]", "has to be one of ES256, "),
        (jwt(algorithms=["HS256"]), "auth.jwt", "HS algorithms need a secret"),
        ({"jwt": {"secret_file": "/a", "algorithms": ["RS256"]}}, "auth.jwt", "only HS algorithms go with secret_file"),
        (jwt(header="x", query="y"), "auth.jwt", "takes only one of cookie, header, query"),
        (jwt(header="Host"), "auth.jwt.header", "is a header that the gateway itself manages"),
        (jwt(headers={"x-gateway-user": "sub"}), "auth.jwt.headers.x-gateway-user", "is a header that the gateway"),
        (jwt(headers={"x-user": "sub", "X-User": "aud"}), "auth.jwt.headers", "X-User is given twice"),
        (jwt(min_refresh="10m"), "auth.jwt", "min_refresh must not be above refresh"),
        (jwt(scopes=["a b"]), "auth.jwt.scopes[0]", "is not a scope"),
        (jwt(scopes=['a"']), "auth.jwt.scopes[0]", "is not a scope"),
        ({"jwt": {"jwks": {}}}, "auth.jwt.jwks", "is not a key set"),
        ({"jwt": {"jwks": {"keys": []}}}, "auth.jwt.jwks", "is not a key set"),
        ({"jwt": {"jwks": {"keys": [1]}}}, "auth.jwt.jwks", "key 0 is not a mapping"),
        ({"jwt": {"jwks": {"keys": [KEY, SHORT]}}}, "auth.jwt.jwks", "key 1 is not taken: an RSA key of 1032 bits"),
        ({"jwt": {"jwks": {"keys": [KEY | {"d": "AA"}]}}}, "auth.jwt.jwks", "key 0 is not taken: it is a private key"),
        (
            {"jwt": {"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}},
            "auth.jwt.jwks",
            "key 0 is not taken: a secret needs",
        ),
        (
            {"jwt": {"jwks": {"keys": [{"kty": "oct", "k": "A" * 43}]}}},
            "auth.jwt.jwks",
            "key 0 is a shared secret (oct)",
        ),
        ({"client_certificate": {"subject": []}}, "auth.client_certificate.subject", "needs at least one entry"),
        (
            {"client_certificate": {"subject": "/CN=orders/O=Acme"}},
            "auth.client_certificate.subject",
            "is not a distinguished name as in RFC 4514, such as CN=orders,O=Acme",
        ),
        ({"client_certificate": {"subject": ["CN=a", ""]}}, "auth.client_certificate.subject[1]", "must not be empty"),
        ({"client_certificate": {"common_name": "a\nb"}}, "auth.client_certificate.common_name", "must not hold"),
        ({"client_certificate": {"sans": ["a"]}}, "auth.client_certificate.sans", "unknown field; "),
        (
            {"client_certificate": {"headers": {"x": "sub"}}},
            "auth.client_certificate.headers.x",
            "has to be one of subject, common_name, san_dns",
        ),
        ({"api_key": {}}, "auth.api_key", "needs exactly one of header, query"),
        ({"api_key": {"header": "x", "query": "y"}}, "auth.api_key", "needs exactly one of header, query"),
        (
            {"api_key": {"header": "x", "headers": {"y": "aud"}}},
            "auth.api_key.headers.y",
            "has to be one of sub, owner",
        ),
        (
            {"all": [{"basic": {"headers": {"x": "sub"}}}, {"api_key": {"query": "k", "headers": {"X": "sub"}}}]},
            "auth",
            "two of all write the same header",
        ),
    ],
)
def test_what_is_refused(auth: JsonValue, field: str, reason: str) -> None:
    found = rejected(auth)
    assert found[0] == field
    assert found[1].startswith(reason)


def test_no_problem_repeats_a_key() -> None:
    secret = "c2VjcmV0" * 6
    for document in ({"kty": "oct", "k": secret}, KEY | {"d": secret}, {"kty": "RSA", "n": secret}):
        assert secret not in str(route({"jwt": {"jwks": {"keys": [document]}}}))


def test_a_journal_holds_nothing_of_it() -> None:
    found = route({"jwt": {"jwks": {"keys": [KEY]}}})
    assert isinstance(found, Route)
    line = json.dumps(bare(found), default=str)
    assert "auth" not in line


# --- credentials ---

SHA256 = hashed_key("gwk_example")
SCRYPT = hashed_password("wonderland")


def credential(document: Mapping[str, object], name: str = "acme") -> Credential | Rejection:
    return parse_credential(name, json.dumps(document).encode(), 3)


def test_credentials_that_are_accepted() -> None:
    found = credential({"kind": "api_key", "sha256": SHA256, "owner": "Acme", "expires": "2027-01-31T01:00:00+01:00"})
    assert isinstance(found, Credential)
    assert found.expires == 1801353600
    assert SHA256 not in repr(found)
    assert isinstance(credential({"kind": "basic", "scrypt": SCRYPT}), Credential)


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        ({}, "kind", "is required"),
        ({"kind": "token"}, "kind", "has to be one of api_key or basic"),
        ({"kind": "api_key"}, "", "api_key needs sha256, and no scrypt"),
        ({"kind": "api_key", "sha256": SHA256, "scrypt": SCRYPT}, "", "api_key needs sha256, and no scrypt"),
        ({"kind": "basic", "sha256": SHA256}, "", "basic needs scrypt, and no sha256"),
        ({"kind": "api_key", "sha256": SHA256.upper()}, "sha256", "has to be the SHA-256 of a key"),
        ({"kind": "api_key", "sha256": "hunter2"}, "sha256", "has to be the SHA-256 of a key"),
        ({"kind": "basic", "scrypt": "hunter2"}, "scrypt", "has to be $scrypt$"),
        ({"kind": "basic", "scrypt": SCRYPT.replace("ln=15", "ln=25")}, "scrypt", "has to be of a cost of"),
        ({"kind": "basic", "scrypt": SCRYPT.replace("p=3", "p=99")}, "scrypt", "has to be of a cost of"),
        ({"kind": "basic", "scrypt": SCRYPT.replace("ln=15", "ln=1")}, "scrypt", "has to be of a cost of"),
        ({"kind": "api_key", "sha256": SHA256, "owner": "a\r\nb"}, "owner", "has to be printable ASCII"),
        ({"kind": "api_key", "sha256": SHA256, "scopes": ["a b"]}, "scopes[0]", "is not a scope"),
        ({"kind": "api_key", "sha256": SHA256, "expires": "soon"}, "expires", "has to be a time"),
        ({"kind": "api_key", "sha256": SHA256, "expires": "2027-01-31T00:00:00"}, "expires", "needs a time zone"),
        (
            {"kind": "api_key", "sha256": SHA256, "expire": "2027-01-31"},
            "expire",
            "unknown field; did you mean expires?",
        ),
    ],
)
def test_credentials_that_are_rejected(document: dict[str, object], field: str, reason: str) -> None:
    found = credential(document)
    assert isinstance(found, Rejection)
    assert (found.key, found.field) == ("credentials/acme", field)
    assert found.reason.startswith(reason)
    assert "hunter2" not in str(found)


def test_the_name_of_a_user_has_no_colon() -> None:
    found = credential({"kind": "basic", "scrypt": SCRYPT}, "a:b")
    assert isinstance(found, Rejection)
    assert "colon" in found.reason
    assert isinstance(credential({"kind": "api_key", "sha256": SHA256}, "a:b"), Credential)
