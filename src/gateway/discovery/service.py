"""The one public door of discovery: all that Consul tells the gateway, and all that the gateway tells Consul."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

from gateway.core.authentication import Credential
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.discovery.addresses import DENIED_BY_DEFAULT, AddressPolicy, Network
from gateway.discovery.configuration import Configuration, ConfigurationOptions
from gateway.discovery.consul_client import ConsulClient
from gateway.discovery.documents import Rejection
from gateway.discovery.duty import DutyState
from gateway.discovery.errors import ConsulError
from gateway.discovery.lighthouse import Lighthouse
from gateway.discovery.mirror import Mirror, MirrorOptions
from gateway.discovery.registration import Identity, Registration
from gateway.discovery.snapshot import Snapshot, SnapshotFile
from gateway.discovery.verdicts import StatusWriter, Verdicts, encode, view_states
from gateway.discovery.view import ViewState

RIGHTS_INTERVAL = 10.0
"""Seconds between two looks whether our token still may read what is watched."""
NEW_SERVICE_PATIENCE = 1.0
"""Seconds that a changed route waits for the first view of a service that it is the first to name."""


class DiscoverySink(Protocol):
    """Where the results go; each call holds all there is of its kind. Called from the event loop, must not block."""

    def routes(self, routes: Sequence[Route]) -> None: ...
    def policies(self, policies: Mapping[str, ServicePolicy]) -> None: ...
    def credentials(self, credentials: Sequence[Credential]) -> None: ...
    def instances(self, service: str, instances: Sequence[Instance]) -> None: ...
    def forget(self, service: str) -> None: ...


@dataclass(frozen=True, slots=True)
class DiscoveryOptions:
    """Durations are seconds. `grace`: how long a doubtful emptiness is not believed. Without `register_address` the
    node's address is registered. `check_url` makes the gateway's own check an HTTP check that the agent makes."""

    gateway_id: str
    workers: int = 1
    """That serve by what is found."""
    prefix: str = "gateway"
    gateway_service: str = "gateway"
    version: str = ""
    snapshot_path: Path | None = None
    grace: float = 10.0
    max_watches: int = 100
    register: bool = True
    register_address: str | None = None
    register_port: int = 8080
    register_tags: tuple[str, ...] = ()
    check_url: str | None = None
    check_ttl: float = 15.0
    write_status: bool = True
    allowed_addresses: tuple[Network, ...] = ()
    denied_addresses: tuple[Network, ...] = DENIED_BY_DEFAULT


class Discovery:
    """Make it inside a running loop, run `run` as a task; `client` stays the caller's to close."""

    def __init__(
        self,
        client: ConsulClient,
        options: DiscoveryOptions,
        sink: DiscoverySink,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        inherited: Snapshot | None = None,
    ) -> None:
        """`inherited` is what was in force before, and takes the place of the snapshot on disk."""
        self._options = options
        self._inherited = inherited
        self._sink = sink
        self._clock = clock
        self._wall = wall
        addresses = AddressPolicy(options.allowed_addresses, options.denied_addresses)
        wait = client.settings.wait
        self._lighthouse = Lighthouse(client, clock)
        self._configuration = Configuration(
            client,
            ConfigurationOptions(options.prefix, options.gateway_service, options.grace, wait, options.workers),
            self._lighthouse,
            changed=self._note_configuration,
            clock=clock,
            wall=wall,
            draw=draw,
        )
        self._mirror = Mirror(
            client,
            MirrorOptions(options.grace, wait, options.max_watches, addresses),
            self._lighthouse,
            publish=self._publish_instances,
            forget=sink.forget,
            clock=clock,
            wall=wall,
            draw=draw,
        )
        self._registration = Registration(client, self._identity(), self._is_ready, self._lighthouse)
        self._status = StatusWriter(
            client,
            f"{options.prefix}/status/{options.gateway_id}",
            f"gateway {options.gateway_id}",
            self._compose_status,
            self._lighthouse,
        )
        self._snapshot = SnapshotFile(options.snapshot_path, addresses) if options.snapshot_path else None
        self._changed = asyncio.Event()
        self._published = asyncio.Event()
        self._ready = asyncio.Event()
        self._routes: Sequence[Route] | None = None
        self._policies: Mapping[str, ServicePolicy] | None = None
        self._credentials: Sequence[Credential] | None = None
        self._told: tuple[tuple[str, str], ...] = ()

    async def run(self) -> NoReturn:
        """Everything, until cancelled. Consul's troubles never end it; they show in `views` and `duties`."""
        await self._load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._lighthouse.run(), name="lighthouse")
            group.create_task(self._configuration.run(), name="configuration")
            group.create_task(self._mirror.run(), name="mirror")
            group.create_task(self._publish(), name="publish")
            group.create_task(self._look_after(), name="rights")
            group.create_task(self._await_first_view(), name="first view")
            if self._options.register:
                group.create_task(self._registration.run(), name="registration")
            if self._options.write_status:
                group.create_task(self._write_status(), name="status")
            if self._snapshot is not None:
                group.create_task(self._snapshot.run(self._collect), name="snapshot")
        raise AssertionError("discovery ends by being cancelled only")

    async def ready(self) -> None:
        """Return at the first full view, routes and every service that they name, or when a snapshot is in force."""
        await self._ready.wait()

    async def register(self) -> None:
        """Register the gateway as an instance of its own service, and keep it so while `run` runs."""
        if self._options.register:
            await self._registration.register()

    async def deregister(self) -> None:
        """Leave the catalog, as when draining; requests may go on."""
        if self._options.register:
            await self._registration.deregister()

    def leave_registration(self) -> None:
        """Leave it as it is, to the gateway that has the same id and serves in our place."""
        self._registration.leave()

    def views(self) -> Sequence[ViewState]:
        """Defaults, routes, policies, credentials and every watched service, as they stand now."""
        now, seen_at, lost = self._clock(), self._lighthouse.seen_at, self._lighthouse.lost
        every = (*self._configuration.views, *self._mirror.views())
        return [view.state_at(now, seen_at, lost) for view in every]

    def view_age(self, service: str) -> float | None:
        """The `age` in `views` of a service; None where it has none."""
        view = self._mirror.view(service)
        return None if view is None else view.age_at(self._clock(), self._lighthouse.seen_at, self._lighthouse.lost)

    def rejections(self) -> Sequence[Rejection]:
        """The keys whose newest version is not in force, by key."""
        return self._configuration.rejections

    def duties(self) -> Sequence[DutyState]:
        """Whether registration and status are in Consul, those of them that are wanted."""
        wanted = ((self._options.register, self._registration.duty), (self._options.write_status, self._status.duty))
        return [duty.state for is_wanted, duty in wanted if is_wanted]

    def in_force(self) -> Snapshot | None:
        """For another `Discovery` to inherit, as old as the oldest view; None before `ready`."""
        if not self._ready.is_set():
            return None
        age = max((view.age for view in self.views() if view.age is not None), default=0.0)
        return replace(self._collect(), saved_at=self._wall() - age)

    async def _load(self) -> None:
        snapshot = self._inherited
        if snapshot is None and self._snapshot is not None:
            snapshot = await asyncio.to_thread(self._snapshot.load)
        if snapshot is None:
            return
        self._configuration.load(snapshot.documents, snapshot.saved_at)
        self._mirror.load(snapshot.instances, snapshot.saved_at)
        self._apply_configuration()
        self._mirror.want(_services_of(self._configuration.routes))
        self._ready.set()

    async def _publish(self) -> NoReturn:
        """Pass configuration on, a route that is the first to name a service once that service has a view."""
        if not self._ready.is_set():
            await self._configuration.settled()
        while True:
            self._changed.clear()
            services = _services_of(self._configuration.routes)
            known = _services_of(self._routes or ())
            if not services <= known:
                self._mirror.want(services | known)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(NEW_SERVICE_PATIENCE):
                        await self._mirror.settled(services - known)
            self._apply_configuration()
            self._mirror.want(_services_of(self._routes or ()))
            self._published.set()
            await self._changed.wait()

    def _apply_configuration(self) -> None:
        routes = self._configuration.routes
        policies = self._configuration.policies(_services_of(routes))
        if policies != self._policies:
            self._policies = policies
            self._sink.policies(policies)
        credentials = self._configuration.credentials
        if credentials != self._credentials:
            self._credentials = credentials
            self._sink.credentials(credentials)
        if routes != self._routes:
            self._routes = routes
            self._sink.routes(routes)

    async def _await_first_view(self) -> None:
        await self._configuration.settled()
        for view in self._configuration.views:
            if view.name == "routes":
                await view.confirmed.wait()
        await self._published.wait()
        await self._mirror.settled(_services_of(self._routes or ()))
        self._ready.set()
        self._registration.note_readiness()

    async def _write_status(self) -> NoReturn:
        """Not before there is something to tell: an empty table would read as a verdict."""
        await self._published.wait()
        await self._status.run()

    async def _look_after(self) -> NoReturn:
        while True:
            await asyncio.sleep(RIGHTS_INTERVAL)
            if self._lighthouse.lost is None:
                with contextlib.suppress(ConsulError):
                    await self._configuration.check_rights()
                    await self._mirror.check_rights()
            if view_states(self.views()) != self._told:
                self._status.note_change()

    def _note_configuration(self) -> None:
        self._changed.set()
        self._status.note_change()
        if self._snapshot is not None:
            self._snapshot.note_change()

    def _publish_instances(self, service: str, instances: Sequence[Instance]) -> None:
        self._sink.instances(service, instances)
        if self._snapshot is not None:
            self._snapshot.note_change()

    def _is_ready(self) -> bool:
        return self._ready.is_set()

    def _collect(self) -> Snapshot:
        return Snapshot(self._wall(), self._configuration.in_force, self._mirror.instances())

    def _compose_status(self) -> bytes:
        views = self.views()
        self._told = view_states(views)
        routes = self._configuration.routes
        services = _services_of(routes)
        return encode(
            Verdicts(
                gateway=self._options.gateway_id,
                version=self._options.version,
                table=self._configuration.fingerprint,
                routes=len(routes),
                policies=len(self._configuration.policies(())),
                services=len(services),
                views=views,
                rejections=self._configuration.rejections,
                written_at=self._wall(),
            )
        )

    def _identity(self) -> Identity:
        options = self._options
        return Identity(
            service_id=options.gateway_id,
            service=options.gateway_service,
            port=options.register_port,
            address=options.register_address,
            tags=options.register_tags,
            meta={"version": options.version} if options.version else {},
            check_url=options.check_url,
            ttl=options.check_ttl,
        )


def _services_of(routes: Iterable[Route]) -> frozenset[str]:
    return frozenset[str]().union(*(route.services() for route in routes))
