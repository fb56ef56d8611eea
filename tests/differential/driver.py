"""Sends cases through a gateway, which it knows by its port alone, and tells what client and instance saw."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Sequence

from tests.differential.case import HOST, Answer, Case
from tests.differential.reading import Response, read_response
from tests.differential.seen import Message, Normal, Seen
from tests.support.upstreams import Exchange, ReceivedRequest, ScriptedUpstream

TRUSTED = "127.0.0.2"
"""The address of clients that a gateway is to believe."""
SETTINGS = {"head_timeout": 0.5, "body_grace": 0.5, "keep_alive": 20.0}
"""Of both gateways, in seconds: what a case waits for, and what it does not."""
_PATIENCE = 10.0
"""Seconds until it is told that a gateway says nothing."""
_LAST = b"GET /after HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
_SILENCE = Message("(silence)", {}, "", whole=False)
_KEY = re.compile(rb"^sec-websocket-key: *(\S+)", re.IGNORECASE | re.MULTILINE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ScriptedInstance:
    """The one instance of the service. Knows when all that it does for a case is over."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream(self._serve)
        self._answers: list[Answer] = []
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._whole: set[int] = set()

    def begin(self, answers: Sequence[Answer]) -> None:
        self._answers = [*answers]
        self._whole.clear()
        self.upstream.requests.clear()

    async def seen(self) -> list[tuple[ReceivedRequest, bool]]:
        """The requests, each with whether it was whole, once no one waits for anything any more."""
        async with asyncio.timeout(_PATIENCE):
            await self._idle.wait()
        return [(each, id(each) in self._whole) for each in self.upstream.requests if each.target != "/after"]

    async def _serve(self, exchange: Exchange) -> None:
        self._running += 1
        self._idle.clear()
        try:
            await exchange.read_body()
            self._whole.add(id(exchange.request))
            await self._answer(exchange)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _answer(self, exchange: Exchange) -> None:
        seen = exchange.request
        if seen.target == "/after" or not self._answers:
            await exchange.say(_plain(seen))
            return
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if answer.switch:
            await _echo(exchange)
            return
        if answer.data:
            await exchange.say(answer.data)
        if answer.close:
            exchange.writer.write_eof()
        if answer.close or not answer.data:
            # The gateway has seen it when it has closed its side.
            await exchange.until_closed()
            exchange.close()


def _plain(seen: ReceivedRequest) -> bytes:
    target = seen.target.encode()
    body = b"" if seen.start_line.startswith("HEAD ") else target
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%b" % (len(target), body)


async def _echo(exchange: Exchange) -> None:
    key = _KEY.search(exchange.request.head)
    accept = base64.b64encode(hashlib.sha1((key[1] if key else b"") + _GUID).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    await exchange.say(head + b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept)
    while data := await exchange.reader.read(65536):
        await exchange.say(data)
    exchange.close()


async def run(case: Case, port: int, instance: ScriptedInstance) -> Seen:
    """The case through the gateway at that port, whose only instance this is."""
    normal = Normal(port, instance.upstream.port)
    instance.begin(case.answers)
    local = (TRUSTED, 0) if case.trusted else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20, local_addr=local)
    try:
        client = _Client(reader, writer, normal)
        await client.send(case)
        kept = await client.kept()
    finally:
        writer.transport.abort()
    requests = [normal.message(each.head, each.body, whole=whole) for each, whole in await instance.seen()]
    return Seen(client.seen, kept, requests)


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, normal: Normal) -> None:
        self.seen: list[Message] = []
        self._reader = reader
        self._writer = writer
        self._normal = normal
        self._open = True
        self._tunnel = False

    async def send(self, case: Case) -> None:
        awaited = [*case.awaited]
        first, *others = case.sent
        await self._say(first)
        for piece in others:
            await self._hear(awaited)
            await self._say(piece)
            if self._tunnel:
                await self._hear_back(piece)
                return
        while awaited and self._open:
            await self._hear(awaited)

    async def kept(self) -> bool:
        if not self._open or self._tunnel:
            return False
        await self._say(_LAST)
        response = await self._response("GET")
        # What comes instead belongs to the requests before.
        if response is not None and (response.status != 200 or response.body != b"/after"):
            self._tell(response)
            return False
        return response is not None

    async def _say(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):
            # It has been closed by now; uvloop calls it a RuntimeError.
            pass

    async def _hear(self, awaited: list[str]) -> None:
        """One response; a final one is taken off those that are awaited."""
        response = await self._response(awaited[0])
        if response is None:
            return
        self._tell(response)
        if response.status >= 200:
            del awaited[0]
        self._tunnel = response.status == 101
        if self._tunnel:
            awaited.clear()

    async def _hear_back(self, piece: bytes) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                data = await self._reader.readexactly(len(piece))
        except asyncio.IncompleteReadError as error:
            data = error.partial
        self.seen.append(Message("(tunnel)", {}, data.decode("latin-1")))

    async def _response(self, method: str) -> Response | None:
        if not self._open:
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                response = await read_response(self._reader, method)
        except TimeoutError:
            self.seen.append(_SILENCE)
            self._open = False
            return None
        self._open = response is not None and response.whole
        return response

    def _tell(self, response: Response) -> None:
        message = self._normal.message(response.head, response.body, response.trailer, whole=response.whole)
        self.seen.append(message)
