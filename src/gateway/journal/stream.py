"""Numbers the events of one core, and hands them to whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.core.events import Event

EventListener = Callable[[int, Event], None]


class EventStream:
    """To be given to a core as its `trace`. The first event is number 1."""

    def __init__(self, listeners: Sequence[EventListener]) -> None:
        self._listeners = tuple(listeners)
        self.last = 0
        """The number of the event that was told last."""

    def __call__(self, event: Event) -> None:
        self.last += 1
        for listen in self._listeners:
            listen(self.last, event)
