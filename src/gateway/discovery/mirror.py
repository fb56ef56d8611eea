"""The mirror: the instances of all services that routes name, each with a view of its own.

Up to `max_watches` there is one blocking query for each service. With more services the lists are watched and only
what changed is read (see `list_watch`). Either way a change costs a fixed number of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from gateway.core.model import Instance
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.consul_client import Question
from gateway.discovery.errors import ConsulDenied, ConsulError
from gateway.discovery.list_watch import ROTATION, Agenda, ChecksView, ListSource, NamesView
from gateway.discovery.permissions import MAX_QUESTIONS
from gateway.discovery.service_view import HealthSource, ServiceView
from gateway.discovery.view import View
from gateway.discovery.watch import Watch, Watchtower

_log = logging.getLogger("gateway.discovery.mirror")

OTHER_CONNECTIONS = 6
"""What else is open towards Consul: routes, policies and defaults, the lighthouse, registration and status."""
READERS = 4
"""Services read at once while the lists are watched."""
STAGGER = 0.005
"""Seconds for each service, over which first reads are spread; at most half a second in all."""


class MirrorSource(HealthSource, ListSource, Protocol):
    """What of Consul the mirror asks."""


class Tower(Watchtower, Protocol):
    def listening(self, listener: Callable[[bool], None]) -> contextlib.AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """`grace` seconds of doubt, `wait` seconds of a blocking query, most connections in all."""

    grace: float
    wait: float
    max_watches: int
    addresses: AddressPolicy


@dataclass(slots=True)
class _Watched:
    content: ServiceView
    view: View
    watch: Watch
    task: asyncio.Task[None] | None = None


class Mirror:
    """`publish` gets a service's instances when they change; `forget` a service that is no longer wanted."""

    def __init__(
        self,
        source: MirrorSource,
        options: MirrorOptions,
        tower: Tower,
        *,
        publish: Callable[[str, Sequence[Instance]], None],
        forget: Callable[[str], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._options = options
        self._tower = tower
        self._publish = publish
        self._forget = forget
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._services: dict[str, _Watched] = {}
        self._agenda = Agenda()
        self._lists = self._list_watches()
        self._list_task: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def by_lists(self) -> bool:
        """Whether the lists are watched, because the services are too many for a query each."""
        return self._list_task is not None

    async def run(self) -> NoReturn:
        """Keep what is wanted up to date until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._arrange()
                with self._tower.listening(self._kick_all):
                    await asyncio.Event().wait()
        finally:
            self._group = None
        raise AssertionError("the mirror ends by being cancelled only")

    def want(self, services: Iterable[str]) -> None:
        """Watch these services and no others. What is loaded or watched already stays as it is."""
        wanted = frozenset(services)
        for service in [name for name in self._services if name not in wanted]:
            dropped = self._services.pop(service)
            if dropped.task is not None:
                dropped.task.cancel()
            dropped.view.settled.set()
            _log.info("service %s is no longer named by a route", service, extra={"service": service})
            self._forget(service)
        for service in sorted(wanted - self._services.keys()):
            self._services[service] = self._watched(service)
        self._arrange()

    def load(self, instances: Mapping[str, Sequence[Instance]], saved_at: float) -> None:
        """Take over the disk snapshot, before `run`: these services, as they were at Unix time `saved_at`."""
        for service, known in instances.items():
            watched = self._services[service] = self._watched(service, loaded=True)
            watched.view.loaded(saved_at)
            watched.content.load(known)

    async def settled(self, services: Iterable[str]) -> None:
        """Return when each of these that is wanted has been answered, or is known not to be."""
        for service in services:
            watched = self._services.get(service)
            if watched is not None:
                await watched.view.settled.wait()

    def instances(self) -> dict[str, tuple[Instance, ...]]:
        """Of each service that has a view: one that was never answered is not one without instances."""
        return {
            service: watched.content.instances
            for service, watched in self._services.items()
            if watched.view.confirmed.is_set()
        }

    def view(self, service: str) -> View | None:
        """None where the service is not wanted."""
        watched = self._services.get(service)
        return None if watched is None else watched.view

    def views(self) -> Iterator[View]:
        for watched in self._services.values():
            yield watched.view
        if self.by_lists:
            for watch in self._lists:
                yield watch.view

    async def check_rights(self) -> None:
        """Look whether our token still may read what is watched: a permission that goes wakes no query.

        Raises ConsulError where Consul cannot be asked.
        """
        services = list(self._services)
        for start in range(0, len(services), MAX_QUESTIONS):
            part = services[start : start + MAX_QUESTIONS]
            try:
                verdicts = await self._source.may_read([Question("service", service) for service in part])
            except ConsulDenied:
                verdicts = [False] * len(part)
            for service, allowed in zip(part, verdicts or (), strict=bool(verdicts)):
                watched = self._services.get(service)
                if watched is not None and allowed == (watched.view.state == "denied"):
                    self._kick(service, watched)

    def _watched(self, service: str, *, loaded: bool = False) -> _Watched:
        content = ServiceView(
            service, self._source, self._options.addresses, self._options.grace, self._clock, self._publish
        )
        view = View(f"service:{service}", self._clock, self._wall)
        watch = Watch(
            content,
            view,
            self._tower,
            wait=self._options.wait,
            clock=self._clock,
            draw=self._draw,
            stagger=min(0.5, STAGGER * len(self._services)),
            reconnected=loaded,
        )
        return _Watched(content, view, watch)

    def _list_watches(self) -> tuple[Watch, Watch]:
        def watch(subject: ChecksView | NamesView, name: str) -> Watch:
            view = View(name, self._clock, self._wall)
            wait = self._options.wait
            return Watch(subject, view, self._tower, wait=wait, clock=self._clock, draw=self._draw)

        return (
            watch(ChecksView(self._source, self._touched), "list:checks"),
            watch(NamesView(self._source, self._touched), "list:services"),
        )

    def _arrange(self) -> None:
        """Start and stop tasks so that they fit the number of services."""
        if self._group is None:
            return
        most = max(1, self._options.max_watches - OTHER_CONNECTIONS)
        # some slack, or a service that comes and goes at the limit would rebuild everything each time
        too_many = len(self._services) > (most * 0.9 if self.by_lists else most)
        if too_many and not self.by_lists:
            _log.warning("%d services: watching lists instead of each", len(self._services))
            for watched in self._services.values():
                if watched.task is not None:
                    watched.task.cancel()
                    watched.task = None
                watched.watch.kick(False)
            self._list_task = self._group.create_task(self._follow_lists())
            self._agenda.add(self._services)
        elif self._list_task is not None and not too_many:
            _log.info("%d services: watching each again", len(self._services))
            self._list_task.cancel()
            self._list_task = None
        for service, watched in self._services.items():
            if self.by_lists and not watched.view.settled.is_set():
                self._agenda.add([service])
            elif not self.by_lists and watched.task is None:
                watched.task = self._group.create_task(watched.watch.run(), name=f"watch {service}")

    async def _follow_lists(self) -> None:
        async with asyncio.TaskGroup() as group:
            for watch in self._lists:
                watch.kick(False)
                group.create_task(watch.run(), name=f"watch {watch.view.name}")
            for _ in range(READERS):
                group.create_task(self._read_in_turn())
            group.create_task(self._rotate())

    async def _rotate(self) -> NoReturn:
        while True:
            for service in tuple(self._services):
                await asyncio.sleep(ROTATION / max(1, len(self._services)))
                self._agenda.add([service])
            await asyncio.sleep(0 if self._services else 1)

    async def _read_in_turn(self) -> NoReturn:
        while True:
            service = await self._agenda.next()
            try:
                await self._read(service)
            finally:
                self._agenda.done(service)

    async def _read(self, service: str) -> None:
        watched = self._services.get(service)
        if watched is None:
            return
        watched.watch.kick(False)
        try:
            await watched.watch.turn()
        except ConsulError as error:
            watched.watch.failed(error)
            await self._tower.rest(1 + self._draw())
            self._agenda.add([service])
            return
        recheck = watched.watch.recheck_in
        if recheck is not None:
            asyncio.get_running_loop().call_later(recheck, self._agenda.add, [service])

    def _touched(self, services: frozenset[str], nodes: frozenset[str]) -> None:
        self._agenda.add(sorted(services & self._services.keys()))
        if nodes:
            self._agenda.add(name for name, watched in self._services.items() if watched.content.nodes & nodes)

    def _kick_all(self, lost: bool) -> None:
        for service, watched in self._services.items():
            watched.watch.kick(lost)
            if self.by_lists:
                self._agenda.add([service])
        if self.by_lists:
            for watch in self._lists:
                watch.kick(lost)

    def _kick(self, service: str, watched: _Watched) -> None:
        if self.by_lists:
            self._agenda.add([service])
        else:
            watched.watch.kick(False)
