"""Credentials as they arrive: JSON Web Tokens and key sets are read, or refused for a reason."""

from __future__ import annotations

import json
from contextlib import suppress

from gateway.core.jwk import ALGORITHMS
from gateway.pipeline.authentication.claims import check_claims, fields_of
from gateway.pipeline.authentication.compact import BadToken, parse
from gateway.pipeline.authentication.keys import BadKeySet, ring_of_set
from gateway.pipeline.authentication.places import of_scheme
from tests.support.tokens import NOW, encoded
from tests.unit.test_authentication_fuzz import GOOD_KEYS, POLICY

_HEADER, _CLAIMS = {"alg": "RS256", "kid": "k1"}, {"iss": "me", "aud": "orders", "exp": NOW + 60, "sub": "alice"}
SEEDS = [
    ".".join((*(encoded(json.dumps(part).encode()) for part in (_HEADER, _CLAIMS)), "c2ln")).encode(),
    b"e30.e30.e30",
    b"Bearer e30.e30.",
    json.dumps(_CLAIMS).encode(),
    json.dumps({"keys": GOOD_KEYS}).encode(),
]
FOUND: list[bytes] = []


def fuzz(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    of_scheme(text, "bearer")
    with suppress(BadToken):
        token = parse(text)
        assert token.algorithm in ALGORITHMS
        token.claims()
    with suppress(BadToken):
        # The claims of a token whose signature was found good.
        claims = parse(f"{encoded(json.dumps(_HEADER).encode())}.{encoded(data)}.").claims()
        fields = fields_of(claims, (("x-user", "sub"), ("x-aud", "aud")))
        assert all(value.isascii() and (value.isprintable() or not value) for _, value in fields)
        assert check_claims(claims, POLICY, NOW) > NOW
    with suppress(BadKeySet):
        ring_of_set(data)
