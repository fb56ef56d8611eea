"""The access log: one JSON line for each request, written by a thread so that a slow disk never holds the loop.

The buffer is bounded; what does not fit is dropped and counted, because a request matters more than its line.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

import msgspec

from gateway.telemetry.text import clean

BUFFER_LIMIT = 4 << 20
"""Bytes kept while the writer is busy."""
LINE_LIMIT = 8192
BATCH = 64
"""Entries that are made and spelled in one go: made one by one between requests, each would take three times as long,
because the processor has forgotten how by then."""
FLUSH_INTERVAL = 0.2
FLUSH_SIZE = 256 << 10
"""Bytes that are handed to the writer before that: often enough to stay small, and seldom enough that it and the loop
do not take turns at the interpreter all the time."""

_log = logging.getLogger(__name__)


class AccessEntry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One request that ended. Times are seconds; fields that are empty are left out of the line."""

    ts: datetime
    method: str
    path: str
    outcome: str
    duration: float
    """In all, until the last byte."""
    client_ip: str
    request_id: str
    trace_id: str | None = None
    ticket: int | None = None
    """Its number in the journal."""
    status: int | None = None
    query: str = ""
    """Redacted, as `headers` are: those that the operator named."""
    headers: Mapping[str, str] = {}
    route: str | None = None
    reason: str | None = None
    service: str | None = None
    """That the instance is of."""
    instance: str | None = None
    view_age: float | None = None
    """Of the view of the service when the instance was picked."""
    attempts: int = 0
    queue: float = 0.0
    """Until there was a place to be sent to, for all attempts together."""
    connect: float | None = None
    """Of the last attempt: until it had a connection; 0 where one was kept."""
    first_byte: float | None = None
    """Of the last attempt: from its beginning until the head of the response had come."""
    bytes_in: int = 0
    bytes_out: int = 0
    identity: str | None = None
    """Who sent it, by what proof."""
    issuer: str | None = None
    """Of the token that says so."""
    detail: str | None = None
    """For people: why a request was refused or an attempt failed."""
    tries: tuple[tuple[str, str, float], ...] = ()
    """Instance, status or failure, and seconds of each attempt, where there were several or one went wrong."""


class AccessLog:
    """Writes entries to standard output (`on`), nowhere (`off`), or to the file at a path, which rotation may move."""

    def __init__(self, target: str, worker: int = 0, lock: int | None = None) -> None:
        """`worker` is told in each line, unless it is 0. Processes that write to the same file or pipe share `lock`, a
        descriptor, so that no line gets into another. Raises OSError if the file can't be opened."""
        self.dropped = 0
        self.enabled = target != "off"
        self._path = None if target in ("on", "off") else Path(target)
        self._file: BinaryIO | None = None
        if self.enabled:
            self._file = sys.stdout.buffer if self._path is None else _open(self._path)
        self._unspelled: list[Callable[[], AccessEntry]] = []
        self._buffer: list[bytes] = []
        self._size = 0
        self._encoder = msgspec.json.Encoder()
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[bytes]]] = SimpleQueue()
        self._writer: Thread | None = None
        self._writing = False
        """Whether the thread has a chunk that it has not told of."""
        self._idle = asyncio.Event()
        """Set while there is nothing to be written."""
        self._idle.set()
        self._failed = False
        self._lock = lock
        self._end = f',"worker":{worker}}}'.encode() if worker else b"}"
        self._torn = False
        """Whether the file ends in a part of a line, behind which there was no room."""

    def write(self, make: Callable[[], AccessEntry]) -> None:
        """Takes what makes an entry, soon; to be called in the event loop."""
        if not self.enabled:
            return
        self._unspelled.append(make)
        if len(self._unspelled) >= BATCH:
            self._spell()
        if self._writing:
            return
        if self._size >= FLUSH_SIZE:
            self._flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_INTERVAL, self._flush)

    def _spell(self) -> None:
        makers, self._unspelled = self._unspelled, []
        for make in makers:
            try:
                self._take(make())
            except Exception:  # noqa: BLE001  logged with its traceback
                # What happens here is no request's fault, and no other line's.
                self.dropped += 1
                _log.exception("A line of the access log could not be made.")

    def _take(self, entry: AccessEntry) -> None:
        if self._size >= BUFFER_LIMIT:
            self.dropped += 1
            return
        try:
            line = self._encoder.encode(entry)
        except UnicodeEncodeError:
            line = b"\\"
        if not line.isascii() or b"\\" in line or len(line) > LINE_LIMIT:
            line = self._encoder.encode(_cleaned(entry))
        line = line[:-1] + self._end
        self._buffer.append(line)
        self._size += len(line) + 1

    async def close(self, limit: float = 2.0) -> None:
        """Writes what is buffered, for at most `limit` seconds."""
        self.enabled = False
        if not self._writing:
            self._flush()
        try:
            async with asyncio.timeout(limit):
                await self._idle.wait()
        except TimeoutError:
            self.dropped += len(self._buffer) + len(self._unspelled)
            self._unspelled.clear()
            self._buffer.clear()
            return
        if self._path is not None and self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._spell()
        if not self._buffer:
            self._idle.set()
            return
        if self._writer is None:
            # A daemon: a reader of standard output that hangs must not keep the process from ending.
            self._writer = Thread(target=self._write_out, name="access-log", daemon=True)
            self._writer.start()
        self._idle.clear()
        self._writing = True
        self._chunks.put((asyncio.get_running_loop(), self._buffer))
        self._buffer, self._size = [], 0

    def _written(self, lost: int, error: str | None) -> None:
        self.dropped += lost
        if error is not None and not self._failed:
            _log.warning("The access log cannot be written.", extra={"error": error})
        self._failed = error is not None
        self._spell()
        self._writing = False
        if self._size >= FLUSH_SIZE or (self._buffer and not self.enabled):
            self._flush()
        elif self._buffer:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_INTERVAL, self._flush)
        else:
            self._idle.set()

    def _write_out(self) -> None:
        while True:
            loop, lines = self._chunks.get()
            lost, problem = 0, None
            try:
                self._append(b"\n".join([*lines, b""]))
            except (OSError, ValueError) as error:
                lost, problem = len(lines), str(error)
            try:
                loop.call_soon_threadsafe(self._written, lost, problem)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _append(self, chunk: bytes) -> None:
        if self._path is not None and self._moved(self._path):
            if self._file is not None:
                self._file.close()
            self._file = _open(self._path)
            self._torn = False
        assert self._file is not None
        if self._lock is not None:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            self._append_all(self._file, chunk)
        finally:
            if self._lock is not None:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _append_all(self, file: BinaryIO, chunk: bytes) -> None:
        rest = memoryview(b"\n" + chunk if self._torn else chunk)
        while rest:
            if count := file.write(rest) or 0:
                self._torn = rest[count - 1] != ord("\n")
            rest = rest[count:]
        file.flush()

    def _moved(self, path: Path) -> bool:
        assert self._file is not None
        if self._file.closed:
            return True
        try:
            there, here = path.stat(), os.fstat(self._file.fileno())
        except FileNotFoundError:
            return True
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)


def _open(path: Path) -> BinaryIO:
    return path.open("ab", buffering=0)


def _cleaned(entry: AccessEntry) -> AccessEntry:
    changes = {name: clean(value) for name in entry.__struct_fields__ if isinstance(value := getattr(entry, name), str)}
    tries = tuple(
        (clean(instance, 256), clean(result, 64), duration) for instance, result, duration in entry.tries[:16]
    )
    headers = {name: clean(value, 512) for name, value in entry.headers.items()}
    return msgspec.structs.replace(entry, tries=tries, headers=headers, **changes)
