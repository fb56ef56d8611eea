"""One Consul agent, whatever runs it."""

import secrets
import shutil
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from tests.support.consul.admin import Admin, ConsulError
from tests.support.consul.options import Options, Ports, Role
from tests.support.consul.tls import Authority, TlsFiles

READY_WITHIN = 30.0
"""Seconds an agent gets to have a leader; one to two are usual on an idle machine."""


class StartFailed(Exception):
    """The agent ended or found no leader; the message carries the end of its log."""


class ConsulAgent(ABC):
    """A real agent on loopback ports that it keeps over restarts; a `with` block starts it and removes it.

    All methods block; in an async test that must go on meanwhile, call them by asyncio.to_thread.
    """

    node: str
    http_addr: str
    """http://127.0.0.1:port, or https."""
    tls: TlsFiles | None
    """What a client needs to be let in under TLS."""
    token: str | None
    """The management token under ACLs."""
    admin: Admin
    """Calls to this agent with its management token."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.node = self.options.node or f"node-{secrets.token_hex(4)}"
        self._ports = Ports()
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-consul-"))
        self._server_tls: TlsFiles | None = None
        self.tls = None
        if self.options.tls:
            authority = Authority(self._folder)
            self._server_tls = authority.issue("consul", "localhost", "127.0.0.1")
            self.tls = authority.issue("client", "client")
        self.token = (self.options.token or str(uuid.uuid4())) if self.options.acl else None
        self.http_port = self._ports.http
        self.serf_port = self._ports.serf
        self.server_port = self._ports.server
        self.http_addr = f"{'https' if self.options.tls else 'http'}://127.0.0.1:{self.http_port}"
        self.admin = Admin(self.http_addr, self.token, self.tls)

    @property
    def environment(self) -> Mapping[str, str]:
        """The CONSUL_* variables that lead a client to this agent."""
        variables = {"CONSUL_HTTP_ADDR": self.http_addr}
        if self.token:
            variables["CONSUL_HTTP_TOKEN"] = self.token
        if self.tls:
            variables["CONSUL_CACERT"] = str(self.tls.ca)
            variables["CONSUL_CLIENT_CERT"] = str(self.tls.cert)
            variables["CONSUL_CLIENT_KEY"] = str(self.tls.key)
        return variables

    def start(self) -> None:
        """Start, and return when there is a leader that knows this node. Raises StartFailed."""
        self.launch()
        self.wait_ready()

    @abstractmethod
    def launch(self) -> None:
        """Start without waiting, so that the servers of a cluster come up together."""

    @abstractmethod
    def stop(self) -> None:
        """End in good order (SIGTERM); data stay."""

    @abstractmethod
    def kill(self) -> None:
        """End at once (SIGKILL), paused or not; data stay."""

    @abstractmethod
    def pause(self) -> None:
        """Hang: ports accept, and nothing answers."""

    @abstractmethod
    def unpause(self) -> None: ...

    @abstractmethod
    def log(self) -> str:
        """What the agent wrote so far."""

    @abstractmethod
    def _ended(self) -> bool: ...

    def restart(self) -> None:
        """Kill, then start."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Kill and remove everything, data too."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_ready(self, timeout: float = READY_WITHIN) -> None:
        """Return when there is a leader that knows this node. Raises StartFailed after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._ready():
            ended = self._ended()
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"was not ready after {timeout:.0f} s"
                raise StartFailed(f"Consul {self.node} {what}:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        # A leader alone is too early: under ACLs the token may not exist yet, and instances of a node that the catalog
        # does not know yet are registered late.
        try:
            if not self.admin.leader():
                return False
            known = self.admin.read(f"catalog/node/{self.node}")
        except ConsulError:
            return False
        return bool(known and cast(Mapping[str, object], known).get("Node"))

    @property
    def _arguments(self) -> list[str]:
        return ["agent", *(["-dev"] if self.options.role is Role.DEV else [])]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
