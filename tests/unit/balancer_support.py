"""What the balancing policies pick among, in tests of the policies by themselves."""

from __future__ import annotations


class Thing:
    """Something to be picked."""

    def __init__(self, name: str, in_flight: int = 0) -> None:
        self.key = name
        self.in_flight = in_flight


THINGS = [Thing(name) for name in "abcdef"]
