"""An instance's response on its way to the client: framed anew, streamed, and cut off where it is cut off."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.proxy.client_connection import ClientConnection
from gateway.proxy.fields import Field, head
from gateway.proxy.upstream import UpstreamResponse

_LAST_CHUNK = b"0\r\n\r\n"


def framing(
    response: UpstreamResponse, length: int | None, version: str, *, keep_alive: bool
) -> tuple[str, bool, bool]:
    """Lines that frame the response for this client, whether the body is chunked, and whether the connection goes on.

    Without a length the body is chunked; towards HTTP/1.0 it ends with the connection.
    """
    lines, chunked = "", False
    if length is not None:
        lines = f"Content-Length: {length}\r\n"
    elif not response.bodiless:
        if version == "1.1":
            lines, chunked = "Transfer-Encoding: chunked\r\n", True
        else:
            keep_alive = False
    if not keep_alive:
        lines += "Connection: close\r\n"
    elif version == "1.0":
        lines += "Connection: keep-alive\r\n"
    return lines, chunked, keep_alive


def response_head(response: UpstreamResponse, fields: Sequence[Field], lines: str) -> bytes:
    return head(f"HTTP/1.1 {response.status} {response.phrase}", fields, lines)


async def stream(response: UpstreamResponse, start: bytes, connection: ClientConnection, *, chunked: bool) -> int:
    """Writes `start`, then each piece of the body as soon as it is there; returns the body's size in bytes.

    Raises UpstreamFailure(TRUNCATED) or ClientBodyFailure where the body cannot be had to its end, ConnectionError
    where the client has gone.
    """
    connection.write(start)
    size = 0
    while data := await response.read():
        size += len(data)
        connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        await connection.drain()
    if chunked:
        connection.write(_LAST_CHUNK)
    return size
