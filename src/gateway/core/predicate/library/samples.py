"""A steady draw for canaries: not part of CEL."""

from __future__ import annotations

from hashlib import blake2b

from gateway.core.predicate.overloads import Functions, Overload
from gateway.core.predicate.types import DOUBLE, STRING

_BITS = 53
"""What a double holds exactly."""


def _sample(text: str) -> float:
    """From 0 up to, not including, 1; evenly spread, and the same for the same text on every gateway and forever."""
    # Bytes from the wire that are not Unicode are kept as surrogates, and stay what they were.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


FUNCTIONS: Functions = {"sample": (Overload((STRING,), DOUBLE, _sample),)}
