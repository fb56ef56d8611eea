"""An answer of the gateway itself, whole: a refusal, or what a stage answers instead of an instance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from gateway.proxy.http.fields import Field, lines

_WITHOUT_CONTENT = frozenset({204, 304})
"""They end with their head, and 204 may not state a length (RFC 9110 §8.6)."""


def own_answer(status: int, fields: Sequence[Field], body: bytes, *, bodiless: bool, connection: str | None) -> bytes:
    """`bodiless` for HEAD; `connection` is the value of `Connection`, if there is one."""
    without = status in _WITHOUT_CONTENT
    framing = "" if without else f"Content-Length: {len(body)}\r\n"
    if connection is not None:
        framing += f"Connection: {connection}\r\n"
    start = f"HTTP/1.1 {status} {phrase(status)}\r\n{framing}".encode()
    return b"".join((start, lines(fields), b"\r\n", b"" if bodiless or without else body))


@lru_cache(maxsize=1024)
def phrase(status: int) -> str:
    """The usual reason phrase; empty for a status that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
