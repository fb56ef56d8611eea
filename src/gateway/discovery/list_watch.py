"""The mirror of very many services with two connections: watch lists, and re-read only what changed.

Consul allows 200 connections for each client address, and one watch holds one. Above `max_watches` services the
checks of the whole datacenter (`/v1/health/state/any`) and the names of all services (`/v1/catalog/services`) are
watched instead. What neither shows, an edit of only a weight, a port or an instance without checks, is found by
re-reading all services in rotation within `ROTATION` seconds, which the age of each view shows.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import msgspec

from gateway.discovery.doubt import Sign
from gateway.discovery.errors import ConsulBadAnswer
from gateway.discovery.transport import Reply
from gateway.discovery.watch import Taken

ROTATION = 60.0
"""Seconds within which each service is read again though nothing told of a change."""

T = TypeVar("T")

_Fingerprint = frozenset[tuple[str, str, str, str]]


class ListSource(Protocol):
    async def health_any(self, index: int | None = None, wait: float = 0) -> Reply[bytes]: ...
    async def catalog_services(self, index: int | None = None, wait: float = 0) -> Reply[bytes]: ...


class _Check(msgspec.Struct):
    node: str = msgspec.field(name="Node", default="")
    id: str = msgspec.field(name="CheckID", default="")
    status: str = msgspec.field(name="Status", default="")
    service_id: str = msgspec.field(name="ServiceID", default="")
    service: str = msgspec.field(name="ServiceName", default="")


_decode_checks = msgspec.json.Decoder(list[_Check]).decode
_decode_services = msgspec.json.Decoder(dict[str, list[str] | None]).decode


class ChecksView:
    """A watch's subject: tells `changed` the services and nodes whose set of checks is another one."""

    def __init__(self, source: ListSource, changed: Callable[[frozenset[str], frozenset[str]], None]) -> None:
        self._source = source
        self._changed = changed
        self._services: Mapping[str, _Fingerprint] | None = None
        self._nodes: Mapping[str, _Fingerprint] = {}

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        return await self._source.health_any(index, wait)

    async def take(self, reply: Reply[bytes], _signs: Sign) -> Taken:
        services: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
        nodes: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
        for check in _decoded(reply.data, _decode_checks, "checks"):
            print_of = (check.node, check.id, check.status, check.service_id)
            if check.service:
                services[check.service].add(print_of)
            else:
                nodes[check.node].add(print_of)
        new_services = {name: frozenset(prints) for name, prints in services.items()}
        new_nodes = {name: frozenset(prints) for name, prints in nodes.items()}
        first = self._services is None
        touched = _different(self._services or {}, new_services)
        touched_nodes = _different(self._nodes, new_nodes)
        self._services, self._nodes = new_services, new_nodes
        # the first answer is compared with nothing: everything is read by the rotation's first round anyway
        if not first and (touched or touched_nodes):
            self._changed(touched, touched_nodes)
        return Taken("live", changed=bool(first or touched or touched_nodes))


class NamesView:
    """A watch's subject: tells `changed` the services that appeared, vanished, or have other tags."""

    def __init__(self, source: ListSource, changed: Callable[[frozenset[str], frozenset[str]], None]) -> None:
        self._source = source
        self._changed = changed
        self._services: Mapping[str, frozenset[str]] | None = None

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        return await self._source.catalog_services(index, wait)

    async def take(self, reply: Reply[bytes], _signs: Sign) -> Taken:
        listed = _decoded(reply.data, _decode_services, "services")
        services = {name: frozenset(tags or ()) for name, tags in listed.items()}
        first = self._services is None
        touched = _different(self._services or {}, services)
        self._services = services
        if not first and touched:
            self._changed(touched, frozenset())
        return Taken("live", changed=bool(first or touched))


class Agenda:
    """Which services to read next, each in it at most once, in the order in which they came. What is being read is
    not handed out a second time until it is `done`."""

    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._busy: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, services: Iterable[str]) -> None:
        self._waiting.update(dict.fromkeys(services))
        self._wake.set()

    async def next(self) -> str:
        while True:
            for service in self._waiting:
                if service not in self._busy:
                    del self._waiting[service]
                    self._busy.add(service)
                    return service
            self._wake.clear()
            await self._wake.wait()

    def done(self, service: str) -> None:
        self._busy.discard(service)
        self._wake.set()


def _decoded(body: bytes, decode: Callable[[bytes], T], what: str) -> T:
    try:
        return decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConsulBadAnswer(f"not what Consul answers here: {error}", f"list of {what}") from error


def _different(old: Mapping[str, frozenset[T]], new: Mapping[str, frozenset[T]]) -> frozenset[str]:
    return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
