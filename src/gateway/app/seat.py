"""Which of several workers one is."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.proxy.options import Turns


@dataclass(frozen=True, slots=True)
class Seat:
    """Numbers begin with 1. `output_lock` is a descriptor that all of them hold."""

    number: int
    turns: Turns
    output_lock: int
