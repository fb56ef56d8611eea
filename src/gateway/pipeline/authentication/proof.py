"""What a method of authentication finds in a request."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.authentication import Place
from gateway.core.model import Reason
from gateway.pipeline.stage import Call, Claims, Field, Identity


@dataclass(frozen=True, slots=True)
class Proof:
    """`fields` are the headers that tell the instance of it."""

    identity: Identity
    claims: Claims
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Denial:
    """`note` is for the log alone: whoever tries credentials learns nothing from an answer. `challenge` is the
    `WWW-Authenticate` (RFC 9110 §11.6.1). `presented`: there was a credential of the method's kind. `fields` go to the
    client besides."""

    note: str
    challenge: str | None
    reason: Reason = Reason.UNAUTHENTICATED
    presented: bool = True
    retry_after: float | None = None
    fields: tuple[Field, ...] = ()


Finding = Proof | Denial


class Method(Protocol):
    """One way of authentication, as one route asks for it."""

    @property
    def place(self) -> Place | None:
        """Where in a request its credential stands; None where that is not in the request."""

    @property
    def forward(self) -> bool: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...

    def check(self, call: Call, /) -> Finding | Awaitable[Finding]:
        """At once wherever it can be. Changes nothing in the call."""
