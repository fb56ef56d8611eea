"""The ports of the demo: each free, and each with the flag that moves it."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from gateway.cli.errors import Failed

CONSUL_DEFAULT = 8500


@dataclass(frozen=True, slots=True)
class Ports:
    edge: int
    admin: int
    sidecar: int
    sidecar_admin: int
    services: int
    consul: int | None


def check(ports: Ports, wanted: dict[int, str]) -> None:
    """`wanted` are the services' ports with their names. Raises Failed for the first that is taken or doubled.

    The services' lowest is the one that the flag names, so it comes before those that follow from it.
    """
    flags = {
        "--port": ports.edge,
        "--admin-port": ports.admin,
        "--sidecar-port": ports.sidecar,
        "--sidecar-admin-port": ports.sidecar_admin,
    }
    if ports.consul is not None:
        flags["--consul-port"] = ports.consul
    seen: dict[int, str] = {}
    for flag, port in [*flags.items(), *(("--services-port", port) for port in sorted(wanted))]:
        if port in seen:
            raise Failed(f"port {port} is wanted twice, by {seen[port]} and {flag}")
        seen[port] = flag
        if not is_free(port):
            what = f" (for {wanted[port]})" if port in wanted else ""
            raise Failed(f"port {port}{what} is taken; {flag} chooses another")


def is_free(port: int) -> bool:
    """On loopback and, as the gateway will listen, on all interfaces."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - a probe, which never listens
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def pick(count: int) -> list[int]:
    """Ports that are free on loopback, for TCP and UDP."""
    held: list[socket.socket] = []
    picked: list[int] = []
    try:
        while len(picked) < count:
            stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(stream)
            stream.bind(("127.0.0.1", 0))
            datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.append(datagram)
            try:
                datagram.bind(stream.getsockname())
            except OSError:
                continue
            picked.append(stream.getsockname()[1])
    finally:
        for one in held:
            one.close()
    return picked
