"""The name of an instance's host: which addresses it has now, and whether they may be reached.

Names are checked when they come from Consul, but what they lead to is somebody else's to say, and to change
(decision 25).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

KEPT = 5.0
"""Seconds for which an answer is used again: the system's resolver does not tell for how long it holds."""

CheckAddress = Callable[[str], object]
"""Raises ValueError for an address that is not to be reached, whose message tells why."""
LookUp = Callable[[str], Awaitable[Sequence[str]]]


async def look_up(name: str) -> Sequence[str]:
    """The addresses that the system's resolver knows, by a thread, so that one that hangs holds that alone. Raises
    OSError."""
    answer = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(each[4][0]) for each in answer))


def is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


class HostName:
    """One name, with at most one question about it to the resolver at a time, however many connections wait for it."""

    def __init__(self, name: str, check: CheckAddress, look_up: LookUp = look_up) -> None:
        self._name = name
        self._check = check
        self._look_up = look_up
        self._loop = asyncio.get_running_loop()
        self._found: Sequence[str] = ()
        self._until = 0.0
        self._asking: asyncio.Task[Sequence[str]] | None = None

    async def addresses(self) -> Sequence[str]:
        """In the resolver's order. Raises OSError where there is none, or where one of them is denied."""
        if self._loop.time() < self._until:
            return self._found
        if self._asking is None:
            self._asking = self._loop.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        # Who gives up leaves the question to the others, and to those that come later.
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Sequence[str]:
        found = await self._look_up(self._name)
        try:
            for address in found:
                self._check(address)
        except ValueError as error:
            raise OSError(errno.EACCES, f"{self._name} has an address that is {error}") from None
        return found

    def _asked(self, asking: asyncio.Task[Sequence[str]]) -> None:
        self._asking = None
        if not asking.cancelled() and asking.exception() is None:
            self._found, self._until = asking.result(), self._loop.time() + KEPT
