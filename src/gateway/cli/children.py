"""Child processes that never outlive us: stopped together at the end, and killed by Linux if we are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


class Child:
    """One process; all it prints goes to the file `log`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it."""
        return self._process.poll()

    def last_words(self, lines: int = 12) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """To it and to what it started; nothing happens if they have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, limit: float) -> bool:
        """Whether it ended within `limit` seconds."""
        try:
            self._process.wait(max(0.0, limit))
        except subprocess.TimeoutExpired:
            return False
        return True


class Children:
    """To be used in the main thread: to Linux the parent is the thread that started the child."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.running: list[Child] = []

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """In a process group of its own, so that Ctrl-C at the terminal reaches us alone. Raises OSError."""
        log = self._directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - the demo's own commands
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=self._directory,
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - prctl only, in a process that has one thread
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    def stop(self, limit: float = 8.0) -> None:
        """SIGTERM to the last started first, in the order of dependence; SIGKILL to what is left after `limit` seconds.

        An interruption while it waits kills at once.
        """
        try:
            deadline = time.monotonic() + limit
            for child in reversed(self.running):
                child.signal(signal.SIGTERM)
                child.wait(deadline - time.monotonic())
        finally:
            for child in self.running:
                child.signal(signal.SIGKILL)
                child.wait(5.0)
            self.running.clear()


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return set_signal
