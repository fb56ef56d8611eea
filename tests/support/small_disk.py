"""A small disk of a process's own: a file system in its own mount namespace. Takes root, or user namespaces."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_MOUNT = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'
_UNSHARE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")


def on_small_disk(folder: Path, size: str) -> Sequence[str | Path]:
    """What to start a command through so that it has a disk of `size` (`2m`) at `folder`, which has to exist."""
    return (*_UNSHARE, "sh", "-c", _MOUNT, size, folder)


def can_mount(folder: Path) -> bool:
    """Whether such a disk can be had here."""
    command = [*on_small_disk(folder, "1m"), "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True, check=False).returncode


def as_seen_by(pid: int, path: Path) -> Path:
    """Where a file of that process's disk is for others."""
    return Path(f"/proc/{pid}/root{path}")


def fill(path: Path) -> None:
    """Writes a file until there is no space left."""
    with path.open("wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(1 << 16)):
                pass
            while ballast.write(bytes(512)):
                pass
        except OSError:
            return
