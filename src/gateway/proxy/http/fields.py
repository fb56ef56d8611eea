"""Header fields as lists of pairs, and the syntax that every one we send has to have (RFC 9110 §5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from multidict import CIMultiDict

Field = tuple[str, str]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class FieldMap:
    """Fields by name, without regard to case; a table is made when one is looked for, which most routes never do."""

    __slots__ = ("_fields", "_made")

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = fields
        self._made: CIMultiDict[str] | None = None

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        return self._table().getall(name, default)

    def keys(self) -> Iterable[str]:
        return self._table().keys()

    def _table(self) -> CIMultiDict[str]:
        made = self._made
        if made is None:
            made = self._made = CIMultiDict(self._fields)
        return made


def is_token(name: str) -> bool:
    """Whether this may be a field's name (RFC 9110 §5.6.2)."""
    if name.isascii() and name.replace("-", "").isalnum():
        return True
    return _TOKEN.fullmatch(name) is not None


def is_safe_value(value: str) -> bool:
    """Whether a value is free of control characters; bytes that are not UTF-8 stand as surrogates and may pass."""
    return value.isprintable() or _CONTROL.search(value) is None


def elements(values: Iterable[str]) -> list[str]:
    """The elements of a field that is a list (RFC 9110 §5.6.1), empty ones left out."""
    return [element for value in values for part in value.split(",") if (element := part.strip(" \t"))]


def lines(fields: Iterable[Field]) -> bytes:
    """Fields as they are sent; bytes that were kept as surrogates come out as they came in."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("utf-8", "surrogateescape")
