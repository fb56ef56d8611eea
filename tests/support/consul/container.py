"""A Consul agent as a container, by testcontainers."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.consul.agent import ConsulAgent
from tests.support.consul.engine import OWNER_LABEL, consul_image
from tests.support.consul.options import Options, agent_config

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer


class ConsulContainer(ConsulAgent):
    """An agent in a container on the host's network, so that it listens on loopback and checks services there."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._container: DockerContainer | None = None
        config = agent_config(self.options, self.node, self._ports, Path("/data"), self.token or "", self._server_tls)
        (self._folder / "agent.json").write_text(json.dumps(config))

    def launch(self) -> None:
        if self._container:
            self._container.get_wrapped_container().start()
            return
        from testcontainers.core.container import DockerContainer

        self._container = (
            DockerContainer(consul_image())
            .with_command([*self._arguments, f"-config-file={self._folder}/agent.json"])
            .with_volume_mapping(self._folder, str(self._folder))
            .with_kwargs(network_mode="host", labels={OWNER_LABEL: str(os.getpid())})
        )
        self._container.start()

    def stop(self) -> None:
        if self._container:
            self._container.get_wrapped_container().stop(timeout=20)

    def kill(self) -> None:
        if self._container and not self._ended():
            self._container.get_wrapped_container().kill("SIGKILL")
            self._container.get_wrapped_container().wait(timeout=20)

    def pause(self) -> None:
        if self._container:
            self._container.get_wrapped_container().pause()

    def unpause(self) -> None:
        if self._container:
            self._container.get_wrapped_container().unpause()

    def log(self) -> str:
        if self._container is None:
            return ""
        return b"".join(self._container.get_logs()).decode(errors="replace")

    def close(self) -> None:
        if self._container:
            self._container.stop()
            self._container = None
        super().close()

    def _ended(self) -> bool:
        if self._container is None:
            return True
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return wrapped.status in ("exited", "dead")
