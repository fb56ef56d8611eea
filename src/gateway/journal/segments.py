"""The files of a journal: the newest under its name, older ones with `.1`, `.2` and so on behind it."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateway.journal.lines import CHECKPOINT

_MODE = 0o600
"""Instances' addresses and metadata are in it."""


class JournalError(Exception):
    """A journal that cannot be begun: which file, and why."""


class JournalBusy(JournalError):
    """Another process writes it."""


class Segments:
    """Writes one file at a time. But for its making it belongs to the thread that writes."""

    def __init__(self, path: Path, kept: int) -> None:
        """`kept` counts the newest. Raises JournalError."""
        self._path = path
        self._kept = kept
        try:
            _require_unused(path)
            self._file = self._next()
        except OSError as error:
            missing = error.errno == errno.ENOENT
            why = f"there is no directory {path.parent}" if missing else error.strerror
            raise JournalError(f"the journal {path} cannot be written: {why}") from error

    def begin(self) -> None:
        """Goes on in a new file. Raises OSError."""
        self._file.close()
        self._file = self._next()

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def close(self) -> None:
        self._file.close()

    def _next(self) -> BinaryIO:
        """Moves the segments there are by one, and opens the newest.

        One without events makes room: neither a gateway that fails at every start nor a disk that stays full may push
        out, segment by segment, what was kept before.
        """
        path = self._path
        if path.is_file():
            if _is_bare(path):
                path.unlink()
            else:
                self._shift()
        # Locked while it is open, for `_require_unused`; where a file system has no locks, it goes without.
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, _MODE), "wb", buffering=0)
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file

    def _shift(self) -> None:
        path = self._path
        for number in range(self._kept - 1, 0, -1):
            older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
            if older.is_file():
                older.replace(path.with_name(f"{path.name}.{number}"))


def _is_bare(path: Path) -> bool:
    """Whether it is empty, or holds a checkpoint and nothing behind it."""
    with path.open("rb") as file:
        first = file.readline()
        return not first or (f'"{CHECKPOINT}"'.encode() in first[:200] and not file.read(1))


def _require_unused(path: Path) -> None:
    """Two gateways that rotate one journal would destroy it."""
    try:
        there = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(there, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        raise JournalBusy(f"the journal {path} is being written by another process") from held
    except OSError:
        pass
    finally:
        os.close(there)
