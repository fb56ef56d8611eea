"""Settings of the process: `gateway.toml`, then `GATEWAY_*` environment variables, then flags, in rising order.

One name serves all three: `drain_time` in the file is `GATEWAY_DRAIN_TIME` in the environment and `--drain-time` on the
command line, and all three are read by the same parsers. `docs/reference/settings.md` is generated from here.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ENVIRONMENT_PREFIX = "GATEWAY_"
DEFAULT_FILE = Path("gateway.toml")
NO_FLAG = frozenset({"admin_token", "consul_token"})
"""Secrets: process lists show flags."""

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """What is wrong with the settings, one line for each problem, naming where the value was given."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Address(NamedTuple):
    """Where to listen or what to advertise; an empty host means what the setting says it means."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class KeyPair(NamedTuple):
    """Files in PEM: a certificate with its chain, and its key."""

    certificate: Path
    key: Path

    def __str__(self) -> str:
        return f"{self.certificate}:{self.key}"


def is_loopback(host: str) -> bool:
    """Of an address, or of the name `localhost`; the empty host is all interfaces."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


_ALL_INTERFACES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - never listened at
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_duration(value: object) -> object:
    """`250ms`, `10s`, `1m30s`, `1h`, or a number of seconds, to seconds. What is not text is left to the type."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", value.strip()):
        raise ValueError(f"{value!r} is not a duration such as 250ms, 10s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", value))


def parse_size(value: object) -> object:
    """`64KiB`, `1MiB`, or a number of bytes, to bytes. What is not text is left to the type."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB|)", value.strip())
    if found is None:
        raise ValueError(f"{value!r} is not a size such as 8KiB or 1MiB")
    return int(found[1]) * _SIZES[found[2]]


def parse_address(value: object) -> object:
    """`:8080`, `127.0.0.1:8080`, `[::1]:8080` or `host:8080` to an `Address`."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/\[\]]*)):(\d{1,5})", value.strip())
    if found is None or int(found[3]) > 65535:
        raise ValueError(f"{value!r} is not an address such as :8080, 127.0.0.1:8080 or [::1]:8080")
    return Address(found[1] or found[2] or "", int(found[3]))


def _address_or_off(value: object) -> object:
    return None if value == "off" else parse_address(value)


def parse_key_pair(value: object) -> object:
    """`certificate.pem:key.pem`, or one file that holds both."""
    if not isinstance(value, str):
        return value
    certificate, colon, key = value.partition(":")
    if not certificate or (colon and not key) or ":" in key:
        raise ValueError(f"{value!r} is not certificate.pem:key.pem, nor one file with both")
    return KeyPair(Path(certificate), Path(key or certificate))


def _split(value: object) -> object:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _network(value: object) -> object:
    return ip_network(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
PositiveSize = Annotated[int, BeforeValidator(parse_size), Field(ge=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Endpoint = Annotated[Address, BeforeValidator(parse_address), PlainSerializer(str), NoDecode]
EndpointOrOff = Annotated[Address | None, BeforeValidator(_address_or_off), NoDecode]
KeyPairs = Annotated[tuple[Annotated[KeyPair, BeforeValidator(parse_key_pair)], ...], BeforeValidator(_split), NoDecode]
Secret = Annotated[SecretStr, Field(min_length=16)]
Names = Annotated[tuple[Annotated[str, Field(pattern=r"^[!-~]{1,128}$")], ...], BeforeValidator(_split), NoDecode]
Networks = Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(_split), NoDecode]
KeyPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=128)]
KeyPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$", max_length=256)]


def _setting(default: Any, group: str, description: str, unit: str = "") -> Any:  # noqa: ANN401 - as pydantic's Field
    return Field(
        default, description=description, validate_default=True, json_schema_extra={"group": group, "unit": unit}
    )


class Settings(BaseSettings):
    """All settings of one gateway process, checked and frozen. Made by `load`; durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    mode: Literal["edge", "sidecar"] = _setting(
        "edge",
        "Identity",
        "`edge` listens publicly; `sidecar` listens on loopback and prefers instances of its own node.",
    )
    prefix: KeyPath = _setting(
        "gateway", "Identity", "Prefix in Consul KV under which this group of gateways has its routes and policies."
    )
    service: KeyPart = _setting(
        "gateway",
        "Identity",
        "The gateway's own service name in Consul; a route to it is rejected.",
    )
    id: KeyPart | None = _setting(
        None,
        "Identity",
        "Name of this gateway among its group: in its status key, its service id and `Via`. By default made of the "
        "host's name and the proxy port, so that it survives restarts.",
    )

    listen: EndpointOrOff = _setting(
        ":8080",
        "Listeners",
        "Where the proxy listens. Without a host: all interfaces in edge mode, loopback in sidecar mode. `off`: "
        "nowhere but at `tls_listen`.",
    )
    tls_listen: Endpoint | None = _setting(
        None, "Listeners", "Where the proxy listens for TLS; without a host as `listen`. Unset: nowhere."
    )
    admin_listen: Endpoint = _setting(
        "127.0.0.1:8081", "Listeners", "Where the admin surface listens. Beyond loopback it needs a token."
    )
    admin_token: Secret | None = _setting(
        None,
        "Listeners",
        "Token that the admin surface asks for (`Authorization: Bearer`), but for `/healthz` and `/readyz`; 16 "
        "characters at least. There is no flag for it: process lists show flags.",
    )
    admin_token_file: Path | None = _setting(None, "Listeners", "File with that token, read again when it changes.")

    tls_certificates: KeyPairs = _setting(
        (),
        "TLS",
        "Certificates for `tls_listen`, in PEM: `certificate.pem:key.pem`, several with commas between. A client gets "
        "the first with the name that it asks for (SNI), or else the first. Files are read again when they change.",
    )
    tls_min_version: Literal["1.2", "1.3"] = _setting("1.2", "TLS", "Oldest version of TLS that is spoken.")
    tls_client_ca: Path | None = _setting(
        None,
        "TLS",
        "File of CA certificates. With it clients are asked for a certificate, which has to be of one of these; what "
        "routes make of it says their `auth`.",
    )
    tls_client_crl: Path | None = _setting(
        None,
        "TLS",
        "File of revocation lists: one of each CA that issues clients' certificates. A list that is out of date "
        "refuses all of its CA's.",
    )
    tls_client_certificates: Literal["optional", "required"] = _setting(
        "optional", "TLS", "Whether a client without a certificate is let in to the routes that ask for none."
    )

    workers: Annotated[int, Field(ge=1, le=64)] = _setting(
        1,
        "Workers",
        "How many processes serve requests, each on a core of its own. Limits that would have to hold over all of them "
        "are refused where there are several.",
        "processes",
    )
    outlive: Duration = _setting(
        30.0,
        "Workers",
        "How long workers serve on by what is in force when their parent has died, before they drain and end.",
        "s",
    )

    consul_address: str | None = _setting(
        None, "Consul", "Consul agent, `host:port` or URL. Default: `CONSUL_HTTP_ADDR`, or 127.0.0.1:8500."
    )
    consul_token: SecretStr | None = _setting(
        None, "Consul", "ACL token. Default: `CONSUL_HTTP_TOKEN`. There is no flag for it: process lists show flags."
    )
    consul_token_file: Path | None = _setting(
        None, "Consul", "File with the ACL token, read again when it changes. Default: `CONSUL_HTTP_TOKEN_FILE`."
    )
    consul_datacenter: str | None = _setting(None, "Consul", "Datacenter to ask. Default: `CONSUL_DATACENTER`.")
    consul_namespace: str | None = _setting(None, "Consul", "Namespace to ask. Default: `CONSUL_NAMESPACE`.")
    consul_ca_file: Path | None = _setting(
        None, "Consul", "CA certificates that Consul's certificate is checked against. Default: `CONSUL_CACERT`."
    )
    consul_cert_file: Path | None = _setting(
        None, "Consul", "Client certificate towards Consul. Default: `CONSUL_CLIENT_CERT`."
    )
    consul_key_file: Path | None = _setting(
        None, "Consul", "Key of that client certificate. Default: `CONSUL_CLIENT_KEY`."
    )
    consul_verify: bool | None = _setting(
        None, "Consul", "Whether Consul's certificate is checked. Default: `CONSUL_HTTP_SSL_VERIFY`, or yes."
    )

    snapshot: Path | None = _setting(
        None,
        "View of Consul",
        "File that keeps the last good view, for a start while Consul is away. Without it there is no such start.",
    )
    grace: Duration = _setting(
        10.0,
        "View of Consul",
        "How long a doubtful emptiness (after a reconnect or an index that fell) is not believed.",
        "s",
    )
    max_watches: Positive = _setting(
        100,
        "View of Consul",
        "Most blocking queries at once towards Consul, which allows 200 connections for each client address.",
        "connections",
    )
    allowed_addresses: Networks = _setting(
        (), "View of Consul", "Networks that instances may have their addresses in. Empty: all that are not denied."
    )
    denied_addresses: Networks = _setting(
        "0.0.0.0/8,169.254.0.0/16,224.0.0.0/4,255.255.255.255/32,::/128,fe80::/10,ff00::/8",
        "View of Consul",
        "Networks whose instances are left out, and which host names of instances may not lead to; by default the "
        "link-local (cloud metadata), multicast and unspecified ones.",
    )
    ready_max_age: Duration | None = _setting(
        None,
        "View of Consul",
        "Age of the oldest view at which `/readyz` fails. Unset: a stale view leaves the gateway ready, because losing "
        "Consul must not take the whole fleet out.",
        "s",
    )

    register_self: bool = _setting(
        True,
        "Registration",
        "Whether the gateway registers itself as an instance of `service`, with a health check.",
    )
    advertise: Endpoint | None = _setting(
        None,
        "Registration",
        "Address that is registered. Without a host: the Consul node's address. Default: that of `listen`, and for a "
        "sidecar loopback.",
    )
    write_status: bool = _setting(
        True, "Registration", "Whether verdicts on routes are written to `<prefix>/status/<id>` in KV."
    )

    trusted_hops: Networks = _setting(
        (), "Requests", "Networks of proxies in front, whose `Forwarded` and `X-Forwarded-*` are believed."
    )

    max_connections: Positive = _setting(
        10000,
        "Limits",
        "Most client connections at once; above it the oldest idle one is closed. Fewer where the process may not open "
        "twice as many files, which is logged at the start.",
        "connections",
    )
    max_connections_per_client: Annotated[int, Field(ge=0)] = _setting(
        0,
        "Limits",
        "Most connections of one client address; above it its new ones are closed. 0: no limit. Does not hold for "
        "`trusted_hops`, behind whom there are many.",
        "connections",
    )
    max_in_flight: Positive = _setting(
        5000,
        "Limits",
        "Most requests that wait for a response at once; above it new ones are answered 503 with `Retry-After` before "
        "anything is done about them. Tunnels and responses that have begun do not count.",
        "requests",
    )
    keep_alive: Duration = _setting(75.0, "Limits", "How long an idle client connection is kept.", "s")
    max_line: PositiveSize = _setting(8190, "Limits", "Longest request line; longer ones are answered 414.", "bytes")
    max_field: PositiveSize = _setting(8190, "Limits", "Longest single header field; else 431.", "bytes")
    max_fields: Positive = _setting(128, "Limits", "Most header fields of a request; else 431.", "fields")
    max_head: PositiveSize = _setting(65536, "Limits", "Largest size of all header fields together; else 431.", "bytes")
    max_response_head: PositiveSize = _setting(
        262144, "Limits", "Largest size of all header fields of an instance's response; else 502.", "bytes"
    )
    head_timeout: Duration = _setting(10.0, "Limits", "Time from the first byte of a request's head to its last.", "s")
    body_grace: Duration = _setting(
        5.0, "Limits", "How long a client that we wait for may be slow with its body, beyond `body_rate`.", "s"
    )
    body_rate: Rate = _setting(
        240.0, "Limits", "Slowest pace at which a client may send a body that we wait for.", "bytes/s"
    )
    sticky_key: Secret | None = _setting(
        None,
        "Identity",
        "Secret of at least 16 characters that the cookies of sticky routes are made with; the same for all gateways "
        "of a group. By default each process makes up its own, and who comes by another gateway is placed anew.",
    )

    rate_limit_keys: Positive = _setting(
        100_000,
        "Limits",
        "Most keys (clients, header values …) that each rate limit of a route remembers; about 250 bytes each.",
        "keys",
    )
    write_timeout: Duration = _setting(30.0, "Limits", "Longest time that a client may leave our bytes unread.", "s")

    drain_time: Duration = _setting(
        10.0,
        "Shutdown",
        "After SIGTERM: how long requests are served on while readiness fails and the registration is gone.",
        "s",
    )
    finish_limit: Duration = _setting(
        30.0, "Shutdown", "After that: how long requests in flight may take to finish before they are cut.", "s"
    )

    handover: Path | None = _setting(
        None,
        "Shutdown",
        "Path of a Unix socket at which the next gateway takes over from this one, with its ports, and without a "
        "connection lost. Unset: there is no such thing.",
    )

    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "Logs", "Least level that is logged.")
    log_format: Literal["json", "console"] = _setting(
        "json", "Logs", "`json`: one object a line; `console`: for people. Both go to standard error."
    )
    access_log: str = _setting(
        "on", "Logs", "`on`: one JSON line for each request to standard output; `off`; or the path of a file."
    )

    log_headers: Annotated[Names, Field(max_length=16)] = _setting(
        (), "Logs", "Request headers that are added to the line of the access log, such as `user-agent, referer`."
    )
    redact_headers: Names = _setting(
        "authorization,cookie,set-cookie,x-api-key,proxy-authorization",
        "Logs",
        "Headers whose values are told as `***`, in addition to those that routes take credentials from.",
    )
    redact_query: Names = _setting(
        "access_token,api_key,apikey,auth,client_secret,code,id_token,jwt,key,passwd,password,refresh_token,secret,"
        "session,sig,signature,token",
        "Logs",
        "Query parameters whose values are told as `***`, in addition to those that routes take credentials from. "
        "Upper case and lower, `-` and `_` are the same here.",
    )

    trace_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/\S*)?$")] | None = _setting(
        None,
        "Traces",
        "URL that spans are sent to by OTLP over HTTP, such as `http://127.0.0.1:4318/v1/traces`. Default: what "
        "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` says; without any, none are made.",
    )
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = _setting(
        0.01, "Traces", "Share of requests whose trace is recorded, unless a trusted hop has decided that."
    )

    journal: Path | None = _setting(
        None,
        "Journal",
        "File that keeps every decision of the gateway with all that it depended on, for `gateway replay`; its "
        "directory has to exist. Older segments have `.1`, `.2` and so on behind the name.",
    )
    journal_segment: PositiveSize = _setting(16 << 20, "Journal", "About how large a segment gets.", "bytes")
    journal_segments: Annotated[int, Field(ge=2, le=1000)] = _setting(
        4, "Journal", "How many segments are kept, the newest included."
    )
    monitor: bool = _setting(
        False,
        "Journal",
        "Whether each decision is held against the safety properties of the specification as it is made. What breaks "
        "one is logged as an error and counted; it costs ten to twenty microseconds a request.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load` merges the sources itself, to be able to say where a bad value came from."""
        return (init_settings,)

    @property
    def gateway_id(self) -> str:
        """`id`, or `<host name>-<proxy port>`."""
        if self.id is not None:
            return self.id
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()).strip("-._") or "gateway"
        return f"{host[:100]}-{self.entrance.port}"

    @property
    def entrance(self) -> Address:
        """Where the proxy listens; by TLS where it listens for nothing else."""
        found = self.listen or self.tls_listen
        assert found is not None, "`load` sees to it"
        return found

    def host_of(self, address: Address) -> str | None:
        """Host to bind the proxy to; None is all interfaces."""
        return address.host or ("127.0.0.1" if self.mode == "sidecar" else None)

    @property
    def registered(self) -> Address:
        """Address and port for Consul; without a host, which stands for the node's, where all interfaces are meant.

        A sidecar's is loopback: whoever finds it in the catalog asks the one beside himself.
        """
        given = self.advertise or self.entrance._replace(host=self.host_of(self.entrance) or "")
        return given._replace(host="") if given.host in _ALL_INTERFACES else given

    def consul_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """`environment` with Consul's own variables replaced where a setting of ours overrides them."""
        mine = {
            "CONSUL_HTTP_ADDR": self.consul_address,
            "CONSUL_HTTP_TOKEN": self.consul_token and self.consul_token.get_secret_value(),
            "CONSUL_HTTP_TOKEN_FILE": self.consul_token_file,
            "CONSUL_DATACENTER": self.consul_datacenter,
            "CONSUL_NAMESPACE": self.consul_namespace,
            "CONSUL_CACERT": self.consul_ca_file,
            "CONSUL_CLIENT_CERT": self.consul_cert_file,
            "CONSUL_CLIENT_KEY": self.consul_key_file,
            "CONSUL_HTTP_SSL_VERIFY": None if self.consul_verify is None else str(self.consul_verify).lower(),
        }
        overridden = {name: str(value) for name, value in mine.items() if value is not None}
        credentials = {"CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE"}
        hidden = credentials if credentials & overridden.keys() else set()
        return {name: value for name, value in environment.items() if name not in hidden} | overridden


def environment_name(field: str) -> str:
    """`drain_time` → `GATEWAY_DRAIN_TIME`."""
    return ENVIRONMENT_PREFIX + field.upper()


def flag_name(field: str) -> str:
    """`drain_time` → `--drain-time`."""
    return "--" + field.replace("_", "-")


def shown_default(value: object) -> str:
    """A default as an operator would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value).replace(",", ", ")


def load(flags: Mapping[str, object] | None = None, file: Path | None = None) -> Settings:
    """The settings from `file` (by default `gateway.toml` here, if there is one), the environment and `flags`.

    Raises `SettingsError` with one line for each problem: an unreadable file, an unknown key, a bad value.
    """
    if file is None and (named := os.environ.get(environment_name("config"))):
        file = Path(named)
    in_file = _read(file or DEFAULT_FILE, required=file is not None)
    in_environment = EnvSettingsSource(Settings)()
    given = {name: value for name, value in (flags or {}).items() if value is not None}

    def where(field: str) -> str:
        if field in given:
            return flag_name(field)
        return environment_name(field) if field in in_environment else f"{file or DEFAULT_FILE}: {field}"

    try:
        settings = Settings(**{**in_file, **in_environment, **given})
    except ValidationError as error:
        found = [(str(each["loc"][0]) if each["loc"] else "", each["type"], each["msg"]) for each in error.errors()]
        problems = [f"{where(field)}: {_explain(field, kind, message)}" for field, kind, message in found]
        raise SettingsError(list(dict.fromkeys(problems))) from None
    conflicts = [f"{where(field)}: {problem}" for field, problem in _conflicts(settings)]
    if conflicts:
        raise SettingsError(conflicts)
    return settings


def _conflicts(settings: Settings) -> Iterator[tuple[str, str]]:
    """What is wrong although each setting is right, by the setting to mend."""
    if settings.tls_listen is None:
        if settings.listen is None:
            yield "listen", "`off` leaves nowhere to listen, unless tls_listen is set"
        for name in ("tls_certificates", "tls_client_ca", "tls_client_crl"):
            if getattr(settings, name):
                yield name, "is of no use without tls_listen"
    elif not settings.tls_certificates:
        yield "tls_listen", "needs tls_certificates, at least one certificate.pem:key.pem"
    elif settings.tls_listen == settings.listen:
        yield "tls_listen", "is where listen is: give it a port of its own, or set listen to off"
    if settings.tls_client_ca is None:
        if settings.tls_client_crl is not None:
            yield "tls_client_crl", "is of no use without tls_client_ca"
        if settings.tls_client_certificates == "required":
            yield "tls_client_certificates", "required needs tls_client_ca, to tell whose are taken"
    token = settings.admin_token or settings.admin_token_file
    if token is None and not is_loopback(settings.admin_listen.host):
        needs = "is not loopback, and so needs a token: set admin_token_file, or listen at 127.0.0.1"
        yield "admin_listen", f"{settings.admin_listen} {needs}"
    if settings.admin_token and settings.admin_token_file:
        yield "admin_token_file", "and admin_token are both set: which one is it?"


def misspelt_environment(environment: Mapping[str, str]) -> list[str]:
    """Warnings for `GATEWAY_*` variables that look like a setting misspelt.

    Others are left alone: Kubernetes sets `GATEWAY_SERVICE_HOST` and the like for a service named `gateway`.
    """
    known = [field.upper() for field in (*Settings.model_fields, "config")]
    ours = [name.removeprefix(ENVIRONMENT_PREFIX) for name in environment if name.startswith(ENVIRONMENT_PREFIX)]
    strange = sorted(name for name in ours if name not in known)
    near = ((name, difflib.get_close_matches(name, known, n=1, cutoff=0.8)) for name in strange)
    return [
        f"{ENVIRONMENT_PREFIX}{name} is not a setting; did you mean {ENVIRONMENT_PREFIX}{found[0]}?"
        for name, found in near
        if found
    ]


def _read(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise SettingsError([f"{file}: there is no such file"]) from None
        return {}
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file}: not TOML: {error}"]) from None


def _explain(field: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(field, Settings.model_fields, n=1)
        return "unknown setting" + (f"; did you mean {near[0]}?" if near else "")
    return message.removeprefix("Value error, ")
