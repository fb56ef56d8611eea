"""The one module that knows python-consul2: its endpoint builders over our transport, replies with their headers.

The builders make paths, parameters and bodies; awaiting what they return gives our `Reply`. The endpoint classes are
used without `consul.Consul`, whose constructor lets the environment override explicit settings, cannot read an IPv6 or
Unix-socket address from it, and warns of what it deprecates itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import quote

import consul.base
import msgspec

from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.errors import ConsulBadAnswer, ConsulRefused
from gateway.discovery.transport import Reply, Transport

T = TypeVar("T")

_Parameters = Sequence[tuple[str, object]] | None
_Callback = Callable[[consul.base.Response], object]

_READS_WITH_CONSISTENCY = ("/v1/kv/", "/v1/health/", "/v1/catalog/")
_UNUSABLE_NAME = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|//|[\x00-\x1f\x7f]|^/|^$")
"""What the agent's router would redirect elsewhere instead of reading it as a part of the path."""


class KvEntry(msgspec.Struct, frozen=True, rename="pascal"):
    """One key as Consul's KV lists it. `value` is decoded; None is a key without one."""

    key: str
    modify_index: int
    value: bytes | None = None
    session: str | None = None


class Question(NamedTuple):
    """May our token read this? `resource` is "service", "node" or "key"."""

    resource: str
    segment: str


class _Verdict(msgspec.Struct, rename="pascal"):
    allow: bool = False


class _Exchange(NamedTuple):
    reply: Reply[bytes]
    callback: _Callback
    where: str


class _HttpClient(consul.base.HTTPClient):  # type: ignore[misc] # published without types
    """python-consul2's seam for transports: what these return is what the endpoint methods return.

    The headers that the builders give would hold the token; the transport adds it."""

    def __init__(self, transport: Transport, settings: ConsulSettings) -> None:
        self._transport = transport
        self._timeout = settings.timeout
        self._consistency = settings.consistency
        self.base_uri = settings.base_url

    async def get(self, callback: _Callback, path: str, params: _Parameters = None, **_headers: object) -> _Exchange:
        given = list(params or ())
        names = {name for name, _ in given}
        if self._consistency != "default" and path.startswith(_READS_WITH_CONSISTENCY):
            given += [] if self._consistency in names else [(self._consistency, "1")]
        return await self._exchange("GET", callback, path, given, None)

    async def put(
        self,
        callback: _Callback,
        path: str,
        params: _Parameters = None,
        data: str | bytes | None = "",
        **_headers: object,
    ) -> _Exchange:
        return await self._exchange("PUT", callback, path, params, data)

    async def post(
        self,
        callback: _Callback,
        path: str,
        params: _Parameters = None,
        data: str | bytes | None = "",
        **_headers: object,
    ) -> _Exchange:
        return await self._exchange("POST", callback, path, params, data)

    async def delete(
        self,
        callback: _Callback,
        path: str,
        params: _Parameters = None,
        data: str | bytes | None = "",
        **_headers: object,
    ) -> _Exchange:
        return await self._exchange("DELETE", callback, path, params, data)

    async def _exchange(
        self, method: str, callback: _Callback, path: str, params: _Parameters, data: str | bytes | None
    ) -> _Exchange:
        body = data.encode() if isinstance(data, str) else data
        url: str = self.uri(path, params)
        reply = await self._transport.request(method, url, body or None, self._deadline(params))
        return _Exchange(reply, callback, f"{method} {path}")

    def _deadline(self, params: _Parameters) -> float:
        """Consul may hold a blocking query for `wait` + `wait`/16 (API docs, Blocking Queries)."""
        for name, value in params or ():
            if name == "wait":
                wait = float(str(value).removesuffix("ms")) / 1000
                return wait + wait / 16 + self._timeout
        return self._timeout


class _Endpoints:
    """What python-consul2's endpoint classes ask of the `Consul` object that they belong to.

    The token stays None here: the transport adds it, so that a new one counts from the next request on.
    """

    token = None
    consistency = "default"

    def __init__(self, http: _HttpClient, datacenter: str | None) -> None:
        self.http = http
        self.dc = datacenter
        self.agent = consul.base.Consul.Agent(self)
        self.catalog = consul.base.Consul.Catalog(self)
        self.health = consul.base.Consul.Health(self)
        self.kv = consul.base.Consul.KV(self)
        self.session = consul.base.Consul.Session(self)
        self.status = consul.base.Consul.Status(self)


class ConsulClient:
    """Everything the gateway asks of Consul. Each method raises `ConsulError` and nothing else of Consul's making.

    Blocking reads take the `index` of the last reply and hold for `wait` seconds; they give the raw answer, so that an
    unchanged one costs no parsing. Close it when done.
    """

    def __init__(self, settings: ConsulSettings) -> None:
        self.settings = settings
        self._transport = Transport(settings)
        self._http = _HttpClient(self._transport, settings)
        self._consul = _Endpoints(self._http, settings.datacenter)

    @property
    def token_generation(self) -> int:
        """Grows when the token file brought a new token; the file is looked at with each request."""
        return self._transport.token.generation

    async def close(self) -> None:
        await self._transport.close()

    # --- blocking reads ---------------------------------------------------------------------------------------------

    async def health_service(self, service: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        """All instances of a service in all states of health, with their nodes and checks."""
        _check_name(service, "service")
        if "/" in service:
            raise ConsulRefused(f"a service name with a slash cannot be asked for: {service[:80]!r}", "service", 400)
        return await _raw(self._consul.health.service(service, index=index, wait=_wait(wait)))

    async def health_any(self, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        """All checks of the datacenter."""
        return await _raw(self._consul.health.state("any", index=index, wait=_wait(wait)))

    async def catalog_services(self, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        """The names of all services, each with its tags."""
        return await _raw(self._consul.catalog.services(index=index, wait=_wait(wait)))

    async def kv_list(self, prefix: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        """All keys under a prefix; status 404 where there is none, or none that the token may see."""
        return await _raw(self._consul.kv.get(prefix, recurse=True, index=index, wait=_wait(wait)))

    async def kv_read(self, key: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        """One key as a list of one; status 404 where it is missing. A denied read raises ConsulDenied."""
        return await _raw(self._consul.kv.get(key, index=index, wait=_wait(wait)))

    # --- KV ---------------------------------------------------------------------------------------------------------

    async def kv_entries(self, prefix: str) -> list[KvEntry]:
        return decode_kv(await self.kv_list(prefix), prefix)

    async def kv_entry(self, key: str) -> KvEntry | None:
        _check_name(key, "key")
        entries = decode_kv(await self.kv_read(key), key)
        return entries[0] if entries else None

    async def kv_put(self, key: str, value: bytes, cas: int | None = None) -> bool:
        """Whether it was written: with `cas`, only if the key's ModifyIndex is still that (0: it does not exist)."""
        _check_name(key, "key")
        return await _decoded(self._consul.kv.put(key, value, cas=cas), bool)

    async def kv_delete(self, key: str, cas: int | None = None) -> bool:
        _check_name(key, "key")
        return await _decoded(self._consul.kv.delete(key, cas=cas), bool)

    async def kv_acquire(self, key: str, value: bytes, session: str) -> bool:
        """Write a key that goes when the session goes; False where another session holds it."""
        return await _decoded(self._consul.kv.put(key, value, acquire=session), bool)

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def session_create(self, name: str, ttl: int) -> str:
        """A session with delete behaviour. `ttl` seconds, 10 to 86,400; Consul may take twice as long to end it."""
        return await _decoded(self._consul.session.create(name=name, ttl=ttl, behavior="delete", lock_delay=0), str)

    async def session_renew(self, session: str) -> bool:
        """False where Consul has ended the session."""
        reply = await _raw(self._consul.session.renew(session))
        return reply.status == 200

    async def session_destroy(self, session: str) -> None:
        await _raw(self._consul.session.destroy(session))

    # --- the agent --------------------------------------------------------------------------------------------------

    async def leader(self) -> str:
        """Address of the servers' leader; empty without one. Needs no permission."""
        return await _decoded(self._consul.status.leader(), str)

    async def agent_node(self) -> str:
        """Name of the node whose agent answers."""
        exchange = await self._consul.agent.self()
        told = _decode(exchange.reply.data, _AgentSelf, exchange.where)
        return told.config.node_name

    async def agent_has_service(self, service_id: str) -> bool:
        path = f"/v1/agent/service/{quote(service_id, safe='')}"
        return (await self._http.get(consul.base.CB.json(), path)).reply.status == 200

    async def register_service(self, definition: Mapping[str, object]) -> None:
        """`definition` as in the API (Agent: Register Service). Written through the HTTP client: python-consul2's own
        `register` has no weights."""
        body = msgspec.json.encode(definition)
        await _raw(self._http.put(consul.base.CB.bool(), "/v1/agent/service/register", data=body))

    async def deregister_service(self, service_id: str) -> None:
        await _raw(self._consul.agent.service.deregister(service_id))

    async def check_pass(self, check_id: str, note: str) -> bool:
        """Keep a TTL check up; False where the agent knows no such check."""
        return await self._check(self._consul.agent.check.ttl_pass(check_id, notes=note))

    async def check_fail(self, check_id: str, note: str) -> bool:
        """Set a TTL check to critical; False where the agent knows no such check."""
        return await self._check(self._consul.agent.check.ttl_fail(check_id, notes=note))

    async def _check(self, made: Awaitable[_Exchange]) -> bool:
        return (await _raw(made)).status == 200

    # --- ACL --------------------------------------------------------------------------------------------------------

    async def may_read(self, questions: Sequence[Question]) -> list[bool] | None:
        """What the token may read, in the order asked; None where Consul cannot tell (an older or odd one).

        `/v1/internal/acl/authorize` is what Consul's own UI asks; 401 means that ACLs are off.
        """
        asked = [{"Resource": kind, "Segment": name, "Access": "read"} for kind, name in questions]
        path = "/v1/internal/acl/authorize"
        try:
            exchange = await self._http.post(consul.base.CB.json(), path, data=msgspec.json.encode(asked))
        except ConsulRefused as error:
            return [True] * len(questions) if error.status == 401 else None
        if exchange.reply.status != 200:
            return None
        verdicts = _decode(exchange.reply.data, list[_Verdict], exchange.where)
        if len(verdicts) != len(questions):
            raise ConsulBadAnswer(f"{len(verdicts)} verdicts for {len(questions)} questions", exchange.where)
        return [verdict.allow for verdict in verdicts]


class _AgentConfig(msgspec.Struct, rename="pascal"):
    node_name: str


class _AgentSelf(msgspec.Struct, rename="pascal"):
    config: _AgentConfig


def decode_kv(reply: Reply[bytes], where: str) -> list[KvEntry]:
    """The keys of a `kv_list` or `kv_read`; a missing prefix or key is an empty list. Raises ConsulBadAnswer."""
    if reply.status == 404:
        return []
    return _decode(reply.data, list[KvEntry], where)


def _decode(body: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConsulBadAnswer(f"not what Consul answers here: {error}", where) from error


async def _raw(made: Awaitable[_Exchange]) -> Reply[bytes]:
    return (await made).reply


async def _decoded(made: Awaitable[_Exchange], kind: type[T]) -> T:
    """What python-consul2's callback makes of the answer; it raises whatever the answer trips it over."""
    reply, callback, where = await made
    try:
        text = reply.data.decode("utf-8")
        decoded = callback(consul.base.Response(reply.status, {}, text, reply.data))
    except Exception as error:
        raise ConsulBadAnswer(f"not what Consul answers here: {type(error).__name__}: {error}", where) from error
    if not isinstance(decoded, kind):
        raise ConsulBadAnswer(f"a {type(decoded).__name__} where {kind.__name__} was expected", where)
    return decoded


def _wait(seconds: float) -> str | None:
    return f"{max(1, round(seconds * 1000))}ms" if seconds else None


def _check_name(name: str, what: str) -> None:
    if _UNUSABLE_NAME.search(name):
        raise ConsulRefused(f"{what} name {name[:80]!r} cannot be a part of a Consul path", what, 400)
