"""Child processes that never outlive the test run."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

_WRAPPER = Path(__file__).with_name("die_with_parent.py")

# The kernel's "parent" is the thread that forked. A worker thread of an event loop ends with its loop and would take
# the child along, so all children are started by this one thread, which ends with the process.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")


def spawn(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, stdout and stderr into `output` (a file or subprocess.PIPE).

    The process has the pid of the returned Popen, so signals reach it; SIGKILL reaches it when this process ends.
    """
    wrapped = [sys.executable, "-IS", str(_WRAPPER), str(os.getpid()), *map(str, command)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            wrapped,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )

    return _spawner.submit(start).result()
