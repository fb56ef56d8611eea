"""What the data plane can be set to, apart from routes and service policies."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

_PSEUDONYM = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")


class Turns(Protocol):
    """What workers know of each other's connections."""

    def write(self, connections: int) -> None:
        """Tells how many this worker has."""

    def least(self) -> int:
        """Of all workers."""


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Durations are seconds, sizes bytes. Raises ValueError for a `gateway_id` that cannot stand in `Via`."""

    gateway_id: str
    """Our pseudonym in `Via` (RFC 9110 §7.6.3): a token, unique to this gateway."""
    host: str = "0.0.0.0"  # noqa: S104  an edge gateway serves everybody
    port: int | None = 8080
    """None serves no plain HTTP."""
    listening_socket: socket.socket | None = None
    """A bound socket to serve instead of `host` and `port`: one that workers or a restart hand on."""
    tls_socket: socket.socket | None = None
    """A bound socket to serve by TLS."""
    turns: Turns | None = None
    """What the workers that share the sockets know of each other; None where nobody shares them."""
    trusted_hops: tuple[IPv4Network | IPv6Network, ...] = ()
    """Peers in these networks are believed when they say for whom they forward, and that a trace is recorded."""
    trace_ratio: float = 0.0
    """Share of the requests of others whose trace is recorded."""

    max_connections: int = 10_000
    """Client connections at once; beyond it the oldest idle one is closed, or the new one where none is idle."""
    max_connections_per_client: int = 0
    """Of one address that is no trusted hop, beyond which its new ones are closed; 0 is no limit."""
    max_in_flight: int = 5_000
    """Requests that wait for a response; beyond it new ones are answered 503 at once."""
    keep_alive: float = 75.0
    """How long an idle client connection is kept."""
    head_timeout: float = 10.0
    """From the first byte of a request's head to its last."""
    write_timeout: float = 30.0
    """How long a client may leave what we send unread."""
    body_grace: float = 5.0
    body_rate: float = 240.0
    """A client that we wait for has to send its body at this many bytes a second, after a grace in seconds."""
    lingering: float = 2.0
    """How long the rest of a refused body is read and dropped, so that the refusal reaches the client."""

    max_line: int = 8190
    max_field: int = 8190
    max_fields: int = 128
    max_head: int = 65536
    max_response_head: int = 262144
    """Of an instance's response, interim ones before it included: cookies of 64 KiB are seen."""
    read_buffer: int = 65536
    """Bytes of a body held between client and upstream before the sender is told to wait (twice it at most)."""

    prompt: bool = True
    """False takes each step that may have to wait in a task, and each body in pieces, as if it had to: for tests."""

    def __post_init__(self) -> None:
        if not _PSEUDONYM.fullmatch(self.gateway_id):
            raise ValueError(f"the gateway's id {self.gateway_id!r} is not a token: it has to stand in Via")
