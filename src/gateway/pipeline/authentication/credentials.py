"""The credentials that are given out, as they stand in KV now."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from gateway.core.authentication import Credential, Headers, KeyHash
from gateway.core.model import Reason
from gateway.pipeline.authentication.claims import Unfit, fields_of, missing
from gateway.pipeline.authentication.proof import Denial, Finding, Proof
from gateway.pipeline.stage import Identity


class CredentialTable:
    """Keys are found by their hash, users by their name. Who is not in it, does not get in."""

    def __init__(self) -> None:
        self._keys: dict[bytes, Credential] = {}
        self._users: dict[str, Credential] = {}

    def replace(self, credentials: Iterable[Credential]) -> None:
        """What is no longer there is revoked from the next request on."""
        keys: dict[bytes, Credential] = {}
        users: dict[str, Credential] = {}
        for credential in credentials:
            if isinstance(credential.secret, KeyHash):
                keys.setdefault(credential.secret.sha256, credential)
            else:
                users[credential.id] = credential
        self._keys, self._users = keys, users

    def of_key(self, key: str) -> Credential | None:
        """By the key's hash: what the time of the look-up tells is about the hash of a guess, not about any key."""
        return self._keys.get(sha256(key.encode("utf-8", "surrogateescape")).digest())

    def of_user(self, name: str) -> Credential | None:
        return self._users.get(name)


def proven(
    kind: str, credential: Credential, scopes: frozenset[str], headers: Headers, challenge: str, now: float
) -> Finding:
    """What a credential is worth whose secret was presented. Its claims are in the words of a token's (RFC 8693)."""
    named = f"the {kind} credential {credential.id}"
    if credential.expires is not None and now >= credential.expires:
        return Denial(f"{named} has expired", challenge)
    lacking = missing(scopes, credential.scopes)
    if lacking:
        return Denial(f"{named} lacks {', '.join(lacking)}", challenge, Reason.FORBIDDEN)
    owner = credential.owner or credential.id
    claims = {"sub": credential.id, "owner": owner, "scope": " ".join(sorted(credential.scopes))}
    try:
        return Proof(Identity(kind, owner), claims, fields_of(claims, headers))
    except Unfit as unfit:
        return Denial(f"{named}: {unfit}", challenge)
