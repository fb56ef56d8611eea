"""Small documents over HTTP, such as key sets."""

from __future__ import annotations

import aiohttp

from gateway.pipeline.authentication import LoadFailed

TIMEOUT = 5.0
"""Seconds for the whole of it."""


class Fetcher:
    """To be made in the event loop, and closed."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT, ceil_threshold=TIMEOUT + 1),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            requote_redirect_url=False,
        )

    async def __call__(self, url: str, *, limit: int) -> bytes:
        """The body of a 200, of up to `limit` bytes, decompressed. Raises LoadFailed."""
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise LoadFailed(f"answered with {response.status}")
                found = bytearray()
                async for piece in response.content.iter_chunked(16384):
                    found += piece
                    if len(found) > limit:
                        raise LoadFailed(f"the answer is larger than {limit} bytes")
                return bytes(found)
        except TimeoutError:
            raise LoadFailed(f"no answer within {TIMEOUT:g} s") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise LoadFailed(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        await self._session.close()
