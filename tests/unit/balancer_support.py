"""What the balancing policies pick among, in tests of the policies by themselves; and how leads are carried over."""

from __future__ import annotations

from gateway.core import balancer

TURN = balancer._TURN


class Thing:
    """Something to be picked."""

    def __init__(self, name: str, in_flight: int = 0) -> None:
        self.key = name
        self.in_flight = in_flight


THINGS = [Thing(name) for name in "abcdef"]


def carried(leads: dict[str, int]) -> dict[str, int]:
    """`Carried` of `specs/Balancer.tla`: the leads that the members of `leads` begin with after a change."""
    return level(_cut(leads), sum(leads.values()))


def level(leads: dict[str, int], total: int) -> dict[str, int]:
    """`Level` of the same."""
    each, rest = divmod(total - sum(leads.values()), len(leads))
    return {name: lead + each + (place < rest) for place, (name, lead) in enumerate(leads.items())}


def _cut(leads: dict[str, int]) -> dict[str, int]:
    mean = sum(leads.values()) // len(leads)
    shorter = {name: max(mean - TURN, min(mean + TURN, lead)) for name, lead in leads.items()}
    return leads if shorter == leads else _cut(shorter)
