"""What verified claims have to say (RFC 7519 §4.1), and the headers that carry them upstream."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence

from pydantic import JsonValue

from gateway.core.authentication import Headers, Jwt
from gateway.pipeline.authentication.compact import BadToken
from gateway.pipeline.stage import Claims, Field

_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?").fullmatch


class Unfit(BadToken):
    """A claim that no header can carry."""


def check_claims(claims: Claims, policy: Jwt, now: float) -> float:
    """Until when the claims hold, the leeway included, in Unix time. Raises BadToken."""
    expires = _time(claims, "exp")
    if expires is None:
        raise BadToken("does not say when it expires (exp)")
    if now >= expires + policy.leeway:
        raise BadToken("expired (exp)")
    begins = _time(claims, "nbf")
    if begins is not None and now < begins - policy.leeway:
        raise BadToken("not valid yet (nbf)")
    _time(claims, "iat")
    issuer = claims.get("iss")
    if policy.issuers and not (isinstance(issuer, str) and issuer in policy.issuers):
        raise BadToken("of another issuer (iss)")
    if not _is_for(claims.get("aud"), policy.audiences):
        raise BadToken("for another audience (aud)")
    for name in policy.required_claims:
        if claims.get(name) is None:
            raise BadToken("lacks a required claim")
    return expires + policy.leeway


def scopes_of(claims: Claims) -> Collection[str]:
    """From `scope` (RFC 8693 §4.2), or from `scp`, as some issuers write it; a text with spaces, or a list."""
    found = claims.get("scope", claims.get("scp"))
    if isinstance(found, str):
        return found.split(" ")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def missing(wanted: frozenset[str], found: Collection[str]) -> Sequence[str]:
    return sorted(wanted.difference(found))


def fields_of(claims: Claims, headers: Headers) -> tuple[Field, ...]:
    """The headers of those claims that there are. Raises Unfit for one that would be read otherwise upstream."""
    return tuple((header, _field_value(claims[name])) for header, name in headers if claims.get(name) is not None)


def _time(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadToken(f"its {name} is not a time")
    return value


def _is_for(claimed: JsonValue, accepted: frozenset[str]) -> bool:
    """A token that names audiences is for nobody else, those who name none included (RFC 7519 §4.1.3)."""
    if claimed is None:
        return not accepted
    named = claimed if isinstance(claimed, list) else [claimed]
    return any(isinstance(each, str) and each in accepted for each in named)


def _field_value(value: JsonValue) -> str:
    if isinstance(value, list):
        parts = [_scalar(each) for each in value]
        if any("," in part for part in parts):
            raise Unfit("a claim for a header is a list with a comma in an entry")
        text = ",".join(parts)
    else:
        text = _scalar(value)
    if text and not _FIELD_VALUE(text):
        raise Unfit("a claim for a header is not printable ASCII, or too long")
    return text


def _scalar(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise Unfit("a claim for a header is neither text nor a number, nor a list of them")
