"""Tokens (RFC 7519, signed as RFC 7515 says), verified as RFC 8725 advises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Protocol

from gateway.core.authentication import Jwt, PlaceKind
from gateway.core.model import Reason
from gateway.pipeline.authentication.claims import check_claims, fields_of, missing, scopes_of
from gateway.pipeline.authentication.compact import BadToken, Compact, parse
from gateway.pipeline.authentication.keys import KeyRing
from gateway.pipeline.authentication.places import Ambiguous, of_scheme, present
from gateway.pipeline.authentication.proof import Denial, Finding, Proof
from gateway.pipeline.authentication.verified import Verified
from gateway.pipeline.stage import Call, Claims, Identity

_CHALLENGE = 'Bearer realm="gateway"'


class Keys(Protocol):
    @property
    def ring(self) -> KeyRing: ...

    def lookup(self, token: Compact, /) -> Awaitable[None] | None: ...


class _Forbidden(Exception):
    """Valid, and lacks these scopes."""


class JwtMethod:
    def __init__(self, policy: Jwt, keys: Keys, verified: Verified[Proof], wall: Callable[[], float]) -> None:
        self.place = policy.place
        self.forward = policy.forward
        self.headers = policy.headers
        self._policy = policy
        self._keys = keys
        self._verified = verified
        self._wall = wall
        self._policy_hash = blake2b(repr(policy).encode(), digest_size=32).digest()

    def check(self, call: Call) -> Finding | Awaitable[Finding]:
        policy = self._policy
        try:
            token = present(call.facts, policy.place)
        except Ambiguous:
            return _invalid("several tokens")
        if policy.place.kind is PlaceKind.AUTHORIZATION:
            token = of_scheme(token, "bearer")
        if not token:
            return Denial("no token", _CHALLENGE, presented=False)
        if len(token) > policy.max_size:
            return _invalid(f"longer than {policy.max_size} bytes")
        key = blake2b(token.encode("utf-8", "surrogateescape"), key=self._policy_hash, digest_size=32).digest()
        proof = self._verified.get(key, self._keys.ring, self._wall())
        if proof is not None:
            return proof
        try:
            compact = parse(token)
            if policy.algorithms and compact.algorithm not in policy.algorithms:
                raise BadToken("signed by an algorithm that the route does not take (alg)")
        except BadToken as bad:
            return _invalid(str(bad))
        ring = self._keys.ring
        coming = None if ring.fitting(compact) else self._keys.lookup(compact)
        if coming is None:
            return self._verdict(compact, ring, key)
        return self._after(coming, compact, key)

    async def _after(self, coming: Awaitable[None], compact: Compact, key: bytes) -> Finding:
        await coming
        return self._verdict(compact, self._keys.ring, key)

    def _verdict(self, compact: Compact, ring: KeyRing, key: bytes) -> Finding:
        try:
            proof, until = self._verify(compact, ring)
        except BadToken as bad:
            return _invalid(str(bad))
        except _Forbidden as lacking:
            note = f"the token lacks {lacking}"
            scope = " ".join(sorted(self._policy.scopes))
            return Denial(note, f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"', Reason.FORBIDDEN)
        self._verified.put(key, ring, proof, until)
        return proof

    def _verify(self, compact: Compact, ring: KeyRing) -> tuple[Proof, float]:
        """A proof, and until when it holds. Raises BadToken or _Forbidden."""
        fitting = ring.fitting(compact)
        if not fitting:
            raise BadToken("no key is known that goes with its kid and alg" if len(ring) else "no keys are known")
        if not any(key.verifies(compact) for key in fitting):
            raise BadToken("its signature is wrong")
        claims = compact.claims()
        until = check_claims(claims, self._policy, self._wall())
        fields = fields_of(claims, self.headers)
        lacking = missing(self._policy.scopes, scopes_of(claims))
        if lacking:
            raise _Forbidden(", ".join(lacking))
        return Proof(Identity("jwt", _text(claims, "sub"), _text(claims, "iss")), claims, fields), until


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _invalid(note: str) -> Denial:
    return Denial(f"the token is refused: {note}", f'{_CHALLENGE}, error="invalid_token"')
