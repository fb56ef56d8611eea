"""What a test asks of an agent, and the agent configuration that answers it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.support.consul.admin import Json
from tests.support.consul.tls import TlsFiles
from tests.support.ports import free_port


class Role(Enum):
    """How an agent keeps its data."""

    DEV = "dev"
    """One server in memory, up in a fifth of a second; a restart loses everything and the index falls."""
    SERVER = "server"
    """A server with a data directory, up in one to two seconds; a restart finds what was there."""
    CLIENT = "client"
    """An agent that forwards to the servers it joins."""


@dataclass(frozen=True, slots=True)
class Options:
    """One agent. The defaults give a dev agent without ACLs and TLS."""

    role: Role = Role.DEV
    acl: bool = False
    """ACLs with default deny; the agent's `token` then manages everything."""
    tls: bool = False
    """HTTPS only, client certificates demanded."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Consul's `limits`, such as `http_max_conns_per_client`."""
    extra: Mapping[str, Json] = field(default_factory=dict)
    """More agent configuration, merged over ours, mappings one level deep."""
    node: str = ""
    """Node name; empty makes one up."""
    servers: int = 1
    """How many servers elect the first leader."""
    join: tuple[int, ...] = ()
    """Serf ports of the agents to join."""
    token: str = ""
    """The management token under `acl`; empty makes one up."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of one agent; they stay the same over restarts."""

    http: int = field(default_factory=free_port)
    serf: int = field(default_factory=free_port)
    server: int = field(default_factory=free_port)


def agent_config(
    options: Options, node: str, ports: Ports, data: Path, token: str, tls: TlsFiles | None
) -> dict[str, Json]:
    """The configuration file of an agent; everything listens on 127.0.0.1 only."""
    config: dict[str, Json] = {
        "node_name": node,
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "disable_update_check": True,
        "disable_host_node_id": True,
        "leave_on_terminate": False,
        "log_level": "info",
        "connect": {"enabled": False},
        "performance": {"raft_multiplier": 1},
        "retry_interval": "250ms",
        "ports": {
            "http": -1 if tls else ports.http,
            "https": ports.http if tls else -1,
            "grpc": -1,
            "dns": -1,
            "serf_lan": ports.serf,
            "serf_wan": -1,
            "server": ports.server,
        },
    }
    if options.role is not Role.DEV:
        config |= {"data_dir": str(data), "server": options.role is Role.SERVER}
    if options.role is Role.SERVER:
        config["bootstrap_expect"] = options.servers
    if options.join:
        config["retry_join"] = [f"127.0.0.1:{port}" for port in options.join]
    if options.acl:
        tokens: dict[str, Json] = {"master": token, "agent": token}
        config["acl"] = {"enabled": True, "default_policy": "deny", "enable_token_persistence": True, "tokens": tokens}
    if tls:
        config |= {
            "ca_file": str(tls.ca),
            "cert_file": str(tls.cert),
            "key_file": str(tls.key),
            "verify_incoming_https": True,
        }
    if options.limits:
        config["limits"] = dict(options.limits)
    for name, value in options.extra.items():
        ours = config.get(name)
        config[name] = {**ours, **value} if isinstance(ours, Mapping) and isinstance(value, Mapping) else value
    return config
