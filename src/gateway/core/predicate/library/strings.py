"""Functions of texts: CEL's own, and those of its strings extension that routing has a use for.

Positions and sizes are in characters (code points). `matches` is a search for an RE2 pattern, as in CEL, not a match of
the whole text.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable

from gateway.core.predicate.bounds import INSTRUCTIONS_PER_STEP, MAX_TEXT
from gateway.core.predicate.overloads import Functions, Implementation, Overload, Tools, written_out
from gateway.core.predicate.types import BOOL, INT, STRING, list_of
from gateway.core.predicate.values import PredicateError

_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Unicode's property White_Space; Python's `strip` takes more."""
_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_TO_LOWER, _TO_UPPER = str.maketrans(_UPPER, _LOWER), str.maketrans(_LOWER, _UPPER)


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise PredicateError(f"a text would have more than {MAX_TEXT} characters")
    return text


def _joined(left: str, right: str) -> str:
    return _bounded(left + right)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_TO_LOWER)


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_TO_UPPER)


def _trim(text: str) -> str:
    return text.strip(_WHITE_SPACE)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    """At most `limit` parts, the last of which is the rest; any number if it is negative."""
    if limit == 0:
        return []
    cuts = -1 if limit < 0 else limit - 1
    if separator:
        return text.split(separator, cuts)
    if cuts < 0 or cuts >= len(text):
        return list(text) or [""]
    return [*text[:cuts], text[cuts:]]


def _join(parts: Iterable[object], separator: str = "") -> str:
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) != len(list(parts)):
        raise PredicateError("join takes a list of strings")
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_TEXT + len(separator):
        raise PredicateError(f"a text would have more than {MAX_TEXT} characters")
    return separator.join(texts)


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= len(text) or not 0 <= end <= len(text) or end < start:
        raise PredicateError("a substring is out of range")
    return text[start:end]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if not 0 <= start <= len(text):
        raise PredicateError("an index is out of range")
    return text.find(part, start)


def _search(tools: Tools, pattern: str) -> tuple[Implementation, int]:
    found, size = tools.compile_search(pattern)
    return found, 1 + size // INSTRUCTIONS_PER_STEP


FUNCTIONS: Functions = {
    "_+_": (Overload((STRING, STRING), STRING, _joined, dear=1),),
    "size": (Overload((STRING,), INT, len), Overload((STRING,), INT, len, member=True)),
    "startsWith": (Overload((STRING, STRING), BOOL, str.startswith, member=True),),
    "endsWith": (Overload((STRING, STRING), BOOL, str.endswith, member=True),),
    "contains": (Overload((STRING, STRING), BOOL, operator.contains, member=True),),
    "matches": (
        Overload((STRING, STRING), BOOL, written_out, member=True, prepare=_search),
        Overload((STRING, STRING), BOOL, written_out, prepare=_search),
    ),
    "lowerAscii": (Overload((STRING,), STRING, _lower, member=True, dear=1),),
    "upperAscii": (Overload((STRING,), STRING, _upper, member=True, dear=1),),
    "trim": (Overload((STRING,), STRING, _trim, member=True),),
    "split": (
        Overload((STRING, STRING), list_of(STRING), _split, member=True, dear=1),
        Overload((STRING, STRING, INT), list_of(STRING), _split, member=True, dear=1),
    ),
    "join": (
        Overload((list_of(STRING),), STRING, _join, member=True, dear=1),
        Overload((list_of(STRING), STRING), STRING, _join, member=True, dear=1),
    ),
    "substring": (
        Overload((STRING, INT), STRING, _substring, member=True),
        Overload((STRING, INT, INT), STRING, _substring, member=True),
    ),
    "indexOf": (
        Overload((STRING, STRING), INT, _index_of, member=True),
        Overload((STRING, STRING, INT), INT, _index_of, member=True),
    ),
}
