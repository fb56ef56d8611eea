"""Whatever anyone writes into a token, a claim or a key, it is refused for a reason, and nothing else happens."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.authentication import Jwt, KeySetUrl, Place, PlaceKind
from gateway.core.jwk import ALGORITHMS, BadKey, from_base64url, shape_of
from gateway.core.model import Backend, Route
from gateway.pipeline.authentication.claims import check_claims, fields_of, scopes_of
from gateway.pipeline.authentication.compact import BadToken, parse
from gateway.pipeline.authentication.keys import BadKeySet, ring_of_public_set, ring_of_secret, ring_of_set
from gateway.pipeline.authentication.places import Removal, of_scheme
from tests.support.tokens import NOW, encoded, key_of, public
from tests.unit.authentication_support import call_of

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
WORDS = st.sampled_from(
    ["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "verify", "RS256", "HS256", "ES256", "k1"]
)
MEMBERS = ["kty", "crv", "alg", "use", "key_ops", "kid", "n", "e", "x", "y", "k", "d"]
KEYS = st.dictionaries(st.sampled_from(MEMBERS), JSON | WORDS | st.lists(WORDS, max_size=2))
GOOD_KEYS = [public(key_of(kind)) for kind in ("RSA", "P-256", "Ed25519", "oct")]
CLAIM_NAMES = ["iss", "aud", "exp", "nbf", "iat", "sub", "scope", "scp"]
CLAIMS = st.dictionaries(st.sampled_from(CLAIM_NAMES), JSON | st.sampled_from([NOW + 60, "orders", ["orders"], "me"]))
POLICY = Jwt(KeySetUrl(""), issuers=frozenset({"me"}), audiences=frozenset({"orders"}), required_claims=("sub",))
PARTS = st.binary(max_size=40).map(encoded) | JSON.map(lambda value: encoded(json.dumps(value).encode())) | st.text()

ROUTE = Route("orders", 1, (Backend("orders"),))
NOTHING_LEFT = Removal([Place(), Place(PlaceKind.COOKIE, "t"), Place(PlaceKind.QUERY, "t")], ["X-Token"])


@given(st.text() | st.lists(PARTS, min_size=2, max_size=6).map(".".join))
def test_tokens(text: str) -> None:
    with contextlib.suppress(BadToken):
        assert parse(text).algorithm in ALGORITHMS


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ"]), JSON | WORDS), st.binary(max_size=40))
def test_headers_of_tokens(header: object, payload: bytes) -> None:
    with contextlib.suppress(BadToken):
        parse(f"{encoded(json.dumps(header).encode())}.{encoded(payload)}.").claims()


@given(st.binary(max_size=12))
def test_base64url_has_one_form(raw: bytes) -> None:
    assert from_base64url(encoded(raw)) == raw


@given(KEYS | st.builds(dict.__or__, st.sampled_from(GOOD_KEYS), KEYS))
def test_keys(key: dict[str, object]) -> None:
    with contextlib.suppress(BadKey):
        assert shape_of(key).algorithms <= ALGORITHMS
    for read in (ring_of_set, ring_of_public_set):
        with contextlib.suppress(BadKeySet):
            assert len(read(json.dumps({"keys": [key]}).encode())) == 1


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_key_sets(raw: bytes) -> None:
    for read in (ring_of_set, ring_of_secret):
        with contextlib.suppress(BadKeySet):
            read(raw)


@given(CLAIMS)
def test_claims(claims: dict[str, object]) -> None:
    read = json.loads(json.dumps(claims))
    scopes_of(read)
    with contextlib.suppress(BadToken):
        fields = fields_of(read, (("x-user", "sub"), ("x-aud", "aud")))
        assert all(value.isascii() and (value.isprintable() or not value) for _, value in fields)
    with contextlib.suppress(BadToken):
        assert check_claims(read, POLICY, NOW) > NOW
        assert read["iss"] == "me"


@given(st.text(), st.lists(st.tuples(st.sampled_from(["Cookie", "Authorization", "x_token"]), st.text())))
def test_requests(query: str, fields: list[tuple[str, str]]) -> None:
    call = call_of(ROUTE, *fields, query=query)
    NOTHING_LEFT.apply(call)
    assert all(name == "Cookie" for name, _ in call.fields)
    for _, value in fields:
        of_scheme(value, "bearer")
