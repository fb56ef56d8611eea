"""Some of the corpus of bad requests: of each class what is refused, what passes, and what is between."""

from __future__ import annotations

from collections.abc import Iterable

from tests.corpus import chunks, framing, hops, sizes, syntax, targets
from tests.differential.case import Case

_CORPUS = {
    kind: {case.name: case for case in cases}
    for module in (framing, chunks, syntax, targets, hops, sizes)
    for kind, cases in module.CASES.items()
}
_CHOSEN = {
    "length": (
        "leading zeros", "what follows a body of zero is the next request (CL.0)", "two that differ",
        "two that agree", "a list", "empty", "plus", "minus", "hexadecimal", "underscore", "over 2^64",
        "NUL behind", "Arabic digit", "folded", "space before the colon", "bare CR before it", "bare LF before it",
    ),
    "coding": (
        "what follows the last chunk is the next request (TE.0)", "gzip before chunked", "identity",
        "chunked twice", "xchunked", "comma behind", "vertical tab in front", "tab behind", "folded",
        "space before the colon", "in HTTP/1.0",
    ),
    "both": ("length first", "coding first", "coding in disguise", "length that Connection names"),
    "chunk": (
        "quoted extension", "size empty", "size 0x5", "size -5", "size over 2^64", "space behind the size",
        "size ends with LF", "data ends with something else", "data too long", "LF in an extension",
        "final CRLF missing",
    ),
    "trailer": ("what follows trailers is the next request", "no colon", "folded", "NUL", "very many"),
    "line": (
        "empty line in front", "two spaces behind the method", "tab behind the target", "space in front",
        "no version", "NUL in the target", "bare CR in the target", "ended by LF", "head ended by LF",
    ),
    "method": ("PURGE", "too long", "byte of 0x80 and more", "of RTSP", "CONNECT with a body", "TRACE with a body"),
    "version": ("0.9", "1.2", "1.10", "lower case", "RTSP 1.0", "hello of TLS"),
    "field": (
        "every character of a token", "no colon", "space in the name", "NUL in the name", "bare LF in a value",
        "escape in a value", "twin of Transfer-Encoding", "two Content-Type",
    ),
    "form": ("http://gateway.test//admin", "http:///", "gateway.test:80", "ftp://gateway.test/", "a/b"),
    "host": ("two", "the same twice", "a b", "me@a", "a:65536", "[::1", "a%2eb"),
    "expect": ("in two fields", "with a parameter"),
    "max-forwards": ("none left, spelt long", "no number"),
    "size": ("target", "number", "all together"),
}  # fmt: skip


def _hostile() -> Iterable[Case]:
    for kind, names in _CHOSEN.items():
        for name in names:
            case = _CORPUS[kind][name]
            methods = [case.sent.split(b" ")[0].decode("latin-1")] + ["GET"] * (len(case.answers) - 1)
            yield Case(f"corpus of requests: {kind}: {name}", (case.sent,), methods=tuple(methods))


HOSTILE = [*_hostile()]
