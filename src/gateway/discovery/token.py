"""A token, from a setting or from a file that is read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

_log = logging.getLogger("gateway.discovery.token")

_Stamp = tuple[int, int, int]


class TokenSource:
    """The token to send with the next request.

    A file is looked at before each request (one `stat`) and read when its inode, time or size changed. A file that is
    away or empty for a moment, as while a secret is rotated, leaves the last token in force.
    """

    def __init__(self, token: str | None, file: Path | None, *, what: str = "Consul token") -> None:
        """`what` it is, in the log."""
        self._what = what
        self._token = token
        self._file = file
        self._stamp: _Stamp | None = None
        self._complaint: str | None = None
        self.generation = 0
        """Grows when the token changes, so that those whom Consul denied know to ask again."""

    def current(self) -> str | None:
        """The token, or None for the anonymous one."""
        if self._file is not None:
            self._look(self._file)
        return self._token

    def _look(self, file: Path) -> None:
        try:
            status = file.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            with file.open(encoding="ascii") as opened:
                token = opened.read(4096).strip()
        except (OSError, UnicodeDecodeError) as error:
            self._complain(f"cannot read the token file {file}: {error}")
            return
        if not token or not token.isprintable():
            self._complain(f"the token file {file} holds no token")
            return
        self._stamp, self._complaint = stamp, None
        if token != self._token:
            self._token = token
            self.generation += 1
            _log.info("took over the %s from its file", self._what, extra={"file": str(file)})

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warning("%s; the last token stays in use", complaint)
