"""Three servers and a client agent: a Consul that survives the loss of one server."""

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from tests.support.consul.admin import ConsulError
from tests.support.consul.agent import READY_WITHIN, ConsulAgent
from tests.support.consul.options import Options, Role
from tests.support.consul.process import ConsulProcess


class Cluster:
    """`size` servers that elect a leader, and client agents that joined them; `client` is the first of these."""

    def __init__(
        self,
        size: int = 3,
        options: Options | None = None,
        make: Callable[[Options], ConsulAgent] = ConsulProcess,
        *,
        clients: int = 1,
    ) -> None:
        shared = replace(options or Options(), token=(options and options.token) or str(uuid.uuid4()), node="")
        self._first = make(replace(shared, role=Role.SERVER, servers=size))
        self._joining = replace(shared, servers=size, join=(self._first.serf_port,))
        others = [make(replace(self._joining, role=Role.SERVER)) for _ in range(size - 1)]
        self.servers: Sequence[ConsulAgent] = [self._first, *others]
        self.clients: Sequence[ConsulAgent] = [make(replace(self._joining, role=Role.CLIENT)) for _ in range(clients)]
        self.client = self.clients[0]

    def start(self) -> None:
        """Start all, and return when each knows a leader. Raises StartFailed."""
        for agent in (*self.servers, *self.clients):
            agent.launch()
        for agent in (*self.servers, *self.clients):
            agent.wait_ready()

    def leader(self) -> ConsulAgent:
        """The server that leads now, as the client agent sees it. Raises LookupError while there is none."""
        address = self.client.admin.leader()
        for server in self.servers:
            if address.endswith(f":{server.server_port}"):
                return server
        raise LookupError("no leader")

    def wait_leader(self, *, other_than: ConsulAgent | None = None, timeout: float = READY_WITHIN) -> ConsulAgent:
        """The server that leads, as soon as one does. Raises LookupError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with suppress(LookupError, ConsulError):
                leader = self.leader()
                if leader is not other_than:
                    return leader
            time.sleep(0.05)
        raise LookupError(f"no leader within {timeout:g} s")

    def close(self) -> None:
        for agent in (*self.clients, *self.servers):
            agent.close()

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
