"""The instances of one service as the mirror holds them: what Consul says, less what is doubted or hidden from us."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.core.model import Instance, InstanceKey
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.doubt import Doubt, Relapse, Sign
from gateway.discovery.health import HealthReader, LeftOut, differences
from gateway.discovery.permissions import DENIED_RECHECK, Authority, SecondSight, hidden_instances
from gateway.discovery.transport import Reply
from gateway.discovery.watch import Taken

_log = logging.getLogger("gateway.discovery.mirror")


class HealthSource(Authority, Protocol):
    async def health_service(self, service: str, index: int | None = None, wait: float = 0) -> Reply[bytes]: ...


class ServiceView:
    """A watch's subject. `publish` is called with all instances whenever they change, and once at first."""

    def __init__(
        self,
        service: str,
        source: HealthSource,
        addresses: AddressPolicy,
        grace: float,
        clock: Callable[[], float],
        publish: Callable[[str, Sequence[Instance]], None],
    ) -> None:
        self.service = service
        self._source = source
        self._reader = HealthReader(service, addresses)
        self._doubt: Doubt[InstanceKey] = Doubt(grace)
        self._relapse = Relapse(grace)
        self._clock = clock
        self._publish = publish
        self._instances: dict[InstanceKey, Instance] | None = None
        self._left_out: frozenset[LeftOut] = frozenset()
        self._sight: SecondSight[InstanceKey] = SecondSight()
        self._denied = False

    @property
    def instances(self) -> tuple[Instance, ...]:
        return tuple((self._instances or {}).values())

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(key.node for key in self._instances or ())

    def load(self, instances: Sequence[Instance]) -> None:
        """Take what the disk snapshot holds."""
        self._replace({instance.key: instance for instance in instances})

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        return await self._source.health_service(self.service, index, wait)

    async def take(self, reply: Reply[bytes], signs: Sign) -> Taken:
        parsed = self._reader.read(reply.data)
        self._tell_left_out(parsed.left_out)
        found = {instance.key: instance for instance in parsed.instances}
        before = self._instances or {}
        missing = frozenset(before.keys() - found.keys())
        hidden: frozenset[InstanceKey] | None = frozenset()
        if missing or not parsed.entries or reply.filtered_by_acls:
            hidden = await hidden_instances(self._source, self.service, missing, filtered=reply.filtered_by_acls)
        now = self._clock()
        held = self._doubt.held(before.keys(), found.keys(), signs, now)
        healed = self._relapse.healed(before, found, parsed.unjudged, signs, now)
        kept = held | (missing if hidden is None else hidden)
        unsure = self._sight.unsure(missing - kept)
        kept |= unsure
        changed = self._replace({key: before[key] for key in before if key in kept} | found | healed)
        was_denied, self._denied = self._denied, hidden is None or bool(hidden) or reply.filtered_by_acls
        if self._denied:
            error = f"the token may not read service {self.service}, or the nodes of its instances"
            taken = Taken("denied", changed, recheck=DENIED_RECHECK, error=error)
        elif held or healed:
            doubtful = len(held) + len(healed)
            error = f"{doubtful} of {len(before)} instances are missing, or critical by checks that have not run"
            recheck = self._doubt.remaining(now) if held else self._relapse.remaining(now)
            taken = Taken("doubted", changed, recheck=recheck, error=error)
        elif unsure and was_denied:
            taken = Taken("denied", changed, error="permitted again, reading afresh")
        else:
            taken = Taken("live", changed, empty=not parsed.entries)
        return replace(taken, recheck=0 if unsure else taken.recheck, left_out=len(parsed.left_out))

    def _replace(self, instances: dict[InstanceKey, Instance]) -> bool:
        """Whether anything changed."""
        first, before = self._instances is None, self.instances
        if not first and instances == self._instances:
            return False
        self._instances = instances
        came, gone, changed = differences(before, self.instances)
        if came or gone or changed:
            lists = {"registered": came, "deregistered": gone, "changed": changed}
            told = {name: names for name, names in lists.items() if names}
            _log.info("service %s: %d instances", self.service, len(instances), extra={"service": self.service, **told})
        self._publish(self.service, self.instances)
        return not first or bool(instances)

    def _tell_left_out(self, left_out: Sequence[LeftOut]) -> None:
        """Each problem is logged when it appears, not with each answer."""
        now = frozenset(left_out)
        for item in sorted(now - self._left_out, key=str)[:20]:
            told = {"service": self.service, "entry": item.what, "reason": item.reason}
            _log.warning("service %s: left out %s: %s", self.service, item.what, item.reason, extra=told)
        self._left_out = now
