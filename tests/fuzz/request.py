"""What a client sends, up to the head of the request to an instance, which two other parsers have to agree about."""

from __future__ import annotations

import asyncio
import itertools

from aiohttp.streams import StreamReader

from gateway.core.model import Reason
from gateway.core.paths import normalise
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Entrance, Message, Reader
from gateway.proxy.client.server import ClientServer
from gateway.proxy.http.forwarded import Forwarding
from gateway.proxy.http.refusals import Refused
from gateway.proxy.options import ProxyOptions
from tests.corpus import chunks, framing, hops, syntax, targets
from tests.support.second_opinion import requests
from tests.support.wire import Wire

SEEDS = [
    case.sent
    for module in (framing, chunks, hops, syntax, targets)
    for case in itertools.chain.from_iterable(module.CASES.values())
    if len(case.sent) < 500
]
FOUND: list[bytes] = []

_OPTIONS = ProxyOptions("edge-1", max_line=500, max_field=500, max_fields=12)


class _Forwarder:
    """Reads each request as the gateway does, and writes its head as it does (Exchanges and Begun)."""

    def __init__(self) -> None:
        self._reader = Reader(_OPTIONS, Forwarding(()), lambda: 0)

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        connection.exchange_began(self)
        try:
            inbound = self._reader.read(message, connection)
        except Refused as refused:
            connection.exchange_ended(content, keep_alive=not refused.close and content.is_eof())
            return
        facts, head = inbound.facts, inbound.head
        assert normalise(facts.path) == facts.path
        upgrade = "" if inbound.upgrade is None else f"Connection: Upgrade\r\nUpgrade: {inbound.upgrade}\r\n"
        start = f"{facts.method} {facts.path}{inbound.query} HTTP/1.1\r\nHost: {head.host or 'a'}\r\n{upgrade}"
        (heard,) = requests(start.encode() + head.lines + b"\r\n").messages
        assert heard.start == f"{facts.method} {facts.path}{inbound.query}"
        assert head.has_body or head.length is None
        connection.exchange_ended(content, keep_alive=inbound.keep_alive and content.is_eof())

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        assert reason is not None

    def client_left(self) -> None:
        pass


def fuzz(data: bytes) -> None:
    asyncio.run(_fuzz(data))


async def _fuzz(data: bytes) -> None:
    connection = ClientServer(_Forwarder(), _OPTIONS).factory(Entrance("http", 80))()
    connection.connection_made(Wire())
    cut = data[0] if data else 0
    for piece in (data[1:cut], data[max(1, cut) :]):
        if piece:
            connection.data_received(piece)
    connection.connection_lost(None)
