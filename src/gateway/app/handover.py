"""How a gateway takes over from the one before it, without a connection lost.

The one that runs listens on a Unix socket. The next one asks there for its listening sockets, and gets descriptors of
the very same ones: from then on both may accept. When the next one serves, it says so on the same connection, and the
one before it accepts no more, finishes what it has, and ends. If the next one fails before, nothing has changed.

Both ends are of one user (`SO_PEERCRED`), and the path is for that user alone. What goes over it is one line of JSON
either way: the sockets' names with the descriptors beside it, then `{"serves": <gateway id>}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

TIMEOUT = 5.0
"""Seconds that the one before has to answer."""
_VERSION = 1
_MOST_SOCKETS = 16
_LONGEST = 4096
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

logger = logging.getLogger("gateway.handover")


class HandoverError(Exception):
    """The path cannot be used; the message says why, and what to do."""


class Predecessor:
    """The gateway before us, which serves until it is told that we do."""

    def __init__(self, connection: socket.socket, sockets: Mapping[str, socket.socket]) -> None:
        self._connection = connection
        self._sockets = dict(sockets)

    def take(self, name: str, host: str | None, port: int) -> socket.socket | None:
        """Its listening socket of that name, if it is one of that address; to be closed by the caller."""
        found = self._sockets.get(name)
        if found is None or not _is_bound_to(found, host, port):
            return None
        del self._sockets[name]
        return found

    def release(self, gateway_id: str) -> None:
        """Tells it that we serve, and what our id is."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps({"serves": gateway_id}).encode() + b"\n")
        self.close()

    def close(self) -> None:
        """Wants nothing more of it. May be called more than once."""
        self._connection.close()
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()


def find(path: Path) -> Predecessor | None:
    """The gateway that listens at `path`, if one does. Blocks, for some seconds at most.

    Raises HandoverError where there is something at the path that is not ours.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    try:
        connection.connect(str(path))
        _require_own(connection, path)
        text, descriptors, *_ = socket.recv_fds(connection, _LONGEST, _MOST_SOCKETS)
    except (FileNotFoundError, ConnectionRefusedError):  # nobody has run here, or its end was not in order
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise HandoverError(f"the gateway at {path} does not hand over: {error}; --handover moves the path") from error
    except HandoverError:
        connection.close()
        raise
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    try:
        told = json.loads(text)
        if told["version"] != _VERSION:
            raise ValueError(f"version {told['version']}")
        named = dict(zip(told["sockets"], sockets, strict=True))
    except (ValueError, KeyError, TypeError) as error:
        for each in sockets:
            each.close()
        connection.close()
        why = "is of another version, or busy with another that takes over"
        raise HandoverError(f"the gateway at {path} {why}: stop it first") from error
    for each in sockets:
        each.setblocking(False)
    logger.info("The gateway takes over from the one before.", extra={"pid": told.get("pid"), "sockets": list(named)})
    return Predecessor(connection, named)


class Successors:
    """Waits for the next gateway at a path. To be used in the event loop."""

    def __init__(self, path: Path, sockets: Mapping[str, socket.socket], succeeded: Callable[[str], None]) -> None:
        """`succeeded` is called with the id of a gateway that serves in our place. Raises HandoverError."""
        self._path = path
        self._sockets = sockets
        self._succeeded = succeeded
        self._loop = asyncio.get_running_loop()
        self._listening = _listen(path)
        self._inode = path.stat().st_ino
        self._next: asyncio.Task[None] | None = None
        self._loop.add_reader(self._listening, self._connected)

    def close(self) -> None:
        """May be called more than once."""
        if self._listening.fileno() < 0:
            return
        self._loop.remove_reader(self._listening)
        self._listening.close()
        with contextlib.suppress(OSError):
            # The next one may listen there already.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _connected(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        connection.setblocking(False)
        try:
            _require_own(connection, self._path)
            if self._next is not None:
                raise HandoverError("another gateway takes over already")
            told = {"version": _VERSION, "pid": os.getpid(), "sockets": list(self._sockets)}
            socket.send_fds(connection, [json.dumps(told).encode()], [each.fileno() for each in self._sockets.values()])
        except (OSError, HandoverError) as error:
            logger.warning("The gateway does not hand over.", extra={"error": str(error)})
            with contextlib.suppress(OSError):
                connection.send(b"{}")
            connection.close()
            return
        self._next = self._loop.create_task(self._hear(connection))

    async def _hear(self, connection: socket.socket) -> None:
        """Waits until the next gateway serves, or is gone."""
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LONGEST)
        try:
            said = json.loads(await reader.readline() or b"{}")
        except (OSError, ValueError):
            said = {}
        finally:
            writer.close()
            self._next = None
        if isinstance(said, dict) and isinstance(said.get("serves"), str):
            self._succeeded(said["serves"])
        else:
            logger.warning("A gateway that was to take over has gone; this one serves on.")


def _listen(path: Path) -> socket.socket:
    """Takes the path's place at once, whoever had it: a gateway that runs there has handed over."""
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        before = os.umask(0o177)
        try:
            made.bind(str(beside))
        finally:
            os.umask(before)
        made.listen(1)
        beside.replace(path)
    except OSError as error:
        made.close()
        raise HandoverError(f"{path} cannot be listened at: {error.strerror or error}; --handover moves it") from error
    return made


def _require_own(connection: socket.socket, path: Path) -> None:
    """Raises HandoverError where the other end is of another user."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    if uid != os.geteuid():
        raise HandoverError(f"{path} is of user {uid}, and this gateway runs as {os.geteuid()}; --handover moves it")


def _is_bound_to(listening: socket.socket, host: str | None, port: int) -> bool:
    name = listening.getsockname()
    if name[1] != port:
        return False
    if host is None:
        return name[0] in {"0.0.0.0", "::"}  # noqa: S104 - compared
    with contextlib.suppress(OSError):
        return any(name[0] == address[0] for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return False
