"""A token as it arrives (RFC 7515 §3.1, compact): taken apart strictly, before any key is looked for.

Everything here is done on text that anyone may have written. What has two readings is refused, since whoever reads the
token behind us may take the other one: base64url that is not canonical, members that are given twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from gateway.core.jwk import ALGORITHMS, from_base64url

_MAX_KID = 256
_MAX_LEVELS = 32
"""Of lists and mappings in each other: whatever goes through claims later may call itself for each of them."""
_MAX_BITS = 64
"""Of an integer."""


class BadToken(Exception):
    """Why a token is refused, for the log."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A token of which nothing is verified yet."""

    algorithm: str
    kid: str | None
    signed: bytes
    payload: bytes
    signature: bytes

    def claims(self) -> dict[str, JsonValue]:
        """To be read once the signature is verified. Raises BadToken."""
        return _mapping(self.payload, "claims")


def parse(token: str) -> Compact:
    """Raises BadToken."""
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("encrypted, which is not taken" if len(parts) == 5 else "not three parts with dots between")
    try:
        head, payload, signature = (from_base64url(part) for part in parts)
    except ValueError as error:
        raise BadToken(str(error)) from None
    header = _mapping(head, "header")
    # What a token says of where its key is, `jku`, `x5u`, `jwk` and `x5c`, is not looked at.
    if "crit" in header:
        raise BadToken("has critical extensions (crit), of which none is known")
    if "b64" in header:
        raise BadToken("has an unencoded payload (b64)")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadToken("signed by no algorithm that is known (alg)")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID):
        raise BadToken(f"its kid is not text of up to {_MAX_KID} characters")
    return Compact(algorithm, kid, f"{parts[0]}.{parts[1]}".encode(), payload, signature)


def _mapping(raw: bytes, what: str) -> dict[str, JsonValue]:
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_twins, parse_int=_integer, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise BadToken(f"its {what} is not JSON, each member once, integers of {_MAX_BITS} bits at most") from None
    if not _within(_MAX_LEVELS, value):
        raise BadToken(f"its {what} is nested deeper than {_MAX_LEVELS} levels")
    if not isinstance(value, dict):
        raise BadToken(f"its {what} is not a mapping")
    return value


def _no_twins(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a member is given twice")
    return made


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    number = int(text)
    if number.bit_length() > _MAX_BITS:
        raise ValueError("an integer is too large")
    return number


def _within(levels: int, value: JsonValue) -> bool:
    if not isinstance(value, dict | list):
        return True
    entries = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_within(levels - 1, each) for each in entries)
