"""What is sent through the gateways, and what their instance says to it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

HOST = b"Host: gateway.test\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the instance says to one request, once it has read it.

    `close` ends the connection behind it. `switch` says 101 with the right `Sec-WebSocket-Accept` instead, and returns
    each byte that comes then.
    """

    data: bytes = b""
    close: bool = False
    switch: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One connection of one client.

    Each piece of `sent` but the first is sent when a response, an interim one or a byte through a tunnel has come. The
    instance gives `answers` in their order, and the last one to all further attempts; without any it says the target
    that it saw.
    """

    name: str
    sent: tuple[bytes, ...]
    answers: tuple[Answer, ...] = ()
    methods: tuple[str, ...] = ()
    """Of the requests whose responses are awaited; by default one for each piece, which are taken from there."""
    trusted: bool = False
    """Whether the client is one of the `trusted_hops`."""

    @property
    def awaited(self) -> tuple[str, ...]:
        return self.methods or tuple(piece.split(b" ")[0].decode("latin-1") for piece in self.sent)

    @property
    def digest(self) -> str:
        """Of all that is said; a recording of something else is of no use."""
        said = repr((self.sent, self.answers, self.methods, self.trusted))
        return hashlib.sha256(said.encode()).hexdigest()[:8]


def asking(target: str, *lines: str, method: str = "GET", version: str = "1.1", body: bytes | None = None) -> bytes:
    """A request to gateway.test, with a `Content-Length` if it has a body, even an empty one."""
    fields = ["Host: gateway.test", *lines]
    if body is not None:
        fields.append(f"Content-Length: {len(body)}")
    head = [f"{method} {target} HTTP/{version}", *fields, "", ""]
    return "\r\n".join(head).encode("latin-1") + (body or b"")


def one(
    name: str, sent: bytes, *answers: bytes, close: bool = False, method: str | None = None, trusted: bool = False
) -> Case:
    """One request; `close` is said of all answers."""
    methods = () if method is None else (method,)
    return Case(name, (sent,), tuple(Answer(data, close) for data in answers), methods, trusted)
