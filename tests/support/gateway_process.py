"""The gateway under test as its users run it: the command `gateway run` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tests.support import compiled
from tests.support.ports import free_port
from tests.support.processes import spawn

_COMMAND = Path(sys.executable).with_name("gateway")


class GatewayProcess:
    """`consul` are the `CONSUL_*` variables it gets; `settings` (`drain_time="1s"`) are given as `GATEWAY_*`.
    `through` is a command that the gateway's is appended to, and that becomes it."""

    def __init__(
        self, directory: Path, consul: Mapping[str, str], through: Sequence[str | Path] = (), /, **settings: object
    ) -> None:
        self._command = [*through, _COMMAND, "run"]
        self.port = free_port()
        self.admin_port = free_port()
        self._log_path = directory / f"gateway-{self.port}.log"
        given = {
            "listen": f"127.0.0.1:{self.port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "log_format": "json",
            "access_log": "off",
            "drain_time": "200ms",
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "CONSUL_"))}
        self._environment = {
            **kept,
            **compiled.environment(),
            **{f"GATEWAY_{name.upper()}": str(value) for name, value in given.items()},
            **consul,
        }
        token = settings.get("admin_token")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def start(self) -> GatewayProcess:
        with self._log_path.open("ab") as log:
            self._process = spawn(self._command, output=log, env=self._environment)
        return self

    def start_ready(self, within: float = 20.0) -> GatewayProcess:
        self.start()
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.ready():
                return self
            assert self._process is not None
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the gateway was not ready within {within} s:\n{self.log[-4000:]}")

    def ready(self) -> bool:
        try:
            return self.status("/readyz") == 200
        except (URLError, ConnectionError, TimeoutError):
            return False

    def status(self, path: str) -> int:
        try:
            with urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as response:
                status: int = response.status
                return status
        except HTTPError as error:
            with error:
                return error.code

    def text(self, path: str) -> str:
        asked = Request(f"http://127.0.0.1:{self.admin_port}{path}", headers=self._headers)
        with urlopen(asked, timeout=10) as response:
            text: str = response.read().decode()
            return text

    def admin(self, path: str) -> Any:  # noqa: ANN401 - whatever the admin API answers
        return json.loads(self.text(path))

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name whose labels include these."""
        total, found = 0.0, False
        for line in self.text("/metrics").splitlines():
            if line.startswith((name + "{", name + " ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
                found = True
        if not found:
            raise KeyError(f"no sample of {name} with {labels}")
        return total

    def resident(self) -> int:
        """Resident memory of the process in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self) -> int:
        """Open file descriptors of the process."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, within: float = 20.0) -> int:
        assert self._process is not None
        return self._process.wait(within)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        self._process = None


async def eventually(condition: Callable[[], bool], within: float = 10.0, what: str = "") -> float:
    """Waits until `condition()` is true (a blocking call, run in a thread); returns the seconds it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - began > within:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await asyncio.sleep(0.01)
    return time.monotonic() - began
