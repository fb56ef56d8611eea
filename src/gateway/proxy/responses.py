"""An instance's response on its way to the client: framed anew, streamed, and cut off where it is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.http import via
from gateway.proxy.http.fields import Field, lines
from gateway.proxy.upstream.interface import UpstreamResponse

_LAST_CHUNK = b"0\r\n\r\n"


def framing(
    response: UpstreamResponse, length: int | None, version: str, *, keep_alive: bool
) -> tuple[str, bool, bool]:
    """Lines that frame the response for this client, whether the body is chunked, and whether the connection goes on.

    Without a length the body is chunked; towards HTTP/1.0 it ends with the connection.
    """
    framed, chunked = "", False
    if length is not None:
        framed = f"Content-Length: {length}\r\n"
    elif not response.bodiless:
        if version == "1.1":
            framed, chunked = "Transfer-Encoding: chunked\r\n", True
        else:
            keep_alive = False
    if not keep_alive:
        framed += "Connection: close\r\n"
    elif version == "1.0":
        framed += "Connection: keep-alive\r\n"
    return framed, chunked, keep_alive


class Written(NamedTuple):
    """An instance's fields as they go to the client, with `Via`, but for the request's id."""

    lines: bytes
    dated: bool
    """Whether there is a `Date` among them."""


def written(fields: Sequence[Field], pseudonym: str) -> Written:
    """An id of the instance's for the request is left out: ours takes its place."""
    passed: list[Field] = []
    received_via: list[str] = []
    dated = False
    for field in fields:
        name = field[0].lower()
        if name == "via":
            received_via.append(field[1])
        elif name != "x-request-id":
            passed.append(field)
            dated = dated or name == "date"
    passed.append(("Via", via.extended(received_via, pseudonym)))
    return Written(lines(passed), dated)


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
