"""From Consul's health entries to instances (https://developer.hashicorp.com/consul/api-docs/health).

One malformed entry among good ones is left out with its reason; the others stay. Entries that are byte for byte the
same as before are not parsed again, so that one changed check among a thousand instances costs one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from gateway.core.model import Health, Instance, InstanceKey
from gateway.discovery.addresses import AddressPolicy, BadAddress
from gateway.discovery.errors import ConsulBadAnswer

MAX_WEIGHT = 65535
"""As Consul's own documentation bounds `Weights`."""

_NODE_MAINTENANCE = "_node_maintenance"
_SERVICE_MAINTENANCE = "_service_maintenance:"
_STATUS = {"passing": Health.PASSING, "warning": Health.WARNING, "critical": Health.CRITICAL}
_SHOWN = 120

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class Check(msgspec.Struct, frozen=True):
    """A check of the service (`service_id` names it) or of its node."""

    id: str = msgspec.field(name="CheckID", default="")
    status: str = msgspec.field(name="Status", default="")
    output: str = msgspec.field(name="Output", default="")
    type: str = msgspec.field(name="Type", default="")

    @property
    def has_not_run(self) -> bool:
        """Critical because the agent has not made it since it was started (Consul's agent: `loadChecks`), which says
        nothing of the instance. A TTL check is set and not made, and may have no output for other reasons."""
        return self.status == "critical" and not self.output and self.type != "ttl" and not _is_maintenance(self)


class _Weights(msgspec.Struct):
    passing: int = msgspec.field(name="Passing", default=1)
    warning: int = msgspec.field(name="Warning", default=1)


class _Node(msgspec.Struct):
    name: _Name = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address", default="")
    datacenter: str = msgspec.field(name="Datacenter", default="")


class _Service(msgspec.Struct):
    id: _Name = msgspec.field(name="ID")
    name: _Name = msgspec.field(name="Service")
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = msgspec.field(name="Port")
    address: str = msgspec.field(name="Address", default="")
    tags: list[str] | None = msgspec.field(name="Tags", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)
    weights: _Weights | None = msgspec.field(name="Weights", default=None)


class _Entry(msgspec.Struct):
    node: _Node = msgspec.field(name="Node")
    service: _Service = msgspec.field(name="Service")
    checks: list[Check] | None = msgspec.field(name="Checks", default=None)


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry = msgspec.json.Decoder(_Entry).decode


def health_of(checks: Iterable[Check]) -> Health:
    """The worst of an instance's service checks and its node's; without checks it is passing.

    Maintenance is a critical check of a reserved id (Consul's `AggregatedStatus`). A state that Consul does not have
    counts as critical.
    """
    worst = Health.PASSING
    for check in checks:
        if _is_maintenance(check):
            return Health.MAINTENANCE
        worst = max(worst, _STATUS.get(check.status, Health.CRITICAL))
    return worst


def _is_maintenance(check: Check) -> bool:
    return check.id == _NODE_MAINTENANCE or check.id.startswith(_SERVICE_MAINTENANCE)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry, or a part of one, that is not used. `what` names it as far as it could be read."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """`entries` counts what Consul listed, usable or not. `unjudged` are critical for no other reason than checks that
    have not run, with the health that they would have otherwise."""

    instances: tuple[Instance, ...]
    left_out: tuple[LeftOut, ...]
    entries: int
    unjudged: Mapping[InstanceKey, Health]


@dataclass(frozen=True, slots=True)
class _Read:
    """What was made of one entry."""

    instance: Instance | None
    left_out: tuple[LeftOut, ...] = ()
    otherwise: Health | None = None


class HealthReader:
    """Reads the answers of one service's health query; remembers the last one's entries."""

    def __init__(self, service: str, addresses: AddressPolicy) -> None:
        self._service = service
        self._addresses = addresses
        self._known: dict[bytes, _Read] = {}

    def read(self, body: bytes) -> Parsed:
        """Raises ConsulBadAnswer where the answer as a whole is not a list of entries."""
        try:
            raws = _decode_list(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ConsulBadAnswer(f"not a list of health entries: {error}", f"health of {self._service}") from error
        known: dict[bytes, _Read] = {}
        instances: dict[InstanceKey, Instance] = {}
        unjudged: dict[InstanceKey, Health] = {}
        left_out: list[LeftOut] = []
        for raw in raws:
            text = bytes(raw)
            read = known[text] = self._known.get(text) or self._entry(text)
            left_out.extend(read.left_out)
            instance = read.instance
            if instance is None:
                continue
            if instance.key in instances:
                left_out.append(LeftOut(str(instance.key), "listed twice"))
                continue
            instances[instance.key] = instance
            if read.otherwise is not None:
                unjudged[instance.key] = read.otherwise
        self._known = known
        return Parsed(tuple(instances.values()), tuple(left_out), len(raws), unjudged)

    def _entry(self, text: bytes) -> _Read:
        try:
            entry = _decode_entry(text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return _Read(None, (LeftOut(f"an entry of {self._service}", _printable(str(error))),))
        service, node = entry.service, entry.node
        key = InstanceKey(node.datacenter, node.name, service.id)
        for part in (*key, service.name):
            if not part.isprintable():
                return _Read(None, (LeftOut(_printable(str(key)), "a name with control characters"),))
        if service.name != self._service:
            reason = f"an instance of {service.name[:_SHOWN]!r}, which was not asked for"
            return _Read(None, (LeftOut(str(key), reason),))
        try:
            address = self._addresses.check(service.address or node.address)
        except BadAddress as error:
            shown = _printable(service.address or node.address)
            return _Read(None, (LeftOut(str(key), f"address {shown!r}: {error}"),))
        tags, meta, dropped = _labels(service, str(key))
        weights = service.weights or _Weights()
        checks = entry.checks or ()
        health = health_of(checks)
        otherwise = health_of(check for check in checks if not check.has_not_run)
        instance = Instance(
            key=key,
            service=service.name,
            address=address,
            port=service.port,
            health=health,
            weight_passing=_clamped(weights.passing),
            weight_warning=_clamped(weights.warning),
            tags=frozenset(tags),
            meta=meta,
        )
        return _Read(instance, tuple(dropped), None if otherwise is health else otherwise)


def _labels(service: _Service, key: str) -> tuple[list[str], dict[str, str], list[LeftOut]]:
    """Tags and metadata without those that could break a line where they are shown or copied into a header."""
    tags, meta, dropped = [], {}, []
    for tag in service.tags or ():
        if _one_line(tag):
            tags.append(tag)
        else:
            dropped.append(LeftOut(key, f"tag {_printable(tag)!r} has a line break or NUL"))
    for name, value in (service.meta or {}).items():
        if _one_line(name) and _one_line(value):
            meta[name] = value
        else:
            dropped.append(LeftOut(key, f"metadata {_printable(name)!r} has a line break or NUL"))
    return tags, meta, dropped


def _one_line(text: str) -> bool:
    return not any(char in text for char in "\r\n\0")


def _clamped(weight: int) -> int:
    return max(0, min(MAX_WEIGHT, weight))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:_SHOWN])


def differences(before: Sequence[Instance], after: Sequence[Instance]) -> tuple[list[str], list[str], list[str]]:
    """Keys that came, went and changed, as text for the log."""
    old = {instance.key: instance for instance in before}
    new = {instance.key: instance for instance in after}
    came = [str(key) for key in new if key not in old]
    gone = [str(key) for key in old if key not in new]
    changed = [f"{key} {new[key].health}" for key in new if key in old and new[key] != old[key]]
    return came, gone, changed
