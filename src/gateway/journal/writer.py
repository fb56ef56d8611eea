"""A journal on disk: the events of one core in segments, each of which can be replayed alone.

Each segment begins with a checkpoint. A thread writes, so that a slow disk never holds the loop; what it has not
written yet is bounded. A journal with a hole cannot be replayed, so where events were lost the journal goes on with a
new segment. What was handed to the thread outlives the process, though not the machine: nothing is synced.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from gateway.core.events import Event
from gateway.journal.checkpoint import State
from gateway.journal.lines import encode, encode_checkpoint
from gateway.journal.segments import Segments

_log = logging.getLogger(__name__)

BUFFER_LIMIT = 8 << 20
"""Bytes that may wait to be written, besides a checkpoint."""
FLUSH_SIZE = 1 << 20
FLUSH_INTERVAL = 0.2
RETRY_INTERVAL = 5.0
"""Seconds until another segment is begun after one could not be written; they double up to a minute."""
_LONGEST_RETRY = 60.0


class _Chunk(NamedTuple):
    """Lines for the thread, for the segment at hand or for a new one; `last` is the end of the journal."""

    lines: bytes
    events: int
    begins: bool = False
    last: bool = False


class Journal:
    """Listens to a core's events, and keeps them. Belongs to one event loop."""

    def __init__(self, path: Path, *, segment: int, kept: int, worker: int = 0) -> None:
        """A segment has about `segment` bytes; `kept` of them are kept, the newest included. `worker` is in each line.

        Raises JournalError where it cannot be begun.
        """
        self._path = path
        self._worker = worker
        self._segment = segment
        self._segments = Segments(path, kept)
        self.dropped = 0
        """Events that were lost."""
        self._state: Callable[[], State] | None = None
        self._lines: list[bytes] = []
        self._pending = 0
        """Bytes in `_lines`."""
        self._waiting = 0
        """Bytes that the thread has not written yet."""
        self._checkpoint = 0
        """Bytes of the segment's checkpoint."""
        self._size = 0
        """Bytes of the segment's events."""
        self._last_seq = 0
        self._hole = self._ended = self._soon = self._told = False
        self._retry = RETRY_INTERVAL
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: SimpleQueue[_Chunk] = SimpleQueue()
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        Thread(target=self._write_out, name="journal", daemon=True).start()

    def begin(self, state: Callable[[], State], after: int = 0) -> None:
        """Tells what takes a checkpoint of the core, before the core's first event, or its first one `after` that."""
        self._state = state
        self._last_seq = after
        self._begin_segment()

    def __call__(self, seq: int, event: Event) -> None:
        self._last_seq = seq
        if self._hole:
            self.dropped += 1
            return
        line = encode(seq, event, self._worker)
        size = len(line) + 1
        self._lines.append(line)
        self._pending += size
        self._size += size
        if self._pending + self._waiting > BUFFER_LIMIT + self._checkpoint:
            self._break("it is not written fast enough")
        elif self._soon:
            return
        elif self._pending > FLUSH_SIZE or self._full():
            # Not at once: a checkpoint is taken between two steps of the core, and this is amid one.
            self._soon = True
            self._loop.call_soon(self._flush)
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_INTERVAL, self._flush)

    async def close(self, limit: float = 2.0) -> None:
        """Writes what is buffered, for at most `limit` seconds. Nothing is kept of what comes afterwards."""
        self._hand_over(last=True)
        self._hole = self._ended = True
        try:
            async with asyncio.timeout(limit):
                await self._closed.wait()
        except TimeoutError:
            _log.warning("The journal could not be written to its end.", extra={"path": str(self._path)})

    def _full(self) -> bool:
        """A segment holds at least as much in events as in its checkpoint, so that a large core is not busy with it."""
        return self._size > max(self._segment, self._checkpoint)

    def _flush(self) -> None:
        self._soon = False
        if self._full() and not self._hole:
            self._begin_segment()
        else:
            self._hand_over()

    def _begin_segment(self) -> None:
        assert self._state is not None
        self._hand_over()
        self._hole = True  # nothing is kept behind a checkpoint that cannot be taken
        with _uncollected():
            line = encode_checkpoint(self._last_seq, self._loop.time(), time.time(), self._state(), self._worker)
        self._hole = False
        self._checkpoint = len(line) + 1
        self._waiting += self._checkpoint
        self._size = 0
        self._chunks.put(_Chunk(line + b"\n", 0, begins=True))

    def _hand_over(self, last: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines or last:
            self._chunks.put(_Chunk(b"".join(line + b"\n" for line in self._lines), len(self._lines), last=last))
            self._waiting += self._pending
            self._lines, self._pending = [], 0

    def _break(self, why: str) -> None:
        """Leaves a hole, and sees to it that another segment begins behind it."""
        self._hole = True
        self.dropped += len(self._lines)
        self._lines, self._pending = [], 0
        if not self._told:
            self._told = True
            _log.warning("The journal loses events.", extra={"path": str(self._path), "error": why})
        self._loop.call_later(self._retry, self._mend)
        self._retry = min(2 * self._retry, _LONGEST_RETRY)

    def _mend(self) -> None:
        if self._ended:
            return
        if self._waiting > BUFFER_LIMIT // 2:
            self._loop.call_later(self._retry, self._mend)
        else:
            self._begin_segment()

    def _written(self, chunk: _Chunk, error: str | None) -> None:
        self._waiting -= len(chunk.lines)
        if error is not None:
            self.dropped += chunk.events
            if not self._hole:
                self._break(error)
        elif chunk.begins:
            self._retry = RETRY_INTERVAL
            if self._told:
                self._told = False
                _log.info("The journal is kept again.", extra={"path": str(self._path), "lost": self.dropped})
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
                    self._segments.begin()
                    usable = True
                if usable:
                    self._segments.write(chunk.lines)
                else:
                    problem = "the segment has a hole"
            except OSError as error:
                problem, usable = error.strerror or str(error), False
            if chunk.last:
                problem = self._close_file() or problem
            try:
                self._loop.call_soon_threadsafe(self._written, chunk, problem)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._close_file()
                return
            if chunk.last:
                return

    def _close_file(self) -> str | None:
        """What was wrong with it; it is closed even so."""
        try:
            self._segments.close()
        except OSError as error:
            return error.strerror or str(error)
        return None


@contextmanager
def _uncollected() -> Iterator[None]:
    """A checkpoint makes many objects that die at once: the collector would look through them for nothing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
