"""Templates compiled for the place where their text will stand.

Literal text was checked when the route was read. A value is a client's, an issuer's or a service's, and may be any
text; where it cannot stand in the place, it counts as no value, so that nothing but the variable's default is affected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from urllib.parse import quote

from gateway.core.model import Instance
from gateway.core.template import Part, Source, Text, Variable
from gateway.pipeline.stage import Call
from gateway.pipeline.variables import reader

Render = Callable[[Call, Instance | None], str]
Encode = Callable[[str], str | None]
"""A value as it may stand in some place, None where it may not."""

_FIELD = re.compile(r"[\t\x20-\x7e]*").fullmatch
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
"""Control characters, line ends of Unicode, and what is no character at all."""


def field_value(text: Text) -> Render:
    """For the value of a header: printable ASCII, without space at either end (RFC 9110 §5.5)."""
    render = _joined([_part(part, _printable) for part in _parts(text)])
    return lambda call, instance: render(call, instance).strip(" \t")


def path(text: Text) -> Render:
    parts = _parts(text)
    return _joined([path_part(part, following) for part, following in zip_longest(parts, parts[1:])])


def path_part(part: Part, following: Part | None) -> Render:
    """Each value is one element of the path or a part of one, but for the request's path, whose slash at the end gives
    way to one that follows: else `${request.path}/x` would have no normal form for `/`."""
    if not isinstance(part, Variable) or part.source is not Source.PATH:
        return _part(part, _percent_encoded)
    whole = _part(part, _as_is)
    if not isinstance(following, str) or not following.startswith("/"):
        return whole
    return lambda call, instance: whole(call, instance).removesuffix("/")


def query_value(text: Text) -> Render:
    """For the value of a query parameter, encoded as a whole."""
    return _joined(
        [_part(quote(part, safe="") if isinstance(part, str) else part, _percent_encoded) for part in _parts(text)]
    )


def host(text: Text) -> Render:
    """What comes of it need not be a host."""
    return _joined([_part(part, _as_is) for part in _parts(text)])


def _parts(text: Text) -> Sequence[Part]:
    return (text,) if isinstance(text, str) else text.parts


def _joined(parts: Sequence[Render]) -> Render:
    if len(parts) == 1:
        return parts[0]
    return lambda call, instance: "".join([part(call, instance) for part in parts])


def _part(part: Part, encode: Encode) -> Render:
    if isinstance(part, str):
        return lambda _call, _instance: part
    assert isinstance(part, Variable)
    read, default = reader(part), encode(part.default) or ""

    def value(call: Call, instance: Instance | None) -> str:
        found = read(call, instance)
        return (encode(found) if found else None) or default

    return value


def _as_is(value: str) -> str:
    return value


def _printable(value: str) -> str | None:
    return value if _FIELD(value) else None


def _percent_encoded(value: str) -> str | None:
    """Everything but unreserved characters (RFC 3986 §2.3) as escapes of UTF-8."""
    return None if _UNFIT(value) else quote(value, safe="")
