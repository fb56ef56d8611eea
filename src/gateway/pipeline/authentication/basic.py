"""Basic (RFC 7617): a user's name and password with every request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

from gateway.core.authentication import Basic, Credential
from gateway.core.model import Reason
from gateway.pipeline.authentication.credentials import CredentialTable, proven
from gateway.pipeline.authentication.passwords import Busy, Passwords
from gateway.pipeline.authentication.places import Ambiguous, of_scheme, present
from gateway.pipeline.authentication.proof import Denial, Finding
from gateway.pipeline.stage import Call

_CHALLENGE = 'Basic realm="gateway", charset="UTF-8"'
_MAX_SIZE = 1024
_WRONG = Denial("the user's name or password is wrong", _CHALLENGE)


class BasicMethod:
    def __init__(
        self, policy: Basic, credentials: CredentialTable, passwords: Passwords, wall: Callable[[], float]
    ) -> None:
        self.place = policy.place
        self.forward = policy.forward
        self.headers = policy.headers
        self._scopes = policy.scopes
        self._credentials = credentials
        self._passwords = passwords
        self._wall = wall

    def check(self, call: Call) -> Finding | Awaitable[Finding]:
        try:
            value = of_scheme(present(call.facts, self.place), "basic")
        except Ambiguous:
            return Denial("several Authorization headers", _CHALLENGE)
        if value is None:
            return Denial("no user and password", _CHALLENGE, presented=False)
        told = _user_and_password(value)
        if told is None:
            return Denial("user and password cannot be read", _CHALLENGE)
        user, password = told
        credential = self._credentials.of_user(user)
        if credential is not None and self._passwords.remembers(credential, password):
            return self._proven(credential)
        return self._verified(credential, password)

    async def _verified(self, credential: Credential | None, password: bytes) -> Finding:
        try:
            good = await self._passwords.verify(credential, password)
        except Busy:
            return Denial("too many passwords to verify", _CHALLENGE, Reason.QUEUE_FULL, retry_after=1.0)
        return self._proven(credential) if good and credential is not None else _WRONG

    def _proven(self, credential: Credential) -> Finding:
        return proven("basic", credential, self._scopes, self.headers, _CHALLENGE, self._wall())


def _user_and_password(value: str) -> tuple[str, bytes] | None:
    if len(value) > _MAX_SIZE:
        return None
    try:
        user, colon, password = base64.b64decode(value, validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None
