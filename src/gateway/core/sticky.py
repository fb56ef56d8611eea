"""Clients that stay where they are: by a cookie that names an instance, or by a header of their own.

A cookie's value is a keyed hash of the instance's identity: nobody without the key can read it or make one up, and it
needs no memory. For a header, instances are ranked anew for each value (weighted rendezvous hashing, Thaler and
Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005), so that one that leaves moves its own clients alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import log

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, Sticky, StickyOn

_TAG_BYTES = 16
_HASHES = 1 << 64

Tag = Callable[[Instance], str]


def tagger(key: bytes) -> Tag:
    """What cookies say for an instance: the same at every gateway with this key. A key has up to 64 bytes."""

    def tag(instance: Instance) -> str:
        named = "\0".join((instance.service, *instance.key))
        return blake2b(named.encode(), key=key, digest_size=_TAG_BYTES).hexdigest()

    return tag


def value_of(sticky: Sticky, facts: RequestFacts) -> str | None:
    """What the request has to say; None where it says nothing."""
    if sticky.on is StickyOn.COOKIE:
        return facts.cookie(sticky.name)
    values = facts.header_values(sticky.name)
    return values[0] if values else None


def score(value: str, instance: Instance, share: float) -> float:
    """How far an instance is from a value; the nearest takes it. Over many values each takes its `share` of them."""
    named = "\0".join((value, instance.service, *instance.key))
    drawn = int.from_bytes(blake2b(named.encode(errors="surrogateescape"), digest_size=8).digest(), "big")
    return -log((drawn + 1) / (_HASHES + 1)) / share


def total_weight(instances: Iterable[Instance]) -> int:
    return sum(map(weight, instances))


def weight(instance: Instance) -> int:
    """At least 1: in a panic those without a weight serve, too."""
    return instance.weight or 1
