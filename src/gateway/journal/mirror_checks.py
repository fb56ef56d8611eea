"""What the monitor holds against the mirror: it changes by delivery alone, into what was delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from gateway.core.events import Values
from gateway.core.model import Health, Instance
from gateway.journal.account import HEALTHS, Account, Member, Name, Place, name_of, shown
from gateway.journal.properties import Property, Say

_Entry = tuple[Health, tuple[int, int], frozenset[str], Mapping[str, str]]


class MirrorChecks:
    def __init__(self, account: Account, say: Say) -> None:
        self._account = account
        self._say = say
        self._delivered: tuple[str, Sequence[Instance]] | None = None
        """The view of the call at hand."""

    def delivers(self, inputs: Values) -> None:
        self._delivered = str(inputs["service"]), cast(Sequence[Instance], inputs.get("instances", ()))

    def call_is_over(self) -> None:
        if self._delivered is None:
            return
        (service, view), self._delivered = self._delivered, None
        wanted = {str(each.key): _as_delivered(each) for each in view}
        held = {name: _as_held(member) for name, member in self._account.members(service).items()}
        if wanted != held:
            differs = sorted(name for name in wanted.keys() | held.keys() if wanted.get(name) != held.get(name))
            self._say(
                Property.REGISTRY_CONSISTENCY,
                f"the mirror of {service} is not the view that was delivered: {', '.join(differs)}",
            )

    def registers(self, decision: Values) -> None:
        name = name_of(decision)
        self._changes(name)
        if self._account.member(name) is not None:
            self._say(Property.VALID_SERVICE_STATES, f"{shown(name)} was registered twice")
        place = (*name, decision["address"], decision["port"])
        self._account.register(Member(name, place, *self._entry(decision)))

    def deregisters(self, decision: Values) -> None:
        name = name_of(decision)
        self._changes(name)
        if self._account.deregister(name) is None:
            self._say(Property.VALID_SERVICE_STATES, f"{shown(name)} was deregistered, but is not in the mirror")

    def updates(self, decision: Values) -> None:
        name = name_of(decision)
        self._changes(name)
        member = self._account.member(name)
        if member is None:
            self._say(Property.VALID_SERVICE_STATES, f"{shown(name)} changed, but is not in the mirror")
        else:
            member.health, member.weights, member.tags, member.meta = self._entry(decision)

    def _changes(self, name: Name) -> None:
        if self._delivered is None or self._delivered[0] != name[0]:
            self._say(Property.REGISTRY_CONSISTENCY, f"{shown(name)} changed, but no view of {name[0]} was delivered")

    def _entry(self, decision: Values) -> _Entry:
        health = HEALTHS.get(str(decision["health"]))
        if health is None:
            self._say(Property.VALID_SERVICE_STATES, f"{decision['instance']} has the health {decision['health']!r}")
            health = Health.CRITICAL
        tags, meta = cast(Sequence[str], decision["tags"]), cast(Mapping[str, str], decision["meta"])
        return health, cast(tuple[int, int], decision["weights"]), frozenset(tags), meta


_Held = tuple[_Entry, Place]


def _as_delivered(each: Instance) -> _Held:
    return (each.health, (each.weight_passing, each.weight_warning), each.tags, each.meta), each.endpoint


def _as_held(member: Member) -> _Held:
    return (member.health, member.weights, member.tags, member.meta), member.place[2:]
