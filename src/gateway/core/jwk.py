"""One JSON Web Key (RFC 7517) by its shape: of which kind it is, how strong, and which algorithms it may verify.

That an algorithm goes with a kind of key, and with no other, is what makes it useless to sign with HS256 and somebody's
public RSA key (RFC 8725 §3.1).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

MAX_KEYS = 100
"""Of one set."""
LEAST_RSA_BITS = 2048
"""RFC 7518 §3.3."""
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Mapping[tuple[object, object], frozenset[str]] = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA", "Ed25519"}),
    ("OKP", "Ed448"): frozenset({"EdDSA", "Ed448"}),
}
_LEAST_SECRETS = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Bytes: as many as the hash has (RFC 7518 §3.2)."""
ALGORITHMS = _RSA.union(*_CURVES.values(), _LEAST_SECRETS)
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class BadKey(ValueError):
    """Why a key is not used; names no part of it."""


@dataclass(frozen=True, slots=True)
class KeyShape:
    """`algorithms` are those that the key may verify."""

    kid: str | None
    is_secret: bool
    algorithms: frozenset[str]


def shape_of(key: Mapping[str, object]) -> KeyShape:
    """Raises BadKey for a key that is weak, private, not for signatures, or of a kind that is not known."""
    kid, only = key.get("kid"), key.get("alg")
    if kid is not None and not isinstance(kid, str):
        raise BadKey("its kid is not text")
    if key.get("use", "sig") != "sig":
        raise BadKey("it is not for signatures (use)")
    operations = key.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise BadKey("it is not for verifying (key_ops)")
    if not _PRIVATE.isdisjoint(key):
        raise BadKey("it is a private key, which has no place here")
    algorithms = _algorithms_of(key)
    if only is not None:
        algorithms = frozenset(name for name in algorithms if name == only)
    if not algorithms:
        raise BadKey("its alg does not go with its kind and strength")
    return KeyShape(kid, key.get("kty") == "oct", algorithms)


def secret_algorithms(secret: bytes) -> frozenset[str]:
    """Those that a shared secret is long enough for. Raises BadKey if it is too short for all."""
    found = frozenset(name for name, least in _LEAST_SECRETS.items() if len(secret) >= least)
    if not found:
        raise BadKey(f"a secret needs at least {min(_LEAST_SECRETS.values())} bytes")
    return found


def from_base64url(text: object) -> bytes:
    """Decodes the one canonical form (RFC 7515 §2: no padding, no stray bits). Raises ValueError."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("not base64url")
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not base64url") from None
    if base64.urlsafe_b64encode(value).rstrip(b"=") != text.encode():
        raise ValueError("not canonical base64url")
    return value


def _algorithms_of(key: Mapping[str, object]) -> frozenset[str]:
    kind, curve = key.get("kty"), key.get("crv")
    if kind == "RSA":
        bits = int.from_bytes(_member(key, "n")).bit_length()
        if bits < LEAST_RSA_BITS:
            raise BadKey(f"an RSA key of {bits} bits is too short, {LEAST_RSA_BITS} are needed")
        return _RSA
    if kind == "oct":
        return secret_algorithms(_member(key, "k"))
    if kind not in ("EC", "OKP"):
        raise BadKey("its kind (kty) is not one of RSA, EC, OKP and oct")
    if not isinstance(curve, str) or (kind, curve) not in _CURVES:
        raise BadKey("its curve (crv) is not one of P-256, P-384, P-521, Ed25519 and Ed448")
    return _CURVES[kind, curve]


def _member(key: Mapping[str, object], name: str) -> bytes:
    try:
        return from_base64url(key.get(name))
    except ValueError:
        raise BadKey(f"its {name} is not base64url") from None
