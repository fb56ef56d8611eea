"""The Docker engine: whether one answers, and an image of the very Consul binary that the process variant runs."""

import hashlib
import io
import os
import re
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.consul.binary import consul_binary

if TYPE_CHECKING:
    from docker import DockerClient

# Read by testcontainers when it is first imported: its reaper image may be out of reach, its bridge addresses may have
# no route, and its one-second polling would be most of a container's start.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
os.environ.setdefault("TC_POOLING_INTERVAL", "0.05")

OWNER_LABEL = "alims-gateway.tests.pid"
_REPOSITORY = "alims-gateway/consul-test"


@cache
def client() -> "DockerClient":
    """The SDK's client. Raises docker.errors.DockerException without an engine."""
    import docker

    return docker.from_env(timeout=30)


@cache
def engine_reason() -> str | None:
    """Why no container can be started here, or None where an engine answers."""
    import docker.errors
    import requests

    try:
        client().ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        return f"no Docker engine answers: {error}"
    _sweep()
    return None


def engine_required() -> bool:
    """Whether a missing engine is a failure (in CI) rather than a skip."""
    return bool(os.environ.get("CI") or os.environ.get("GATEWAY_REQUIRE_DOCKER"))


@cache
def consul_image() -> str:
    """Name of an image that holds the binary and its libraries and nothing else, made when it is missing."""
    binary = consul_binary()
    with binary.open("rb") as file:
        name = f"{_REPOSITORY}:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    if not client().images.list(name):
        repository, tag = name.split(":")
        client().api.import_image_from_data(
            _root_filesystem(binary), repository=repository, tag=tag, changes=['ENTRYPOINT ["/bin/consul"]']
        )
    return name


def _root_filesystem(binary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(binary.resolve(), "bin/consul")
        for library in _libraries(binary):
            tar.add(library.resolve(), str(library).lstrip("/"))
        for folder in ("tmp", "data"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
    return buffer.getvalue()


def _libraries(binary: Path) -> list[Path]:
    listed = subprocess.run(["ldd", binary], check=False, capture_output=True, text=True)
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", listed.stdout)]


def _sweep() -> None:
    """Remove what a killed test run left; runs that still live keep theirs."""
    for container in client().containers.list(all=True, filters={"label": OWNER_LABEL}):
        if not Path(f"/proc/{container.labels[OWNER_LABEL]}").exists():
            container.remove(force=True, v=True)
