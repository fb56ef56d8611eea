"""Arranging and reading a Consul over its HTTP API, blocking and on the standard library alone."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypeAlias, TypedDict, cast

from tests.support.consul.tls import TlsFiles

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"


class ConsulError(Exception):
    """Consul refused or did not answer; `status` is 0 when there was no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Check(TypedDict):
    """A check definition of the agent API, as `http_check` and `ttl_check` make it."""

    CheckID: NotRequired[str]
    Status: NotRequired[str]
    TTL: NotRequired[str]
    HTTP: NotRequired[str]
    Interval: NotRequired[str]
    Timeout: NotRequired[str]


def ttl_check(check_id: str, *, ttl: str = "10m", status: str = "passing") -> Check:
    """A check that a test sets by `Admin.set_check`."""
    return {"CheckID": check_id, "TTL": ttl, "Status": status}


def http_check(url: str, *, interval: str = "100ms", timeout: str = "1s", status: str = "critical") -> Check:
    """A check that the agent makes itself, by GET."""
    return {"HTTP": url, "Interval": interval, "Timeout": timeout, "Status": status}


@dataclass(frozen=True, slots=True)
class Health:
    """One instance of a service as the catalog holds it."""

    node: str
    service_id: str
    address: str
    port: int
    weights: tuple[int, int]
    statuses: Mapping[str, str]
    """Status by check id, node's checks included."""


@dataclass(frozen=True, slots=True)
class KvEntry:
    """One key with the index of its last change."""

    key: str
    value: bytes
    modify_index: int


class Admin:
    """Calls to one agent, each with a deadline of `timeout` seconds. Every method raises ConsulError on a refusal."""

    def __init__(
        self, address: str, token: str | None = None, tls: TlsFiles | None = None, *, timeout: float = 5
    ) -> None:
        self.address = address
        self.token = token
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.create_default_context(cafile=str(tls.ca))
            self._context.load_cert_chain(tls.cert, tls.key)

    def call(self, method: str, path: str, body: bytes | Json = None, **query: str | int) -> bytes:
        """One request to /v1/`path`; a body that is not bytes goes as JSON."""
        url = f"{self.address}/v1/{urllib.parse.quote(path)}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, method=method)
        if self.token:
            request.add_header("X-Consul-Token", self.token)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout, context=self._context) as response:
                return cast(bytes, response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ConsulError(error.code, error.read().decode(errors="replace").strip()) from None
        except OSError as error:
            raise ConsulError(0, str(error)) from error

    def read(self, path: str, **query: str | int) -> Json:
        """The JSON that GET /v1/`path` answers."""
        return cast(Json, json.loads(self.call("GET", path, **query)))

    def leader(self) -> str:
        """Address of the leader, empty while there is none."""
        return str(self.read("status/leader"))

    # Services

    def register(
        self,
        service: str,
        port: int,
        *,
        id: str | None = None,  # noqa: A002 - Consul's word
        address: str = "127.0.0.1",
        weights: tuple[int, int] = (1, 1),
        tags: Iterable[str] = (),
        meta: Mapping[str, str] | None = None,
        checks: Iterable[Check] = (),
    ) -> str:
        """Register an instance through the agent, replacing one of the same id, and return its id.

        Weights are (passing, warning). Without checks the instance is passing.
        """
        service_id = id or f"{service}-{port}"
        definition: Json = {
            "Name": service,
            "ID": service_id,
            "Address": address,
            "Port": port,
            "Tags": list(tags),
            "Meta": meta or {},
            "Weights": {"Passing": weights[0], "Warning": weights[1]},
            "Checks": [cast(Json, check) for check in checks],
        }
        self.call("PUT", "agent/service/register", definition)
        return service_id

    def deregister(self, service_id: str) -> None:
        self.call("PUT", f"agent/service/deregister/{service_id}")

    def set_check(self, check_id: str, status: str, output: str = "") -> None:
        """Set a TTL check to passing, warning or critical."""
        self.call("PUT", f"agent/check/update/{check_id}", {"Status": status, "Output": output})

    def maintain(self, service_id: str, *, on: bool = True, reason: str = "") -> None:
        self.call("PUT", f"agent/service/maintenance/{service_id}", enable=str(on).lower(), reason=reason)

    def maintain_node(self, *, on: bool = True, reason: str = "") -> None:
        self.call("PUT", "agent/maintenance", enable=str(on).lower(), reason=reason)

    def register_in_catalog(self, entry: Json) -> None:
        """Write an entry past every agent, as /v1/catalog/register takes it: for odd entries and foreign nodes."""
        self.call("PUT", "catalog/register", entry)

    def deregister_in_catalog(self, entry: Json) -> None:
        self.call("PUT", "catalog/deregister", entry)

    def health(self, service: str) -> list[Health]:
        """All instances of a service, whatever their health."""
        return [_health(entry) for entry in _rows(self.read(f"health/service/{service}"))]

    def services(self) -> set[str]:
        """Names of all services in the catalog."""
        return set(cast(Mapping[str, Json], self.read("catalog/services")))

    # Keys

    def put(self, key: str, value: bytes | str | Mapping[str, object] | Json) -> None:
        """Write a key; str goes as UTF-8, anything else that is not bytes as JSON."""
        data = (
            value
            if isinstance(value, bytes)
            else value.encode()
            if isinstance(value, str)
            else json.dumps(value).encode()
        )
        self.call("PUT", f"kv/{key}", data)

    def get(self, key: str) -> KvEntry | None:
        try:
            row = _rows(self.read(f"kv/{key}"))[0]
            value = self.call("GET", f"kv/{key}", raw="true")
        except ConsulError as error:
            if error.status == 404:
                return None
            raise
        return KvEntry(key, value, cast(int, row["ModifyIndex"]))

    def keys(self, prefix: str = "") -> list[str]:
        try:
            return list(cast(Sequence[str], self.read(f"kv/{prefix}", keys="true")))
        except ConsulError as error:
            if error.status == 404:
                return []
            raise

    def delete(self, key: str, *, recurse: bool = False) -> None:
        query: dict[str, str | int] = {"recurse": "true"} if recurse else {}
        self.call("DELETE", f"kv/{key}", **query)

    # Access control

    def create_policy(self, name: str, rules: str) -> str:
        """Create an ACL policy from HCL rules and return its id."""
        return self._text("acl/policy", {"Name": name, "Rules": rules}, "ID")

    def update_policy(self, policy_id: str, name: str, rules: str) -> None:
        self.call("PUT", f"acl/policy/{policy_id}", {"ID": policy_id, "Name": name, "Rules": rules})

    def delete_policy(self, policy_id: str) -> None:
        self.call("DELETE", f"acl/policy/{policy_id}")

    def create_token(self, *policies: str) -> Token:
        """Create a token that holds the policies of these names."""
        answer = self.call("PUT", "acl/token", {"Policies": [{"Name": name} for name in policies]})
        row = cast(Mapping[str, str], json.loads(answer))
        return Token(row["AccessorID"], row["SecretID"])

    def set_token_policies(self, token: Token, *policies: str) -> None:
        body: Json = {"AccessorID": token.accessor, "Policies": [{"Name": name} for name in policies]}
        self.call("PUT", f"acl/token/{token.accessor}", body)

    def delete_token(self, token: Token) -> None:
        self.call("DELETE", f"acl/token/{token.accessor}")

    def _text(self, path: str, body: Json, field: str) -> str:
        return cast(Mapping[str, str], json.loads(self.call("PUT", path, body)))[field]


@dataclass(frozen=True, slots=True)
class Token:
    """An ACL token: `secret` is what clients send, `accessor` is what names it."""

    accessor: str
    secret: str


def _rows(value: Json) -> Sequence[Mapping[str, Json]]:
    return cast(Sequence[Mapping[str, Json]], value)


def _health(entry: Mapping[str, Json]) -> Health:
    service = cast(Mapping[str, Json], entry["Service"])
    node = cast(Mapping[str, str], entry["Node"])
    weights = cast(Mapping[str, int], service["Weights"])
    return Health(
        node=node["Node"],
        service_id=str(service["ID"]),
        address=str(service["Address"]) or node["Address"],
        port=cast(int, service["Port"]),
        weights=(weights["Passing"], weights["Warning"]),
        statuses={str(check["CheckID"]): str(check["Status"]) for check in _rows(entry["Checks"])},
    )
