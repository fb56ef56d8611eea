"""What is in KV below a prefix, read with the gateway's own parsers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from gateway.core.filters import Redirect, Respond
from gateway.core.model import Backend, PathKind, Route, ServicePolicy
from gateway.discovery.documents.defaults import BUILT_IN, Defaults
from gateway.discovery.documents.parsing import (
    check_defaults,
    check_policy,
    check_route,
    parse_defaults,
    parse_policy,
    parse_route,
)
from gateway.discovery.documents.rejection import Rejection

if TYPE_CHECKING:
    from gateway.discovery.consul_client import ConsulClient, KvEntry
    from gateway.settings import Settings

Kind = Literal["routes", "services"]


class _Rejected(msgspec.Struct):
    key: str
    line: int
    column: int
    field: str
    reason: str
    modify_index: int


class _Status(msgspec.Struct):
    """What a gateway writes about itself below `status/`, as far as it is read here."""

    gateway: str
    rejections: list[_Rejected]


@dataclass(frozen=True, slots=True)
class Listed:
    """One key. `verdict` is what our own parser finds, and what running gateways say of this version."""

    name: str
    version: int
    accepted: bool
    summary: str
    verdict: str

    def as_json(self) -> dict[str, str | int | bool]:
        return asdict(self)


async def defaults(client: ConsulClient, settings: Settings) -> Defaults:
    """The defaults in KV; the built-in ones where there are none, or none that are accepted."""
    entry = await client.kv_entry(f"{settings.prefix}/defaults")
    if entry is None:
        return BUILT_IN
    found = parse_defaults(entry.value or b"", entry.modify_index, own_service=settings.service)
    return BUILT_IN if isinstance(found, Rejection) else found


async def gather(client: ConsulClient, settings: Settings, kind: Kind) -> list[Listed]:
    """All keys of a kind, in the order of their names."""
    base = await defaults(client, settings)
    statuses = [_status(entry) for entry in await client.kv_entries(f"{settings.prefix}/status/")]
    told = [status for status in statuses if status is not None]
    prefix = f"{settings.prefix}/{kind}/"
    entries = [entry for entry in await client.kv_entries(prefix) if not entry.key.endswith("/")]
    return [_listed(kind, entry.key.removeprefix(prefix), entry, base, settings, told) for entry in entries]


def problems(
    kind: Literal["routes", "services", "defaults"],
    name: str,
    raw: bytes,
    base: Defaults,
    settings: Settings,
    key: str | None = None,
) -> list[Rejection]:
    """All that is wrong with a document; nothing if the gateway would accept it. `key` is how messages call it."""
    if kind == "routes":
        return check_route(name, raw, 0, base, own_service=settings.service, key=key)
    if kind == "services":
        return check_policy(name, raw, 0, base, key=key)
    return check_defaults(raw, 0, own_service=settings.service, key=key or "defaults")


def _status(entry: KvEntry) -> _Status | None:
    try:
        return msgspec.json.decode(entry.value or b"", type=_Status)
    except msgspec.DecodeError:
        return None


def _listed(
    kind: Kind, name: str, entry: KvEntry, base: Defaults, settings: Settings, told: Sequence[_Status]
) -> Listed:
    raw, version = entry.value or b"", entry.modify_index
    found: Route | ServicePolicy | Rejection
    if kind == "routes":
        found = parse_route(name, raw, version, base, own_service=settings.service, key=entry.key)
    else:
        found = parse_policy(name, raw, version, base, key=entry.key)
    against = [
        f"rejected by {status.gateway}: {_where(rejected)}{rejected.reason}"
        for status in told
        for rejected in status.rejections
        if rejected.key == entry.key and rejected.modify_index == version
    ]
    if isinstance(found, Rejection):
        ours = f"rejected: {_where(found)}{found.reason}"
        return Listed(name, version, False, "", "; ".join(against) or ours)
    summary = _route(found) if isinstance(found, Route) else _policy(found)
    return Listed(name, version, not against, summary, "; ".join(against) or "accepted")


def _where(found: _Rejected | Rejection) -> str:
    """`3:18: match.methods[1]: `, or without a field where the whole document is meant."""
    return f"{found.line}:{found.column}: " + (f"{found.field}: " if found.field else "")


def _route(route: Route) -> str:
    """`shop.example.com GET,HEAD /orders/… +x-tenant +when → orders*9, orders[canary]*1, else orders-old`."""
    marks = {PathKind.EXACT: "", PathKind.PREFIX: "/…", PathKind.REGEX: " (regex)"}
    paths = []
    for match in route.matches[:3]:
        path = match.path.value.rstrip("/") if match.path.kind is PathKind.PREFIX else match.path.value
        methods = ",".join(sorted(match.methods))
        conditions = "".join(f" +{value.name}" for value in (*match.headers, *match.query))
        paths.append(f"{methods} {path}{marks[match.path.kind]}{conditions}".strip())
    more = [f"{len(route.matches) - 3} more"] if len(route.matches) > 3 else []
    when = "" if route.when is None else " +when"
    hosts = f"{','.join(route.hostnames[:3])}{',…' if len(route.hostnames) > 3 else ''} " if route.hostnames else ""
    return f"{hosts}{' | '.join([*paths, *more])}{when} → {_destination(route)}"


def _destination(route: Route) -> str:
    if isinstance(route.answer, Redirect):
        return f"redirect {route.answer.status}"
    if isinstance(route.answer, Respond):
        return f"respond {route.answer.status}"
    several = sum(not backend.fallback for backend in route.backends) > 1
    return ", ".join(
        f"else {_selection(each)}" if each.fallback else _selection(each) + (f"*{each.weight}" if several else "")
        for each in route.backends
    )


def _selection(backend: Backend) -> str:
    chosen = [*sorted(backend.tags), *(f"{name}={value}" for name, value in backend.meta)]
    if backend.instances is not None:
        chosen.append("instances")
    return backend.service + (f"[{','.join(chosen)}]" if chosen else "")


def _policy(policy: ServicePolicy) -> str:
    circuit = policy.circuit
    parts = [policy.balance.policy.value, f"circuit {circuit.mode.value}"]
    if policy.in_flight_per_instance:
        parts.append(f"{policy.in_flight_per_instance} in flight per instance")
    return ", ".join(parts)
