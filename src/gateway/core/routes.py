"""The routes in force, and what each has going: the shares of its backends, and the tickets it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mypy_extensions import mypyc_attr

from gateway.core.admission import Gate
from gateway.core.model import Backend, Route
from gateway.core.pool import Pool, Selector
from gateway.core.routing import CompileRegex, OnPredicateError, RoutingTable
from gateway.core.services import Services
from gateway.core.split import Split
from gateway.core.views import RouteLoad
from gateway.core.when import CompileWhen


@mypyc_attr(allow_interpreted_subclasses=True)
class Routes:
    """Owns the state variable `routing_table`."""

    def __init__(
        self,
        services: Services,
        compile_regex: CompileRegex,
        compile_when: CompileWhen,
        on_predicate_error: OnPredicateError | None,
    ) -> None:
        self._services = services
        self._compile_regex = compile_regex
        self._compile_when = compile_when
        self._on_predicate_error = on_predicate_error
        self._splits: dict[str, Split] = {}
        self._gates: dict[str, Gate] = {}
        self.table = RoutingTable((), compile_regex)

    def apply(self, routes: Iterable[Route]) -> None:
        """Puts a new table in force, and forgets what no route of it and no ticket needs any more."""
        self.table = RoutingTable(routes, self._compile_regex, self._compile_when, self._on_predicate_error)
        known = self.table.routes
        self._splits = {
            name: split for name, split in self._splits.items() if name in known and split.fits(known[name])
        }
        self._gates = {name: gate for name, gate in self._gates.items() if name in known or gate}
        used: dict[str, set[Selector]] = {}
        for route in known.values():
            for backend in route.backends:
                used.setdefault(backend.service, set()).add(Selector.of(backend, route.when_empty.panic))
        self._services.retain_pools(used)

    def forget_service(self, service: str) -> None:
        """Lets go of a service's pools; should it come back, it has others."""
        self._splits = {
            name: split
            for name, split in self._splits.items()
            if all(pool.service.name != service for pool in split.pools)
        }

    def split(self, route: Route, now: float) -> Split:
        """The backends of a version of a route, with what may be picked from each at this moment."""
        split = self._splits.get(route.name)
        if split is None or not split.fits(route):
            panic = route.when_empty.panic

            def pool_of(backend: Backend) -> Pool:
                return self._services.get(backend.service).pool(Selector.of(backend, panic))

            split = Split(route, pool_of)
            if self.table.routes.get(route.name) == route:
                self._splits[route.name] = split
        for pool in split.pools:
            pool.refresh(now)
        return split

    def gate(self, name: str) -> Gate:
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = Gate(name)
        return gate

    def loads(self) -> Iterator[RouteLoad]:
        for gate in self._gates.values():
            yield RouteLoad(gate.name, gate.in_flight, gate.queued)
