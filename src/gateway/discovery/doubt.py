"""When an answer of Consul that lacks what was there before is not believed yet.

For a moment around restarts and elections Consul answers `200 []` for services that have instances (Consul's issues
4103 and 4554), and an agent that lost its data answers so until everything is registered again. Believed at once, such
an answer takes a whole service away. So what is missing is held for a grace period, but only where there is a reason
to doubt; a healthy watch whose index advances is believed at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from enum import Flag, auto
from typing import Generic, TypeVar

from gateway.core.model import Health, Instance, InstanceKey
from gateway.discovery.transport import Reply

Key = TypeVar("Key")

OLD = 5.0
"""Seconds since the answering server last heard of its leader, from which on its emptiness is doubted."""


class Sign(Flag):
    """A reason to doubt an answer."""

    NONE = 0
    RECONNECTED = auto()
    """The first answer after a failure, or after a start from the disk snapshot."""
    RESET = auto()
    """The index is lower than one seen before: this may be another Consul, or one that lost its data."""
    LEADERLESS = auto()
    """X-Consul-KnownLeader: false."""
    OLD = auto()
    """A high X-Consul-LastContact."""


def signs_of(reply: Reply[bytes]) -> Sign:
    signs = Sign.LEADERLESS if reply.known_leader is False else Sign.NONE
    return signs | Sign.OLD if (reply.last_contact or 0) > OLD else signs


class Doubt(Generic[Key]):
    """Which entries of the last good view are held although the newest answer lacks them.

    After an index reset each entry that has not been seen again is held; for the other signs only an answer that is
    empty altogether is doubted. Each entry has a grace of its own, from the first sign on. One that was seen since is
    known to this Consul: when it goes it is gone, unless another sign comes with it. One whose grace is over is not
    doubted again before it is seen, but for an index reset where it was no reset before, so that no doubt lasts.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._until: dict[Key, float] = {}
        self._reset: set[Key] = set()
        """Those in doubt by a reset."""

    def held(self, before: AbstractSet[Key], present: AbstractSet[Key], signs: Sign, now: float) -> frozenset[Key]:
        """Of `before`, what to keep besides what is `present` in an answer that came at `now` with these `signs`."""
        if signs:
            reset = Sign.RESET in signs
            for key in before:
                if key not in self._until or (reset and key not in self._reset):
                    self._until[key] = now + self._grace
            if reset:
                self._reset |= before
        self._until = {
            key: until
            for key, until in self._until.items()
            if key in before and key not in present and (not present or key in self._reset)
        }
        self._reset &= self._until.keys()
        return frozenset(key for key, until in self._until.items() if now < until)

    def remaining(self, now: float) -> float | None:
        """Seconds until the first of what is held goes, None if nothing is."""
        return min((until - now for until in self._until.values() if now < until), default=None)


class Relapse:
    """For how long after a sign of trouble an instance is not believed to be critical because its checks have not run.

    An agent that was restarted calls each of its checks critical until it has made it again (Consul's agent,
    `loadChecks`), and tells the servers so some time after it answers again: the view is right first, and then one
    instance after another is critical, as long as the checks' interval is. They count as before until they are judged.
    One that fails its first check is so when the grace is over, or its circuit opens: Consul defers a mere output.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._until = float("-inf")
        self._before: dict[InstanceKey, Health] = {}

    def remaining(self, now: float) -> float:
        return max(0.0, self._until - now)

    def healed(
        self,
        before: Mapping[InstanceKey, Instance],
        found: Mapping[InstanceKey, Instance],
        unjudged: Mapping[InstanceKey, Health],
        signs: Sign,
        now: float,
    ) -> dict[InstanceKey, Instance]:
        """Of what was `found`, the instances whose critical health is not believed, with the one that they had.

        `unjudged` are those whose checks have not run, with their health otherwise, which counts if it is worse.
        """
        if now >= self._until:
            self._before = {}
        if signs:
            self._until = now + self._grace
            self._before |= {key: instance.health for key, instance in before.items() if instance.weight}
        return {
            key: replace(found[key], health=max(self._before[key], otherwise))
            for key, otherwise in unjudged.items()
            if key in self._before
        }
