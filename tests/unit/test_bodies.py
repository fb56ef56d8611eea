"""A request's body: kept while it is small, once and in order for each attempt."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.core.model import Reason
from gateway.proxy.bodies import RequestBody
from gateway.proxy.upstream.interface import ClientBodyFailure


class _Connected(BaseProtocol):
    connected = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


@pytest.fixture
async def content() -> StreamReader:
    loop = asyncio.get_running_loop()
    return StreamReader(_Connected(loop), 65536, loop=loop)


def body(content: StreamReader, *, keep: int = 10, limit: int = 0, idle: float = 0.0, rate: float = 0.0) -> RequestBody:
    return RequestBody(content, None, keep=keep, limit=limit, idle=idle, grace=0.05, rate=rate)


async def everything(body: RequestBody) -> bytes:
    data = b""
    while more := await body.read():
        data += more
    return data


async def test_one_that_is_too_large_is_not_sent_again_without_what_was_too_much(content: StreamReader) -> None:
    """The attempt may fail otherwise before it is told, and another one would send what is left of the body."""
    refused = body(content, limit=5)
    content.feed_data(b"abcdef")
    content.feed_eof()
    with pytest.raises(ClientBodyFailure):
        refused.whole()
    assert not refused.replayable


async def test_replayed_in_order_from_any_point(content: StreamReader) -> None:
    kept = body(content)
    content.feed_data(b"abc")
    assert await kept.read() == b"abc"
    kept.restart()
    content.feed_data(b"def")
    assert await kept.read() == b"abc"
    assert await kept.read() == b"def"
    kept.restart()
    content.feed_data(b"ghi")
    content.feed_eof()
    assert kept.whole() == b"abcdefghi"
    assert await kept.read() == b""
    kept.restart()
    assert kept.whole() == b"abcdefghi"
    kept.restart()
    assert await everything(kept) == b"abcdefghi"
    assert kept.replayable
    assert kept.received == 9


async def test_beyond_the_buffer_nothing_is_kept(content: StreamReader) -> None:
    streamed = body(content)
    content.feed_data(b"0123456789")
    assert await streamed.read() == b"0123456789"
    before = streamed.replayable
    content.feed_data(b"x")
    assert await streamed.read() == b"x"
    assert (before, streamed.replayable) == (True, False)
    content.feed_data(b"y")
    content.feed_eof()
    assert streamed.whole() is None
    assert await everything(streamed) == b"y"


async def test_a_whole_body_that_outgrows_the_buffer_is_whole_once(content: StreamReader) -> None:
    large = body(content)
    content.feed_data(b"01234")
    assert await large.read() == b"01234"
    large.restart()
    content.feed_data(b"56789x")
    content.feed_eof()
    assert large.whole() == b"0123456789x"
    assert not large.replayable
    assert await large.read() == b""


async def test_an_empty_body(content: StreamReader) -> None:
    content.feed_eof()
    empty = body(content, keep=0)
    assert empty.whole() == b""
    empty.restart()
    assert empty.whole() == b""


async def test_a_read_that_was_cancelled_loses_nothing(content: StreamReader) -> None:
    kept = body(content)
    reading = asyncio.ensure_future(kept.read())
    await asyncio.sleep(0)
    content.feed_data(b"abc")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    content.feed_eof()
    kept.restart()
    assert await everything(kept) == b"abc"


@pytest.mark.parametrize("whole", [False, True])
async def test_the_limit(content: StreamReader, whole: bool) -> None:
    limited = body(content, limit=5)
    content.feed_data(b"123456")
    content.feed_eof()
    with pytest.raises(ClientBodyFailure) as failure:
        limited.whole() if whole else await limited.read()
    assert failure.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(("idle", "rate"), [(0.05, 0.0), (0.0, 100.0)])
async def test_a_stall_is_noticed(content: StreamReader, idle: float, rate: float) -> None:
    stalled = body(content, idle=idle, rate=rate)
    content.feed_data(b"123")
    assert await stalled.read() == b"123"
    with pytest.raises(ClientBodyFailure) as failure:
        await asyncio.wait_for(stalled.read(), 2)
    assert failure.value.reason is Reason.REQUEST_TIMEOUT


async def test_only_waiting_for_the_client_counts_as_slowness(content: StreamReader) -> None:
    patient = body(content, rate=1000.0)
    content.feed_data(b"1")
    await patient.read()
    await asyncio.sleep(0.2)
    content.feed_data(b"2")
    assert await patient.read() == b"2"
