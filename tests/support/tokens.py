"""An issuer of tokens, which also makes those that nobody should take."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from pydantic import JsonValue

NOW = 1_800_000_000
"""The wall clock in tests: Unix time."""
CLAIMS: Mapping[str, JsonValue] = {"iss": "https://issuer.test", "aud": "orders", "sub": "alice", "exp": NOW + 600}


@cache
def key_of(kind: str, number: int = 1) -> Key:
    """`RSA`, `P-256`, `P-384`, `P-521`, `Ed25519`, `Ed448`, or `oct`; the same one for each number."""
    if kind == "RSA":
        return RSAKey.generate_key(2048)
    if kind == "oct":
        return OctKey.import_key(bytes([number]) * 64)
    if kind in ("Ed25519", "Ed448"):
        return OKPKey.generate_key("Ed25519" if kind == "Ed25519" else "Ed448")
    return ECKey.generate_key(kind)


def public(key: Key, **members: object) -> dict[str, object]:
    return {**key.as_dict(private=isinstance(key, OctKey)), **members}


def key_set(*keys: Mapping[str, object]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, algorithm: str, key: Key) -> str:
    """Whatever the header says, it is signed by that algorithm."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def token(
    algorithm: str,
    key: Key,
    claims: Mapping[str, object] = CLAIMS,
    kid: object = "k1",
    members: Mapping[str, object] | None = None,
) -> str:
    """`kid` None is none."""
    head = {"alg": algorithm, "typ": "JWT", **(members or {})} | ({} if kid is None else {"kid": kid})
    return signed(json.dumps(head).encode(), json.dumps(claims).encode(), algorithm, key)
