"""The keys that tokens are verified with, by what they may verify."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey
from joserfc.jws import JWSRegistry

from gateway.core.jwk import MAX_KEYS, BadKey, secret_algorithms, shape_of
from gateway.pipeline.authentication.compact import Compact

_MAX_TRIED = 8
"""Keys that a token without `kid` is tried with."""


class BadKeySet(Exception):
    """Why nothing of a key set is used, for the log."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Its type lets it verify these algorithms and no other, whatever a token says."""

    kid: str | None
    algorithms: frozenset[str]
    key: Key

    def verifies(self, token: Compact) -> bool:
        assert token.algorithm in self.algorithms
        try:
            return JWSRegistry.algorithms[token.algorithm].verify(token.signed, token.signature, self.key)
        except (JoseError, ValueError):
            return False


class KeyRing:
    """All keys of a source at one time. `left_out` tells, for the log, which of its keys are not used and why."""

    def __init__(self, keys: Sequence[VerifyingKey], left_out: Sequence[str] = ()) -> None:
        self._keys = tuple(keys)
        self.left_out = tuple(left_out)

    def __len__(self) -> int:
        return len(self._keys)

    def fitting(self, token: Compact) -> Sequence[VerifyingKey]:
        """Those that may have signed it: `kid` chooses among our own keys, and does nothing else. A key without one
        fits any."""
        algorithm, kid = token.algorithm, token.kid
        found = [key for key in self._keys if algorithm in key.algorithms and (kid is None or key.kid in (None, kid))]
        return found[:_MAX_TRIED]

    def knows(self, token: Compact) -> bool:
        return any(key.kid == token.kid for key in self._keys)


EMPTY = KeyRing(())


def ring_of_public_set(raw: bytes) -> KeyRing:
    """The usable keys of a key set (RFC 7517 §5) that anyone may read, so that no secret in it is one."""
    return ring_of_set(raw, secrets=False)


def ring_of_set(raw: bytes, *, secrets: bool = True) -> KeyRing:
    """The usable keys of a key set. Raises BadKeySet if it is none, or has no usable key."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadKeySet("it is not JSON") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise BadKeySet("it has no list of keys")
    if len(listed) > MAX_KEYS:
        raise BadKeySet(f"it has more than {MAX_KEYS} keys")
    good: list[VerifyingKey] = []
    left_out: list[str] = []
    for number, each in enumerate(listed):
        try:
            good.append(_key(each, secrets=secrets))
        except BadKey as bad:
            left_out.append(f"key {number}: {bad}")
    if not good:
        raise BadKeySet("; ".join(["it has no usable key", *left_out[:3]]))
    return KeyRing(good, left_out)


def ring_of_secret(raw: bytes) -> KeyRing:
    """The one key of a file that holds a shared secret; a line break at its end is not part of it.

    Raises BadKeySet.
    """
    secret = raw.rstrip(b"\r\n")
    try:
        return KeyRing((VerifyingKey(None, secret_algorithms(secret), OctKey.import_key(secret)),))
    except ValueError as error:  # of the library, for a public key that is taken for a secret
        raise BadKeySet(str(error)) from None


def _key(value: object, *, secrets: bool) -> VerifyingKey:
    if not isinstance(value, dict):
        raise BadKey("it is not a mapping")
    shape = shape_of(value)
    if shape.is_secret and not secrets:
        raise BadKey("it is a shared secret (oct) in a public place")
    try:
        key = JWKRegistry.import_key(value)
    except Exception:  # noqa: BLE001 - whatever a library makes of a hostile key, the other keys are good
        raise BadKey("it cannot be read") from None
    return VerifyingKey(shape.kid, shape.algorithms, key)
