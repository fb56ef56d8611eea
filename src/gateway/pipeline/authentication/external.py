"""External authorisation: another service says whether a request may go on, and as whose.

It is asked before anything else of the request but its head goes anywhere. Whatever is no clear answer denies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from gateway.core.authentication import External
from gateway.core.model import Reason
from gateway.pipeline.authentication.proof import Denial, Finding, Proof
from gateway.pipeline.stage import Call, Field, Identity

_CHALLENGE = 'External realm="gateway"'
_DENIALS = {401: Reason.UNAUTHENTICATED, 403: Reason.FORBIDDEN}


class AskFailed(Exception):
    """The service did not answer; says why, for the log."""


class Said(Protocol):
    """What a service answered."""

    @property
    def status(self) -> int: ...
    @property
    def fields(self) -> Sequence[Field]: ...


class Ask(Protocol):
    def __call__(self, policy: External, call: Call, /) -> Awaitable[Said]:
        """What the service says of a request. Raises AskFailed."""


class ExternalMethod:
    def __init__(self, policy: External, ask: Ask) -> None:
        self.place = policy.place
        self.forward = policy.forward
        self.headers = policy.headers
        self._policy = policy
        self._ask = ask

    async def check(self, call: Call) -> Finding:
        try:
            said = await self._ask(self._policy, call)
        except AskFailed as failed:
            return Denial(f"{self._policy.service}: {failed}", None, Reason.AUTHORISATION_UNAVAILABLE)
        if 200 <= said.status < 300:
            return self._proof(said.fields)
        reason = _DENIALS.get(said.status, Reason.AUTHORISATION_UNAVAILABLE)
        told = [field for field in said.fields if field[0].lower() in self._policy.refusal_headers]
        challenges = [value for name, value in said.fields if name.lower() == "www-authenticate"]
        challenge = ", ".join(challenges) or _CHALLENGE
        return Denial(
            f"{self._policy.service} answered {said.status}",
            challenge if reason is Reason.UNAUTHENTICATED else None,
            reason,
            fields=tuple(told),
        )

    def _proof(self, fields: Sequence[Field]) -> Proof:
        claims: dict[str, str] = {}
        for name, value in fields:
            lower = name.lower()
            claims[lower] = f"{claims[lower]}, {value}" if lower in claims else value
        passed = tuple((header, claims[claim]) for header, claim in self.headers if claim in claims)
        wanted = {claim for _, claim in self.headers} | {self._policy.owner or ""}
        known = {name: value for name, value in claims.items() if name in wanted}
        return Proof(Identity("external", claims.get(self._policy.owner or "", "")), known, passed)
