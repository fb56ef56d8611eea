"""What is written is sent when the round of the event loop ends: in order, once for each connection, and never late."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.model import Connect, FailureKind
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.exchange import UpstreamExchange
from gateway.proxy.upstream.interface import UpstreamFailure, UpstreamRequest, UpstreamResponse
from gateway.proxy.upstream.pool import UpstreamPool
from gateway.proxy.wire.connection import Connection
from gateway.proxy.wire.outbox import MOST, SMALL, Outbox


class Wire(asyncio.Transport):
    """Keeps what is sent, and how."""

    def __init__(self, log: list[bytes] | None = None) -> None:
        super().__init__()
        self.sent: list[bytes] = [] if log is None else log
        self.closing = False
        self.broken: Exception | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.sent.append(b"<closed>")

    def abort(self) -> None:
        self.sent.append(b"<aborted>")
        self.closing = True


def connected(outbox: Outbox, log: list[bytes] | None = None) -> tuple[Connection, Wire]:
    wire, made = Wire(log), Connection(asyncio.get_running_loop(), outbox)
    made.connection_made(wire)
    return made, wire


async def test_what_little_there_is_goes_in_one_piece_when_the_round_ends() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[bytes]()
    (one, _), (other, _) = connected(outbox, log), connected(outbox, log)
    one.write(b"1")
    other.write(b"2")
    one.write(b"3")
    assert log == []
    await asyncio.sleep(0)
    assert log == [b"13", b"2"]
    other.write(b"4")
    await asyncio.sleep(0)
    assert log[2:] == [b"4"]


async def test_much_goes_at_once_and_after_what_was_kept_back() -> None:
    connection, wire = connected(Outbox(asyncio.get_running_loop()))
    connection.write(b"first")
    connection.write(b"x" * SMALL)
    assert wire.sent == [b"first" + b"x" * SMALL]
    await asyncio.sleep(0)
    assert len(wire.sent) == 1


async def test_while_the_peer_takes_nothing_the_transport_has_to_know_all() -> None:
    connection, wire = connected(Outbox(asyncio.get_running_loop()))
    connection.pause_writing()
    connection.write(b"1")
    assert wire.sent == [b"1"]


async def test_no_more_than_so_many_wait_for_each_other() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[bytes]()
    for number in range(MOST + 1):
        assert log == []
        connection, _ = connected(outbox, log)
        connection.write(b"%d" % number)
        if number == MOST - 1:
            assert len(log) == MOST
            log.clear()
    await asyncio.sleep(0)
    assert log == [b"%d" % MOST]


async def test_one_that_cannot_send_keeps_nobody_else_from_it() -> None:
    outbox, log = Outbox(asyncio.get_running_loop()), list[bytes]()
    (one, wire), (other, _) = connected(outbox, log), connected(outbox, log)
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about["exception"]))
    wire.broken = RuntimeError("no")
    one.write(b"1")
    other.write(b"2")
    await asyncio.sleep(0)
    assert (log, told) == ([b"2"], [wire.broken])


@pytest.mark.parametrize(("end", "mark"), [(Connection.close, b"<closed>"), (Connection.abort, b"<aborted>")])
async def test_what_was_written_goes_before_the_end(end: object, mark: bytes) -> None:
    connection, wire = connected(Outbox(asyncio.get_running_loop()))
    connection.write(b"goodbye")
    assert callable(end)
    end(connection)
    assert wire.sent == [b"goodbye", mark]
    await asyncio.sleep(0)
    assert wire.sent == [b"goodbye", mark]


async def test_nothing_is_written_to_who_has_gone() -> None:
    connection, wire = connected(Outbox(asyncio.get_running_loop()))
    connection.write(b"1")
    wire.closing = True
    await asyncio.sleep(0)
    with pytest.raises(ConnectionResetError):
        connection.write(b"2")
    connection.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        connection.write(b"3")
    assert wire.sent == []


class Told:
    """A Receiver."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.response: UpstreamResponse | None = None

    def response_began(self, response: UpstreamResponse) -> None:
        self.response = response

    def attempt_failed(self, error: Exception) -> None:
        self.failure.set_result(error)

    async def came(self) -> Exception:
        async with asyncio.timeout(5):
            return await self.failure


class Instance:
    """Answers what it is asked, by a transport of this process."""

    def __init__(self) -> None:
        self.loop, self.options = asyncio.get_running_loop(), ProxyOptions("edge-1")
        self.outbox = Outbox(self.loop)
        self.connection = UpstreamConnection(self.loop, self.outbox, self.options)
        self.pool = UpstreamPool("127.0.0.1", 1, Connect(), self.outbox, self.options, lambda _: None)
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def ask(self, method: str = "GET") -> Told:
        request, told = UpstreamRequest(method, "/", "shop.test", b"", None, None, 1.0, 0.0, 1.0), Told()
        exchange = UpstreamExchange(self.pool, request, told, self.options)
        if self.pool.idle:
            exchange.begin()
        else:
            exchange._send(self.connection)
        return told

    def keep_another(self) -> Wire:
        """One more kept connection, where its bytes go."""
        wire, other = Wire(), UpstreamConnection(self.loop, self.outbox, self.options)
        other.connection_made(wire)
        self.pool._idle.insert(0, (other, self.loop.time()))
        return wire

    async def serve(self) -> None:
        """One exchange, after which the connection is kept."""
        told = self.ask()
        await asyncio.sleep(0)
        self.wire.sent.clear()
        self.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert told.response is not None
        assert told.response.whole() == b"ok"


async def test_what_an_instance_says_before_it_was_asked_is_no_answer() -> None:
    """It says so where it closes a kept connection for its age, at the very moment that a request is to be sent."""
    instance = Instance()
    await instance.serve()
    other = instance.keep_another()
    told = instance.ask("POST")
    instance.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    await asyncio.sleep(0)
    assert told.response is None
    assert instance.wire.sent == [b"<aborted>"]
    assert [sent[:8] for sent in other.sent] == [b"POST / H"], "nobody has seen it: it goes out on another connection"


async def test_a_kept_connection_lost_before_the_round_ends_was_not_asked() -> None:
    instance = Instance()
    await instance.serve()
    other = instance.keep_another()
    instance.ask("POST")
    instance.connection.connection_lost(None)
    await asyncio.sleep(0)
    assert instance.wire.sent == []
    assert [sent[:8] for sent in other.sent] == [b"POST / H"]


async def test_where_there_is_no_other_one_a_new_connection_is_made() -> None:
    """Here nobody listens."""
    instance = Instance()
    await instance.serve()
    told = instance.ask("POST")
    instance.connection.connection_lost(None)
    error = await told.came()
    assert isinstance(error, UpstreamFailure)
    assert (error.kind, error.detail[:13]) == (FailureKind.CONNECT_FAILURE, "no connection")


async def test_a_new_connection_lost_before_the_round_ends_could_not_be_made() -> None:
    instance = Instance()
    told = instance.ask("POST")
    instance.connection.connection_lost(None)
    error = await told.came()
    assert isinstance(error, UpstreamFailure)
    assert error.kind is FailureKind.CONNECT_FAILURE
    assert instance.wire.sent == []


async def test_a_request_that_is_given_up_in_its_round_is_not_sent() -> None:
    instance = Instance()
    instance.ask("POST")
    instance.connection.abort()
    assert instance.wire.sent == [b"<aborted>"]


async def test_a_new_connection_that_is_lost_before_anything_was_sent_is_one_that_could_not_be_made() -> None:
    """The request went nowhere, so that any method may be sent again."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    loop, options = asyncio.get_running_loop(), ProxyOptions("edge-1")
    pool = UpstreamPool("127.0.0.1", port, Connect(timeout=5.0), Outbox(loop), options, lambda _: None)
    connection = await pool.open()
    async with asyncio.timeout(5):
        while connection.transport is not None:
            await asyncio.sleep(0)
    request = UpstreamRequest("POST", "/", "shop.test", b"", None, None, 1.0, 0.0, 1.0)
    told = Told()
    UpstreamExchange(pool, request, told, options)._send(connection)
    error = await told.came()
    assert isinstance(error, UpstreamFailure)
    assert error.kind is FailureKind.CONNECT_FAILURE
    server.close()
