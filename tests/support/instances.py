"""Instances of services as processes that tests start, question, hang and kill."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypedDict
from urllib.request import Request, urlopen

from tests.support.ports import free_port
from tests.support.processes import spawn

_ROOT = Path(__file__).parents[2]


class Stats(TypedDict):
    instance: str
    count: int
    running: int
    most_at_once: int
    last_began: float


class InstanceProcess:
    """One `tests.support.instance_server`; its port stays the same over a kill and a restart."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.name = name
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> InstanceProcess:
        command = [sys.executable, "-m", "tests.support.instance_server", self.name, str(self.port)]
        self._process = spawn(command, cwd=_ROOT, output=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"instance {self.name} did not start on port {self.port}")
        return self

    def kill(self) -> None:
        """SIGKILL: connections are reset, the port refuses."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def stats(self) -> Stats:
        stats: Stats = json.loads(self._control("GET", "stats"))
        return stats

    def mode(self, *, answer: str | None = None, delay: float | None = None) -> None:
        asked = [f"answer={answer}"] * (answer is not None) + [f"delay={delay}"] * (delay is not None)
        self._control("POST", "mode?" + "&".join(asked))

    def _control(self, method: str, what: str) -> bytes:
        request = Request(f"http://127.0.0.1:{self.port}/_control/{what}", method=method)
        with urlopen(request, timeout=5) as response:
            body: bytes = response.read()
            return body

    async def mode_async(self, *, answer: str | None = None, delay: float | None = None) -> None:
        await asyncio.to_thread(self.mode, answer=answer, delay=delay)
