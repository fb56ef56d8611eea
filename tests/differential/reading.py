"""Responses as a client meets them, whole or cut off."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

END = b"\r\n\r\n"


class Response(NamedTuple):
    head: bytes
    """Without the empty line."""
    body: bytes
    trailer: bytes
    whole: bool

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def value(self, name: bytes) -> bytes | None:
        """Of the first field of that name, given in lower case."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == name:
                return value.strip()
        return None


class _Cut(Exception):
    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


async def read_response(reader: asyncio.StreamReader, method: str) -> Response | None:
    """The next one, to a request with this method; None where the connection ends before a whole head."""
    try:
        head = (await reader.readuntil(END)).removesuffix(END)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    response = Response(head, b"", b"", whole=True)
    if method == "HEAD" or response.status in (204, 304) or response.status < 200:
        return response
    length = response.value(b"content-length")
    try:
        if response.value(b"transfer-encoding") == b"chunked":
            body, trailer = await _chunked(reader)
            return response._replace(body=body, trailer=trailer)
        if length is not None:
            return response._replace(body=await _exactly(reader, int(length), b""))
        return response._replace(body=await _until_closed(reader))
    except _Cut as cut:
        return response._replace(body=cut.body, whole=False)


async def _chunked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    body = b""
    try:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body = await _exactly(reader, size, body)
            await reader.readexactly(2)
        trailer = b""
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            trailer += line
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _Cut(body) from error
    return body, trailer


async def _exactly(reader: asyncio.StreamReader, size: int, body: bytes) -> bytes:
    """`body` and so many bytes more."""
    try:
        return body + await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise _Cut(body + error.partial) from error
    except ConnectionError as error:
        raise _Cut(body) from error


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    """A reset is no end of a body."""
    body = b""
    try:
        while data := await reader.read(65536):
            body += data
    except ConnectionError as error:
        raise _Cut(body) from error
    return body
