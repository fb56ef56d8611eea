"""What a row of the corpus says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A request that an instance has to see: `start` is its method and target."""

    start: str
    body: bytes = b""
    without: tuple[str, ...] = ()
    """Names of fields, in lower case, that it must not have."""


@dataclass(frozen=True, slots=True)
class Case:
    """Bytes that a client sends, and what it gets: the statuses in their order.

    A refusal, the last of them, ends the connection; nothing of what is refused is a complete request to anybody.
    """

    name: str
    rule: str
    """Where it is written."""
    sent: bytes
    answers: tuple[int, ...]
    forwarded: tuple[Forwarded, ...] = ()
    closes: bool = True
    """Whether the last answer, if it is a refusal, has to end the connection."""


def refused(name: str, rule: str, sent: bytes, status: int = 400) -> Case:
    return Case(name, rule, sent, (status,))


def passed(
    name: str, rule: str, sent: bytes, start: str = "POST /", body: bytes = b"", without: tuple[str, ...] = ()
) -> Case:
    return Case(name, rule, sent, (200,), (Forwarded(start, body, without),))


HOST = b"Host: gateway.test\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
