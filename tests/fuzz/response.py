"""What an instance sends, as far as what the client gets of it, which two other parsers have to agree about."""

from __future__ import annotations

import asyncio
import itertools

from gateway.proxy.responses import written
from gateway.proxy.upstream.response_reader import BadResponse, ResponseReader
from tests.corpus.answers import CASES
from tests.support.second_opinion import responses

SEEDS = [
    bytes((len(answer.said) // 2, answer.method == "HEAD")) + answer.said
    for answer in itertools.chain.from_iterable(CASES.values())
    if len(answer.said) < 400
]
FOUND = [
    b"\x00\x01HTTP/1.1 200 OK\r\nX: y \r\n\r\n",  # the space behind it went on
]


def fuzz(data: bytes) -> None:
    """The first byte says where the rest is cut in two, the second whether it answers HEAD."""
    if len(data) < 2:
        return
    cut, head_only, said = data[0], data[1] == 1, data[2:]
    reader = ResponseReader(line_limit=200, head_limit=800, fields_limit=12)
    reader.begin(head_only=head_only)
    try:
        for piece in (said[:cut], said[cut:]):
            if piece:
                reader.feed(piece)
    except BadResponse:
        return
    if not reader.complete or reader.status == 101:
        return
    assert 200 <= reader.status <= 999
    body = b"".join(reader.body)
    assert not (reader.bodiless and body)
    framing = f"Content-Length: {reader.length if reader.bodiless and reader.length is not None else len(body)}\r\n"
    if reader.status in (204, 304):
        framing = ""
    start = f"HTTP/1.1 {reader.status} \r\n{framing}".encode()
    sent = start + written(reader.head.fields, "edge-1").lines + b"\r\n" + body
    asyncio.run(_heard(sent, "HEAD" if head_only else "GET", body))


async def _heard(sent: bytes, method: str, body: bytes) -> None:
    (message,) = responses(sent, [method], closed=True).messages
    assert message.body == body
