"""HTTP to Consul over one pooled aiohttp session: deadlines, bounds, and one family of errors.

What python-consul2's own transports lack is here: a connection is reused, no redirect is followed (it would carry the
token along), the token travels in a header only, an answer has a largest size, and every failure has a name.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp
from yarl import URL

from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.errors import (
    ConsulBadAnswer,
    ConsulBusy,
    ConsulDenied,
    ConsulError,
    ConsulRefused,
    ConsulSettingsError,
    ConsulUnavailable,
    ConsulUnreachable,
)
from gateway.discovery.token import TokenSource

T = TypeVar("T")

_SHOWN = 200
_NEVER_ROUND_UP = 1e9
_TLS_GOODBYE = 0.1


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """One answer of Consul with what its headers tell (https://developer.hashicorp.com/consul/api-docs/features).

    `index` is None where the header is missing, is not a number, or is below 1. `known_leader` and `last_contact`
    (seconds) are None where the answer does not tell, as with streaming since Consul 1.10.
    """

    data: T
    status: int = 200
    index: int | None = None
    known_leader: bool | None = None
    last_contact: float | None = None
    filtered_by_acls: bool = False


class Transport:
    """One session towards one agent. Made outside of a loop, it connects with the first request."""

    def __init__(self, settings: ConsulSettings) -> None:
        self._settings = settings
        self._tls = _tls_context(settings) if settings.scheme == "https" else None
        self._session: aiohttp.ClientSession | None = None
        self.token = TokenSource(settings.token, settings.token_file)

    async def request(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Reply[bytes]:
        """`url` is absolute and encoded. Returns 200 and 404; everything else is a ConsulError."""
        where = f"{method} {URL(url, encoded=True).path}"
        limit = aiohttp.ClientTimeout(
            total=timeout or self._settings.timeout,
            sock_connect=self._settings.timeout,
            ceil_threshold=_NEVER_ROUND_UP,
        )
        try:
            async with self._open().request(
                method,
                URL(url, encoded=True),
                data=body,
                headers=self._headers(),
                timeout=limit,
                allow_redirects=False,
                server_hostname=self._settings.server_name if self._tls is not None else None,
            ) as response:
                content = await self._read(response, where)
        except TimeoutError as error:
            raise ConsulUnreachable(f"no answer within {limit.total:g} s", where) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ConsulUnreachable(f"{type(error).__name__}: {error}", where) from error
        _raise_for_status(response.status, content, where)
        return _reply(response.status, response.headers, content)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
            # what was cancelled in flight closes on its own, some turns of the loop later
            await asyncio.sleep(0 if self._tls is None else 2 * _TLS_GOODBYE)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self._settings.unix_socket is not None:
                connector = aiohttp.UnixConnector(self._settings.unix_socket, limit=0)
            else:
                connector = _tcp_connector(self._tls)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                requote_redirect_url=False,
                trust_env=False,
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        token = self.token.current()
        if token is not None:
            headers["X-Consul-Token"] = token
        if self._settings.namespace is not None:
            headers["X-Consul-Namespace"] = self._settings.namespace
        if self._settings.http_auth is not None:
            user, _, password = self._settings.http_auth.partition(":")
            headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
        return headers

    async def _read(self, response: aiohttp.ClientResponse, where: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._settings.max_answer:
                response.close()
                raise ConsulBadAnswer(f"the answer is larger than {self._settings.max_answer} bytes", where)
            chunks.append(chunk)
        return b"".join(chunks)


def _tcp_connector(tls: ssl.SSLContext | None) -> aiohttp.TCPConnector:
    """Without a limit, for the default of 100 starves the 101st watch.

    Consul answers the TLS goodbye of a blocking query only when the query's time is over, and uvloop waits for it when
    it is closed. aiohttp has no other public way to bound it than the parameter that it calls deprecated.
    """
    if tls is None:
        return aiohttp.TCPConnector(limit=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return aiohttp.TCPConnector(limit=0, ssl=tls, ssl_shutdown_timeout=_TLS_GOODBYE)


def _raise_for_status(status: int, content: bytes, where: str) -> None:
    if status in {200, 404}:
        return
    said = "".join(c if c.isprintable() else " " for c in content[:_SHOWN].decode("utf-8", "replace")).strip()
    what = f"{status} {said}" if said else str(status)
    error: ConsulError
    if status == 403:
        error = ConsulDenied(what, where)
    elif status == 429:
        error = ConsulBusy(what, where)
    elif 400 <= status < 500:
        error = ConsulRefused(what, where, status)
    elif status >= 500:
        error = ConsulUnavailable(what, where)
    else:
        error = ConsulBadAnswer(f"status {status}, which Consul does not use here and which is not followed", where)
    raise error


def _reply(status: int, headers: Mapping[str, str], content: bytes) -> Reply[bytes]:
    last_contact = _number(headers.get("X-Consul-LastContact"))
    return Reply(
        data=content,
        status=status,
        index=_number(headers.get("X-Consul-Index")) or None,
        known_leader={"true": True, "false": False}.get(headers.get("X-Consul-KnownLeader", "").lower()),
        last_contact=None if last_contact is None else last_contact / 1000,
        filtered_by_acls=headers.get("X-Consul-Results-Filtered-By-ACLs", "").lower() == "true",
    )


def _number(text: str | None) -> int | None:
    """A whole number of at most 64 bits, or None for anything else."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    return int(text)


def _tls_context(settings: ConsulSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file, capath=settings.ca_path)
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ValueError) as error:
        files = (settings.ca_file, settings.ca_path, settings.cert_file, settings.key_file)
        named = ", ".join(str(file) for file in files if file is not None)
        raise ConsulSettingsError(f"cannot use the TLS files towards Consul ({named}): {error}") from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
