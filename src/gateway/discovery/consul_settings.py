"""How Consul is reached: the variables that Consul's own tools honour, read once, explicit and frozen.

Source of the names: https://developer.hashicorp.com/consul/commands#environment-variables
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.discovery.errors import ConsulSettingsError

Consistency = Literal["default", "consistent", "stale"]

DEFAULT_PORT = 8500


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """Where Consul is and as whom it is asked. Durations are seconds, sizes bytes.

    `unix_socket` replaces host and port. `token_file` is read again when it changes; `token` is used where it is not
    given. `http_auth` is `user:password` for a proxy in front of Consul. `server_name` is what the certificate has to
    name, where that is not the host.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    scheme: Literal["http", "https"] = "http"
    unix_socket: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    http_auth: str | None = field(default=None, repr=False)
    verify: bool = True
    ca_file: Path | None = None
    ca_path: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    datacenter: str | None = None
    namespace: str | None = None
    consistency: Consistency = "default"
    wait: float = 300.0
    """Longest time that a blocking query is asked to be held; Consul allows up to 600."""
    timeout: float = 10.0
    """For everything that does not block, and what a blocking query may take beyond its time."""
    max_answer: int = 64 * 1024 * 1024

    @property
    def address(self) -> str:
        """For people: no credentials in it."""
        if self.unix_socket is not None:
            return f"unix://{self.unix_socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://localhost" if self.unix_socket is not None else self.address

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ConsulSettings:
        """From `CONSUL_*`; an empty variable is an unset one. Raises ConsulSettingsError."""

        def text(name: str) -> str | None:
            return environment.get(name) or None

        def path(name: str) -> Path | None:
            value = text(name)
            return None if value is None else Path(value)

        scheme, host, port, unix_socket = _address(text("CONSUL_HTTP_ADDR"))
        if _flag("CONSUL_HTTP_SSL", text("CONSUL_HTTP_SSL"), default=False):
            scheme = "https"
        cert_file, key_file = path("CONSUL_CLIENT_CERT"), path("CONSUL_CLIENT_KEY")
        if (cert_file is None) != (key_file is None):
            raise ConsulSettingsError("CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY have to be given together")
        return cls(
            host=host,
            port=port,
            scheme=scheme,
            unix_socket=unix_socket,
            token=_header_value("CONSUL_HTTP_TOKEN", text("CONSUL_HTTP_TOKEN")),
            token_file=path("CONSUL_HTTP_TOKEN_FILE"),
            http_auth=text("CONSUL_HTTP_AUTH"),
            verify=_flag("CONSUL_HTTP_SSL_VERIFY", text("CONSUL_HTTP_SSL_VERIFY"), default=True),
            ca_file=path("CONSUL_CACERT"),
            ca_path=path("CONSUL_CAPATH"),
            cert_file=cert_file,
            key_file=key_file,
            server_name=text("CONSUL_TLS_SERVER_NAME"),
            datacenter=text("CONSUL_DATACENTER"),
            namespace=_header_value("CONSUL_NAMESPACE", text("CONSUL_NAMESPACE")),
        )


def _address(value: str | None) -> tuple[Literal["http", "https"], str, int, str | None]:
    """`host`, `host:port`, `[::1]:port`, any of them after `http://` or `https://`, or `unix:///path`."""
    problem = f"CONSUL_HTTP_ADDR {value!r} is not host:port, http(s)://host:port or unix:///path"
    if value is None:
        return "http", "127.0.0.1", DEFAULT_PORT, None
    if value.startswith("unix://"):
        socket = value.removeprefix("unix://")
        if not socket.startswith("/"):
            raise ConsulSettingsError(problem)
        return "http", "localhost", DEFAULT_PORT, socket
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConsulSettingsError(problem) from error
    if parts.username is not None:
        raise ConsulSettingsError("CONSUL_HTTP_ADDR holds credentials; CONSUL_HTTP_AUTH takes user:password")
    if parts.scheme not in {"http", "https"} or not host:
        raise ConsulSettingsError(problem)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ConsulSettingsError(problem + " (a path is not supported)")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return scheme, host, port if port is not None else _default_port(scheme, explicit="://" in value), None


def _default_port(scheme: str, *, explicit: bool) -> int:
    """A URL without a port means its scheme's port, as everywhere; a bare host means Consul's."""
    if not explicit:
        return DEFAULT_PORT
    return 443 if scheme == "https" else 80


def _flag(name: str, value: str | None, *, default: bool) -> bool:
    """As Go's strconv.ParseBool reads it, which is what Consul's own tools do."""
    if value is None:
        return default
    if value in {"1", "t", "T", "TRUE", "true", "True"}:
        return True
    if value in {"0", "f", "F", "FALSE", "false", "False"}:
        return False
    raise ConsulSettingsError(f"{name} {value!r} is neither true nor false")


def _header_value(name: str, value: str | None) -> str | None:
    if value is not None and not (value.isascii() and value.isprintable()):
        raise ConsulSettingsError(f"{name} has characters that no header may have")
    return value
