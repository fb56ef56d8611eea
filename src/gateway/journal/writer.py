"""A journal on disk: the events of one core in segments, each of which can be replayed alone.

The newest segment is the file itself, older ones have `.1`, `.2` and so on behind its name. Each begins with a
checkpoint. A thread writes, so that a slow disk never holds the loop; what it has not written yet is bounded. A journal
with a hole cannot be replayed, so where events were lost the journal goes on with a new segment.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO, NamedTuple

from gateway.core.events import Event
from gateway.journal.checkpoint import State
from gateway.journal.lines import encode, encode_checkpoint

_log = logging.getLogger(__name__)

BUFFER_LIMIT = 8 << 20
"""Bytes that may wait for the thread."""
FLUSH_INTERVAL = 0.2
RETRY_INTERVAL = 5.0
"""Seconds until another segment is begun after one could not be written."""
_MODE = 0o600
"""Instances' addresses and metadata are in it."""


class _Chunk(NamedTuple):
    """Lines for the thread, for the segment at hand or for a new one; `last` is the end of the journal."""

    lines: bytes
    begins: bool
    events: int
    last: bool = False


class Journal:
    """Listens to a core's events, and keeps them. Belongs to one event loop."""

    def __init__(self, path: Path, *, segment: int, kept: int) -> None:
        """A segment has about `segment` bytes; `kept` of them are kept, the newest included.

        Raises OSError where the file cannot be made.
        """
        self._path = path
        self._segment = segment
        self._kept = kept
        self.dropped = 0
        """Events that were lost."""
        self._state: Callable[[], State] | None = None
        self._lines: list[bytes] = []
        self._size = 0
        self._waiting = 0
        self._last_seq, self._now = 0, 0.0
        self._begins = False
        self._broken = False
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: SimpleQueue[_Chunk] = SimpleQueue()
        self._closed = asyncio.Event()
        self._file = self._next_file()
        self._loop = asyncio.get_running_loop()
        Thread(target=self._write_out, name="journal", daemon=True).start()

    def begin(self, state: Callable[[], State], now: float) -> None:
        """Tells what takes a checkpoint of the core, before the core's first event."""
        self._state = state
        self._now = now
        self._new_segment()

    def __call__(self, seq: int, event: Event) -> None:
        self._last_seq, self._now = seq, event.now
        if self._broken:
            self.dropped += 1
            return
        line = encode(seq, event)
        self._lines.append(line)
        self._size += len(line) + 1
        self._waiting += len(line) + 1
        if self._waiting > BUFFER_LIMIT:
            self._break()
        elif self._size > self._segment and not self._begins:
            # Not at once: a checkpoint is taken between two steps of the core, and this is amid one.
            self._begins = True
            self._loop.call_soon(self._new_segment)
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_INTERVAL, self._flush)

    async def close(self, limit: float = 2.0) -> None:
        """Writes what is buffered, for at most `limit` seconds. Nothing is kept of what comes afterwards."""
        self._flush(last=True)
        self._broken = True
        try:
            async with asyncio.timeout(limit):
                await self._closed.wait()
        except TimeoutError:
            _log.warning("The journal could not be written to its end.", extra={"path": str(self._path)})

    def _new_segment(self) -> None:
        assert self._state is not None
        self._flush()
        line = encode_checkpoint(self._last_seq, self._now, self._state())
        self._lines.append(line)
        self._size = len(line) + 1
        self._waiting += self._size
        self._begins = self._broken = False
        self._flush(begins=True)

    def _flush(self, begins: bool = False, last: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines or last:
            self._chunks.put(_Chunk(b"".join(line + b"\n" for line in self._lines), begins, len(self._lines), last))
            self._lines = []

    def _break(self) -> None:
        """Leaves a hole, and sees to it that another segment begins behind it."""
        self._broken = True
        self.dropped += len(self._lines)
        self._waiting -= sum(len(line) + 1 for line in self._lines)
        self._lines = []
        self._loop.call_later(RETRY_INTERVAL, self._mend)

    def _mend(self) -> None:
        if self._waiting > BUFFER_LIMIT // 2:
            self._loop.call_later(RETRY_INTERVAL, self._mend)
        else:
            self._new_segment()

    def _written(self, chunk: _Chunk, error: str | None) -> None:
        self._waiting -= len(chunk.lines)
        if error is not None:
            self.dropped += chunk.events - chunk.begins
            if not self._failed:
                _log.warning("The journal cannot be written.", extra={"path": str(self._path), "error": error})
            if not self._broken:
                self._break()
        self._failed = error is not None
        if chunk.last:
            self._closed.set()

    # --- in the thread ---

    def _write_out(self) -> None:
        usable = True
        while True:
            chunk = self._chunks.get()
            problem: str | None = None
            try:
                if chunk.begins:
                    self._file.close()
                    self._file = self._next_file()
                    usable = True
                if usable:
                    _write(self._file, chunk.lines)
                else:
                    problem = "the segment has a hole"
            except OSError as error:
                problem, usable = str(error), False
            try:
                self._loop.call_soon_threadsafe(self._written, chunk, problem)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            if chunk.last:
                self._file.close()
                return

    def _next_file(self) -> BinaryIO:
        """Moves the segments there are by one, and opens the newest."""
        path = self._path
        for number in range(self._kept - 1, 0, -1):
            older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
            if older.is_file():
                older.replace(path.with_name(f"{path.name}.{number}"))
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb", buffering=0)


def _write(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
