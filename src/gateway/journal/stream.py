"""Numbers the events of one core, and hands them to whoever listens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gateway.core.events import Event

EventListener = Callable[[int, Event], None]

FAILED = "A listener to the core's events failed; it is told no more of them."

_log = logging.getLogger(__name__)


class EventStream:
    """To be given to a core as its `trace`. The first event is number 1."""

    def __init__(self, listeners: Sequence[EventListener]) -> None:
        self._listeners = tuple(listeners)
        self.last = 0
        """The number of the event that was told last."""
        self.failed = 0
        """Listeners that were given up."""

    def add(self, listener: EventListener) -> None:
        """From now on tells it as well; to be called between two steps of the core."""
        self._listeners = (*self._listeners, listener)

    def __call__(self, event: Event) -> None:
        self.last += 1
        for listen in self._listeners:
            try:
                listen(self.last, event)
            except Exception:  # noqa: BLE001 - the core is amid a step, which has to go on
                _log.exception(FAILED, extra={"listener": type(listen).__name__, "event": self.last})
                self.failed += 1
                self._listeners = tuple(each for each in self._listeners if each is not listen)
