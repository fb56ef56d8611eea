"""A Consul agent as a local process."""

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.support.consul.agent import ConsulAgent
from tests.support.consul.binary import consul_binary
from tests.support.consul.options import Options, agent_config
from tests.support.processes import spawn


class ConsulProcess(ConsulAgent):
    """An agent that is a child of this process and never outlives it."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._process: subprocess.Popen[bytes] | None = None
        config = agent_config(
            self.options, self.node, self._ports, self._folder / "data", self.token or "", self._server_tls
        )
        self._config = self._folder / "agent.json"
        self._config.write_text(json.dumps(config))
        self._log = self._folder / "log"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return None if self._process is None or self._ended() else self._process.pid

    def launch(self) -> None:
        command: list[str | Path] = [consul_binary(), *self._arguments, f"-config-file={self._config}"]
        with self._log.open("ab") as output:
            self._process = spawn(command, output=output)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGSTOP)
            # Only when the kernel has stopped all its threads does it answer nobody any more.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def unpause(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _end(self, how: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None
