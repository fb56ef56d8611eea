"""Whatever a client sends, an instance sees nothing, or well-formed requests, each the one that the pipeline saw.

The bytes are the corpus's, mutilated, spliced and cut. Behind the gateway two parsers have to agree about every byte;
in front of it h11 is asked what the client's bytes are, and may not have found another request where we found one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.paths import BadPath, normalise, normalise_query
from gateway.pipeline.stage import Call, Pipelines, ResponseHead
from tests.corpus import chunks, framing, hops, sizes, syntax, targets
from tests.support.proxies import OPTIONS, running_proxy
from tests.support.recording import RecordingUpstream
from tests.support.second_opinion import Heard, responses
from tests.support.upstreams import request

SEEDS = [
    case.sent
    for module in (framing, chunks, syntax, targets, hops, sizes)
    for cases in module.CASES.values()
    for case in cases
    if len(case.sent) < 1000
]
PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b"\x7f", b"\xff", b":", b",", b";", b'"', b"%", b"/",
    b"#", b"@", b"0", b"-1", b"chunked", b"\r\n\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"HTTP/1.1",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Host: other.test\r\n", b"GET / HTTP/1.1\r\n",
]  # fmt: skip
OURS = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "traceparent", "tracestate", "host"})
"""What is written for each attempt, behind the pipeline."""
HASTY = replace(OPTIONS, keep_alive=0.05, head_timeout=0.05, body_grace=0.05, lingering=0.05)
LONG = int(os.environ.get("GATEWAY_PROPERTY_EXAMPLES", "3000"))


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """What a client sends on one connection, in pieces."""
    data = b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        piece = draw(st.one_of(st.just(b""), st.sampled_from(PIECES), st.binary(max_size=3)))
        data = data[:at] + piece + data[at + size * draw(st.integers(0, 1)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class Watcher:
    """The stage that sees what is authorised."""

    def __init__(self) -> None:
        self.seen: dict[str, Call] = {}

    def request(self, call: Call) -> None:
        self.seen[call.id] = replace(call, fields=[*call.fields])

    def response(self, call: Call, head: ResponseHead) -> None:
        pass


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.booleans())
def test_what_is_forwarded_is_well_formed_and_what_was_authorised(pieces: list[bytes], prompt: bool) -> None:
    uvloop.run(_try(pieces, prompt=prompt))


@pytest.mark.long
@settings(max_examples=LONG, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams(), st.booleans())
def test_what_is_forwarded_is_well_formed_at_length(pieces: list[bytes], prompt: bool) -> None:
    uvloop.run(_try(pieces, prompt=prompt))


async def _try(pieces: Sequence[bytes], *, prompt: bool) -> None:
    """`prompt` or by way of a task for each step, which are two ways through the same rules."""
    watcher = Watcher()
    pipelines = Pipelines([lambda _: watcher])
    async with (
        RecordingUpstream() as upstream,
        running_proxy(upstream.instance, options=replace(HASTY, prompt=prompt), pipelines=pipelines) as proxy,
    ):
        answered = b""
        async with await proxy.connect() as client:
            try:
                for piece in pieces:
                    await client.say(piece)
                    await asyncio.sleep(0)
                async with asyncio.timeout(10):
                    while data := await client.reader.read(65536):
                        answered += data
            except ConnectionError:
                pass
        received = upstream.heard()
        for message in received:
            _is_what_was_authorised(message, watcher.seen[message.values("x-request-id")[0]], upstream.port)
        _is_what_was_sent(received, b"".join(pieces))
        if b"HEAD " not in b"".join(pieces):
            responses(answered, ["GET"] * 40, closed=True)
        assert (await proxy.ask(request("/others"))).body == b"GET /others"


def _as_heard(value: str) -> str:
    """With a character for each byte."""
    return value.encode("utf-8", "surrogateescape").decode("latin-1")


def _is_what_was_authorised(message: Heard, call: Call, port: int) -> None:
    assert message.start == f"{call.facts.method} {call.path}{call.query}"
    assert (call.path, call.query[1:]) == (call.facts.path, call.facts.query)
    said = [(name, value) for name, value in message.fields if name not in OURS]
    assert said == [(name.lower(), _as_heard(value)) for name, value in call.fields]
    assert message.values("host") == [call.host or f"127.0.0.1:{port}"]


def _is_what_was_sent(received: Sequence[Heard], sent: bytes) -> None:
    """Each in its turn among what h11 finds, as far as h11 gets; it is the stricter one about some syntax."""
    found, complete = _found_by_h11(sent)
    rest = iter(found)
    for message in received:
        wanted = (message.start, message.body)
        if not any(each == wanted for each in rest):
            assert not complete, f"h11 finds no {wanted} in {sent!r}, but {found}"
            return


def _found_by_h11(sent: bytes) -> tuple[list[tuple[str, bytes]], bool]:
    """Requests, their targets as we write them, and whether all of it could be read."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(sent)
    found: list[tuple[str, bytes]] = []
    start, body = "", b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                start, body = f"{event.method.decode()} {_ours(event.target.decode())}", b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                found.append((start, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found, True
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return found, False


def _ours(target: str) -> str:
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() == "http":
        at = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        target = rest[at:]
    path, mark, query = target.partition("?")
    try:
        return normalise(path) + mark + normalise_query(query)
    except BadPath:
        return target
