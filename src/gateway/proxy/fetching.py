"""Small documents over HTTP, such as key sets."""

from __future__ import annotations

import errno
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.pipeline.authentication import LoadFailed
from gateway.proxy.upstream.host_name import CheckAddress

TIMEOUT = 5.0
"""Seconds for the whole of it."""
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class Fetcher:
    """To be closed once it was used."""

    def __init__(self, check: CheckAddress) -> None:
        self._check = check
        self._made: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, *, limit: int) -> bytes:
        """The body of a 200, of up to `limit` bytes. Raises LoadFailed."""
        try:
            address = URL(url)
            # A host that is an address already is not asked of the resolver.
            self._check(address.host or "")
            async with self._session().get(address, allow_redirects=False) as response:
                if response.status != 200:
                    raise LoadFailed(f"answered with {response.status}")
                found = bytearray()
                async for piece in response.content.iter_any():
                    found += piece
                    if len(found) > limit:
                        raise LoadFailed(f"the answer is larger than {limit} bytes")
                return bytes(found)
        except TimeoutError:
            raise LoadFailed(f"no answer within {TIMEOUT:g} s") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise LoadFailed(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        if self._made is not None:
            await self._made.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._made is None:
            self._made = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_CheckingResolver(self._check), use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT, ceil_threshold=TIMEOUT + 1),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._made


class _CheckingResolver(AbstractResolver):
    """Resolves names to those of their addresses that may be reached, at the time of connecting."""

    def __init__(self, check: CheckAddress) -> None:
        self._check = check
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        try:
            for each in found:
                self._check(each["host"])
        except ValueError as error:
            raise OSError(errno.EACCES, f"an address that is {error}") from None
        return found

    async def close(self) -> None:
        await self._resolver.close()
