"""The mirror's content: services and their instances, as Consul said last. Applies views, yields differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mypy_extensions import mypyc_attr

from gateway.core.model import Instance, InstanceKey


@dataclass(frozen=True, slots=True)
class ViewDifference:
    """What one view changed. An instance whose address or port changed is deregistered and registered anew."""

    registered: tuple[Instance, ...] = ()
    deregistered: tuple[Instance, ...] = ()
    changed: tuple[Instance, ...] = ()
    """Same endpoint, other health, weights, tags or metadata."""

    def __bool__(self) -> bool:
        return bool(self.registered or self.deregistered or self.changed)


_NONE: Mapping[InstanceKey, Instance] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class Registry:
    """Services and their instances. A service is known from its first view on, be it empty."""

    def __init__(self) -> None:
        self._services: dict[str, dict[InstanceKey, Instance]] = {}

    def instances(self, service: str) -> Mapping[InstanceKey, Instance]:
        return self._services.get(service, _NONE)

    def services(self) -> Mapping[str, tuple[Instance, ...]]:
        return {name: tuple(instances.values()) for name, instances in self._services.items()}

    def apply(self, service: str, view: Iterable[Instance]) -> ViewDifference:
        """Replaces the service's instances by `view` and returns what that changed."""
        before = self._services.get(service, _NONE)
        after = {instance.key: instance for instance in view}
        registered: list[Instance] = []
        deregistered = [instance for key, instance in before.items() if key not in after]
        changed: list[Instance] = []
        for key, instance in after.items():
            old = before.get(key)
            if old is None:
                registered.append(instance)
            elif old.endpoint != instance.endpoint:
                deregistered.append(old)
                registered.append(instance)
            elif old != instance:
                changed.append(instance)
        self._services[service] = after
        return ViewDifference(tuple(registered), tuple(deregistered), tuple(changed))

    def forget(self, service: str) -> ViewDifference:
        """Drops a service that no route names any more."""
        return ViewDifference(deregistered=tuple(self._services.pop(service, _NONE).values()))
