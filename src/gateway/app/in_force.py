"""What is in force: the last of all that discovery told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core.authentication import Credential
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.discovery.service import DiscoverySink


class Taker(DiscoverySink, Protocol):
    """Whoever serves by it."""

    def prefer(self, node: str) -> None:
        """The node that we are on, where its instances are to be preferred."""


class InForce:
    """Passes on what discovery tells, and keeps it: to be shown, and for who comes later."""

    def __init__(self) -> None:
        self._takers: list[Taker] = []
        self.routes_by_name: Mapping[str, Route] = {}
        self.policies_by_service: Mapping[str, ServicePolicy] = {}
        self.instances_by_service: dict[str, Sequence[Instance]] = {}
        self._credentials: Sequence[Credential] = ()
        self._node: str | None = None

    def pass_on_to(self, taker: Taker) -> None:
        """From now on tells it all that comes."""
        self._takers.append(taker)

    def brief(self, taker: Taker) -> None:
        """Tells all of it, in an order in which no route comes before what it needs."""
        taker.policies(self.policies_by_service)
        taker.credentials(self._credentials)
        for service, instances in self.instances_by_service.items():
            taker.instances(service, instances)
        if self._node is not None:
            taker.prefer(self._node)
        taker.routes(tuple(self.routes_by_name.values()))

    def routes(self, routes: Sequence[Route]) -> None:
        self.routes_by_name = {route.name: route for route in routes}
        for taker in self._takers:
            taker.routes(routes)

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self.policies_by_service = policies
        for taker in self._takers:
            taker.policies(policies)

    def credentials(self, credentials: Sequence[Credential]) -> None:
        self._credentials = credentials
        for taker in self._takers:
            taker.credentials(credentials)

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        self.instances_by_service[service] = instances
        for taker in self._takers:
            taker.instances(service, instances)

    def forget(self, service: str) -> None:
        self.instances_by_service.pop(service, None)
        for taker in self._takers:
            taker.forget(service)

    def prefer(self, node: str) -> None:
        self._node = node
        for taker in self._takers:
            taker.prefer(node)
