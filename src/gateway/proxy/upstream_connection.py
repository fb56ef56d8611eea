"""One connection to an instance: aiohttp's client protocol and strict-enough parser, and what we need on top of it."""

from __future__ import annotations

import asyncio

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

_HEAD_END = b"\r\n\r\n"
_NO_CONTENT = b"204"
_NO_CAUSE = BaseException()


class UpstreamConnection(ResponseHandler):
    """`requests` were sent on it so far; `answered`: a byte has come back for the last one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.requests = 0
        self.answered = False
        self._awaiting_head = False

    def begin(self, *, head_only: bool, line_limit: int, field_limit: int, fields_limit: int, buffer: int) -> None:
        """Gets ready for one more response; `head_only` for one to HEAD."""
        self.requests += 1
        self.answered = False
        self._awaiting_head = True
        self.set_response_params(
            skip_payload=head_only,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=buffer,
            max_line_size=line_limit,
            max_field_size=field_limit,
            max_headers=fields_limit,
        )

    async def head(self) -> tuple[RawResponseMessage, StreamReader]:
        """The final response's head, or that of 101. Interim ones are dropped: what they are for ends here."""
        while True:
            message, payload = await self.read()
            if message.code >= 200 or message.code == 101:
                self._awaiting_head = False
                return message, payload

    def data_received(self, data: bytes) -> None:
        self.answered = True
        if self._awaiting_head and not self._upgraded:
            # The parser forgets a complete head when the same bytes go on with something that is no HTTP. So the head
            # is fed alone: a body that is longer than announced costs the connection, not the response. Not so for a
            # 204, whose body is a broken answer as a whole.
            end = data.find(_HEAD_END)
            if end >= 0 and end + 4 < len(data) and data[9:12] != _NO_CONTENT:
                super().data_received(data[: end + 4])
                data = data[end + 4 :]
        super().data_received(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _NO_CAUSE) -> None:
        """Ends what is being read, head or body: the parser itself tells nothing to a body that it gave up."""
        payload = self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(exc)
        if exc_cause is _NO_CAUSE:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
