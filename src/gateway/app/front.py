"""Where requests are served: here, or by workers."""

from __future__ import annotations

from typing import Protocol

from gateway.app.figures import Figures
from gateway.app.in_force import Taker
from gateway.proxy.listener import Drained


class Front(Taker, Protocol):
    """Serves by what it takes, from `start` on."""

    async def open(self) -> None:
        """Makes all that is needed but requests. Raises JournalError or OSError where a file cannot be had."""

    async def start(self) -> None:
        """Takes requests from now on. Raises ListenError."""

    @property
    def able(self) -> bool:
        """Whether requests are served; asked for once it has started."""

    async def drain(self, linger: float, limit: float, *, accepting: bool) -> Drained:
        """As `Listener.drain`."""

    async def close(self) -> None:
        """Cuts off what is in flight, and ends."""

    async def figures(self) -> Figures:
        """As they are now."""
