"""API keys: long random texts, of which KV holds the hash."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.authentication import ApiKey
from gateway.pipeline.authentication.credentials import CredentialTable, proven
from gateway.pipeline.authentication.places import Ambiguous, present
from gateway.pipeline.authentication.proof import Denial, Finding
from gateway.pipeline.stage import Call

_CHALLENGE = 'ApiKey realm="gateway"'


class ApiKeyMethod:
    def __init__(self, policy: ApiKey, credentials: CredentialTable, wall: Callable[[], float]) -> None:
        self.place = policy.place
        self.forward = policy.forward
        self.headers = policy.headers
        self._scopes = policy.scopes
        self._credentials = credentials
        self._wall = wall

    def check(self, call: Call) -> Finding:
        try:
            key = present(call.facts, self.place)
        except Ambiguous:
            return Denial("several API keys", _CHALLENGE)
        if not key:
            return Denial("no API key", _CHALLENGE, presented=False)
        credential = self._credentials.of_key(key)
        if credential is None:
            return Denial("the API key is not known", _CHALLENGE)
        return proven("api_key", credential, self._scopes, self.headers, _CHALLENGE, self._wall())
