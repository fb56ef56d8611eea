"""Routes, policies, defaults and credentials from KV: views of their own, so that what is written beside wakes none."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from gateway.core.authentication import Credential
from gateway.core.model import Route, ServicePolicy
from gateway.discovery.documents import (
    BUILT_IN,
    Defaults,
    Rejection,
    parse_credential,
    parse_defaults,
    parse_policy,
    parse_route,
)
from gateway.discovery.documents_view import Document, DocumentsView, KvSource, fingerprint
from gateway.discovery.doubt import Sign
from gateway.discovery.mirror import Tower
from gateway.discovery.permissions import hidden_keys
from gateway.discovery.transport import Reply
from gateway.discovery.view import View
from gateway.discovery.watch import Subject, Taken, Watch

V = TypeVar("V")
_NO_DEFAULTS = "waits for the defaults: they are not to be read, and what they ask of requests is not known"


@dataclass(frozen=True, slots=True)
class ConfigurationOptions:
    """`prefix` of the keys; `own_service` may not be a backend; `grace` and `wait` in seconds; how many `workers` serve
    by it."""

    prefix: str
    own_service: str | None
    grace: float
    wait: float
    workers: int = 1


class Configuration:
    """What operators ask for. `changed` is called when anything of it, verdicts included, is another than before."""

    def __init__(
        self,
        source: KvSource,
        options: ConfigurationOptions,
        tower: Tower,
        *,
        changed: Callable[[], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._options = options
        self._tower = tower
        self._changed = changed
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._lock = asyncio.Lock()
        self._now: Defaults | None = None
        """None while it is not known what they are: no route is read then, since they may ask for credentials."""
        self._defaults_applied = asyncio.Event()
        self._defaults_applied.set()
        self._defaults_differ = asyncio.Event()
        self._defaults: DocumentsView[Defaults] = self._documents("defaults", self._parse_defaults, self._note_defaults)
        self._routes: DocumentsView[Route] = self._documents("routes/", self._parse_route, changed)
        self._policies: DocumentsView[ServicePolicy] = self._documents("services/", self._parse_policy, changed)
        self._credentials: DocumentsView[Credential] = self._documents("credentials/", _parse_credential, changed)
        self._views = tuple(View(name, clock, wall) for name in ("defaults", "routes", "policies", "credentials"))
        self._watches: tuple[Watch, ...] = ()

    @property
    def routes(self) -> Sequence[Route]:
        """Those in force, by name."""
        return [route for _, route in sorted(self._routes.values.items())]

    def policies(self, services: Iterable[str]) -> Mapping[str, ServicePolicy]:
        """Those in force, and for each of `services` without its own the one that the defaults make."""
        default = (self._now or BUILT_IN).service
        made = {service: replace(default, service=service) for service in services}
        return (made if default != BUILT_IN.service else {}) | self._policies.values

    @property
    def credentials(self) -> Sequence[Credential]:
        """Those in force, by id."""
        return [credential for _, credential in sorted(self._credentials.values.items())]

    @property
    def rejections(self) -> list[Rejection]:
        parts = (self._defaults, self._routes, self._policies, self._credentials)
        return sorted((each for part in parts for each in part.rejections), key=lambda rejection: rejection.key)

    @property
    def in_force(self) -> list[Document]:
        return self._defaults.in_force + self._routes.in_force + self._policies.in_force + self._credentials.in_force

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.in_force)

    @property
    def views(self) -> Sequence[View]:
        return self._views

    def load(self, documents: Sequence[Document], saved_at: float) -> None:
        """Take over the disk snapshot, before `run`."""
        for view in self._views:
            view.loaded(saved_at)
        self._defaults.load(documents)
        self._now = self._found_defaults()
        self._routes.load(documents)
        self._policies.load(documents)
        self._credentials.load(documents)

    async def run(self) -> NoReturn:
        """Keep all of them up to date until cancelled."""
        judged_by_them = (_Later(part, self._defaults_are_known) for part in (self._routes, self._policies))
        subjects: tuple[Subject, ...] = (self._defaults, *judged_by_them, self._credentials)
        self._watches = tuple(
            Watch(
                subject,
                view,
                self._tower,
                wait=self._options.wait,
                clock=self._clock,
                draw=self._draw,
                reconnected=view.has_content,
            )
            for subject, view in zip(subjects, self._views, strict=True)
        )
        with self._tower.listening(self._kick):
            async with asyncio.TaskGroup() as group:
                for watch in self._watches:
                    group.create_task(watch.run(), name=f"watch {watch.view.name}")
                group.create_task(self._follow_defaults())
                group.create_task(self._note_confirmation())
        raise AssertionError("the watches end by being cancelled only")

    async def settled(self) -> None:
        """Return when all of them have been answered, or are known not to be."""
        for view in self._views:
            await view.settled.wait()
        await self._defaults_applied.wait()

    async def check_rights(self) -> None:
        """Look whether our token still may read the keys: a permission that goes wakes no query.

        Raises ConsulError where Consul cannot be asked.
        """
        for watch, part in zip(self._watches, ("defaults", "routes/-", "services/-", "credentials/-"), strict=True):
            denied = await hidden_keys(self._source, [f"{self._options.prefix}/{part}"])
            if denied != (watch.view.state == "denied"):
                watch.kick(False)

    def _kick(self, lost: bool) -> None:
        for watch in self._watches:
            watch.kick(lost)

    def _note_defaults(self) -> None:
        self._defaults_applied.clear()
        self._defaults_differ.set()

    async def _defaults_are_known(self) -> None:
        """Or it is known that they are not."""
        if not self._views[0].has_content:
            await self._views[0].settled.wait()
        await self._defaults_applied.wait()

    def _found_defaults(self) -> Defaults | None:
        if not self._views[0].has_content:
            return None
        found = self._defaults.values.get("defaults")
        return BUILT_IN if found is None and not self._defaults.rejections else found

    async def _note_confirmation(self) -> None:
        """That there are no defaults is news as well."""
        await self._views[0].confirmed.wait()
        self._note_defaults()

    async def _follow_defaults(self) -> NoReturn:
        while True:
            await self._defaults_differ.wait()
            self._defaults_differ.clear()
            async with self._lock:
                self._now = self._found_defaults()
                await self._routes.judge_again()
                await self._policies.judge_again()
            self._defaults_applied.set()
            self._changed()

    def _documents(
        self, part: str, parse: Callable[[Document, str], V | Rejection], changed: Callable[[], None]
    ) -> DocumentsView[V]:
        return DocumentsView(
            f"{self._options.prefix}/{part}",
            self._source,
            parse,
            grace=self._options.grace,
            clock=self._clock,
            lock=self._lock,
            changed=changed,
        )

    def _parse_route(self, document: Document, name: str) -> Route | Rejection:
        if self._now is None:
            return Rejection(document.key, 1, 1, "", _NO_DEFAULTS, document.modify_index)
        return parse_route(
            name,
            document.raw,
            document.modify_index,
            self._now,
            own_service=self._options.own_service,
            key=document.key,
            workers=self._options.workers,
        )

    def _parse_policy(self, document: Document, name: str) -> ServicePolicy | Rejection:
        return parse_policy(
            name,
            document.raw,
            document.modify_index,
            self._now or BUILT_IN,
            key=document.key,
            workers=self._options.workers,
        )

    def _parse_defaults(self, document: Document, _name: str) -> Defaults | Rejection:
        return parse_defaults(
            document.raw,
            document.modify_index,
            own_service=self._options.own_service,
            key=document.key,
            workers=self._options.workers,
        )


@dataclass(frozen=True, slots=True)
class _Later:
    """A subject whose answers count only when something else is there."""

    subject: Subject
    ready: Callable[[], Awaitable[None]]

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        return await self.subject.read(index, wait)

    async def take(self, reply: Reply[bytes], signs: Sign, /) -> Taken:
        await self.ready()
        return await self.subject.take(reply, signs)


def _parse_credential(document: Document, name: str) -> Credential | Rejection:
    return parse_credential(name, document.raw, document.modify_index, key=document.key)
