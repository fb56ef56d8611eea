"""Which losses a fault may cause, and which none may."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from tests.support.mixed_load import Kind, Loss


@dataclass
class Window:
    """When a fault was, until all had recovered from it, and which kinds of request it may cost."""

    fault: str
    may_cost: Collection[Kind]
    since: float
    until: float | None = None


class Ledger:
    def __init__(self) -> None:
        self._windows: list[Window] = []
        self.allowed: Counter[tuple[str, Kind]] = Counter()
        self.forbidden: list[tuple[str, Loss]] = []
        """With the fault that was under way."""

    def begin(self, fault: str, may_cost: Collection[Kind]) -> Window:
        window = Window(fault, may_cost, time.monotonic())
        self._windows.append(window)
        return window

    @property
    def current(self) -> str:
        """The fault that is under way."""
        return self._windows[-1].fault if self._windows and self._windows[-1].until is None else ""

    def lose(self, loss: Loss) -> None:
        """A loss is a fault's if the request was under way during it."""
        during = [each for each in self._windows if each.until is None or each.until >= loss.began]
        for window in during:
            if loss.kind in window.may_cost:
                self.allowed[window.fault, loss.kind] += 1
                return
        self.forbidden.append((during[-1].fault if during else "no fault", loss))
