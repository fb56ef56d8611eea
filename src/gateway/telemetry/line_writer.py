"""A log handler whose stream may hang: a thread writes, so that nobody who has something to say waits for long."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from typing import TextIO

BUFFER_LIMIT = 1 << 20
"""Characters that may wait to be written; lines beyond it are dropped, and the next one that is written says so."""
PATIENCE = 0.2
"""Seconds that a line is waited for, so that lines keep their place among what others write to the same stream. While
one before it is still being written, it is not waited for at all."""
_FLUSH_LIMIT = 2.0


class LineWriter(logging.Handler):
    """Writes each record as a line, in order. What a stream refuses, such as one of a full disk, is lost."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._write = _writer(stream)
        self._lines: deque[str] = deque()
        """Waiting, the one that is being written included."""
        self._size = 0
        self._lost = 0
        self._changed = Condition()
        self._thread: Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
            return
        with self._changed:
            if self._size > BUFFER_LIMIT:
                self._lost += 1
                return
            behind = bool(self._lines)
            self._put(line)
            if not behind:
                self._changed.wait_for(lambda: not self._lines, PATIENCE)

    def flush(self) -> None:
        """Waits until all is written, for two seconds at most. The standard library calls it at the end."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, _FLUSH_LIMIT)

    def _put(self, line: str) -> None:
        if self._thread is None:
            # A daemon: a reader that hangs must not keep the process from ending.
            self._thread = Thread(target=self._write_out, name="log", daemon=True)
            self._thread.start()
        self._lines.append(line)
        self._size += len(line)
        self._changed.notify_all()

    def _write_out(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines))
                line = self._lines[0]
            with suppress(OSError, ValueError):  # there is nobody left to tell
                self._write(line)
            with self._changed:
                self._lines.popleft()
                self._size -= len(line)
                if self._lost and not self._lines:
                    lost, self._lost = self._lost, 0
                    self._told_of_loss(lost)
                self._changed.notify_all()

    def _told_of_loss(self, lost: int) -> None:
        fields = {
            "name": "gateway.log",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "Lines of the log were lost, because nobody took them.",
            "lines": lost,
        }
        self._put(self.format(logging.makeLogRecord(fields)) + "\n")


def _writer(stream: TextIO) -> Callable[[str], object]:
    """Past the stream's own buffer, whose lock a thread that hangs would hold over the end of the process."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # made of memory
        return stream.write

    def write(line: str) -> None:
        rest = memoryview(line.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return write
