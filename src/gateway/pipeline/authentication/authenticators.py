"""All authentication of one gateway: what routes share, and the stage of each route."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from gateway.core.authentication import ApiKey, Basic, ClientCertificate, Credential, External, Jwt
from gateway.core.authentication import Method as Policy
from gateway.core.model import Route
from gateway.pipeline.authentication.api_key import ApiKeyMethod
from gateway.pipeline.authentication.basic import BasicMethod
from gateway.pipeline.authentication.client_certificate import ClientCertificateMethod
from gateway.pipeline.authentication.credentials import CredentialTable
from gateway.pipeline.authentication.external import Ask, ExternalMethod
from gateway.pipeline.authentication.jwt import JwtMethod
from gateway.pipeline.authentication.key_sets import Fetch, KeySets
from gateway.pipeline.authentication.live_keys import Time
from gateway.pipeline.authentication.passwords import Passwords
from gateway.pipeline.authentication.proof import Method, Proof
from gateway.pipeline.authentication.stage import Authenticate
from gateway.pipeline.authentication.verified import Verified

_log = logging.getLogger("gateway.authentication")

MAX_VERIFIED = 10_000
"""Tokens that need not be verified again."""


class Authenticators:
    """To be made in the event loop, and closed. `certificates`: whether clients are asked for theirs."""

    def __init__(self, fetch: Fetch, time: Time, ask: Ask, *, certificates: bool = False) -> None:
        self._time = time
        self._ask = ask
        self._key_sets = KeySets(fetch, time)
        self._credentials = CredentialTable()
        self._verified: Verified[Proof] = Verified(MAX_VERIFIED)
        self._passwords = Passwords()
        self._certificates = certificates
        self._warned: frozenset[str] = frozenset()
        """Routes that ask for what no client is asked for."""

    def of(self, route: Route) -> Authenticate | None:
        """The stage of a route; None where it asks for nothing."""
        if route.auth is None:
            return None
        return Authenticate([self._method(policy) for policy in route.auth.methods], every=route.auth.every)

    def follow(self, routes: Sequence[Route]) -> None:
        """Keeps the key sets of exactly these routes up to date."""
        every = [route.auth for route in routes if route.auth is not None]
        self._key_sets.want(policy.keys for auth in every for policy in auth.methods if isinstance(policy, Jwt))
        if not self._certificates:
            self._warn(routes)

    def credentials(self, credentials: Iterable[Credential]) -> None:
        """All there are."""
        self._credentials.replace(credentials)

    async def close(self) -> None:
        await self._key_sets.close()
        self._passwords.close()

    def _method(self, policy: Policy) -> Method:
        match policy:
            case Jwt():
                return JwtMethod(policy, self._key_sets.of(policy.keys), self._verified, self._time.wall)
            case ApiKey():
                return ApiKeyMethod(policy, self._credentials, self._time.wall)
            case Basic():
                return BasicMethod(policy, self._credentials, self._passwords, self._time.wall)
            case External():
                return ExternalMethod(policy, self._ask)
            case ClientCertificate():
                return ClientCertificateMethod(policy, self._time.wall, asked=self._certificates)

    def _warn(self, routes: Iterable[Route]) -> None:
        """They are in force, and let nobody in by a certificate: another gateway of the group may well ask for them."""
        asking = frozenset(
            route.name
            for route in routes
            if route.auth is not None and any(isinstance(policy, ClientCertificate) for policy in route.auth.methods)
        )
        for name in sorted(asking - self._warned):
            _log.warning(
                "A route asks for client certificates, and this gateway asks clients for none: set tls_client_ca.",
                extra={"route": name},
            )
        self._warned = asking
