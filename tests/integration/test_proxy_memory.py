"""What a gigabyte costs the gateway in memory, with a peer that takes it slowly; and what many slow clients cost."""

import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.upstreams import OK, Exchange, LiteralClient, ScriptedUpstream, read_body, request

NAME = "shop.test"
MIB = 2**20
BLOCK = b"x" * MIB
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class GatewayProcess:
    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def memory(self, field: str = "VmRSS") -> int:
        """Resident bytes; `VmHWM` is the most there ever were."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@asynccontextmanager
async def gateway_process(
    upstream: ScriptedUpstream, *certificate: Path, tls: ssl.SSLContext | None = None
) -> AsyncIterator[GatewayProcess]:
    """With a certificate it speaks TLS, and `tls` is a client's."""
    arguments = ["-m", "tests.support.proxy_process", str(upstream.port), *map(str, certificate)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        async with await LiteralClient.connect(port, tls=tls, name=None if tls is None else NAME) as client:
            await client.ask(request("/warm-up"))
        yield GatewayProcess(process.pid, port)
    finally:
        process.terminate()
        await process.wait()


async def read_slowly(reader: asyncio.StreamReader, size: int) -> None:
    """A pause after each four megabytes; the sender is ready all the time."""
    left = size
    while left:
        left -= len(await reader.readexactly(min(left, 4 * MIB)))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_gigabyte_up_to_a_slow_instance(chunked: bool) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/up":
            if chunked:
                for _ in range(8):
                    await asyncio.sleep(0.1)
                await read_body_size(exchange.reader)
            else:
                await read_slowly(exchange.reader, 1024 * MIB)
        await exchange.say(OK)

    async def read_body_size(reader: asyncio.StreamReader) -> None:
        total = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
            total += size
        await reader.readexactly(2)
        assert total == 1024 * MIB

    async with ScriptedUpstream(script) as upstream, gateway_process(upstream) as gateway:
        before = gateway.memory()
        async with await LiteralClient.connect(gateway.port) as client:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {1024 * MIB}"
            await client.say(request("/up", framing, method="PUT"))
            for _ in range(1024):
                await client.say(b"100000\r\n" + BLOCK + b"\r\n" if chunked else BLOCK)
            await client.say(b"0\r\n\r\n" if chunked else b"")
            assert (await client.response()).status == 200
        grown = gateway.memory("VmHWM") - before
        print(f"the gateway's peak memory grew by {grown / MIB:.1f} MiB over a body of 1 GiB")
        assert grown < 50 * MIB


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_gigabyte_down_to_a_slow_client(chunked: bool) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/down":
            await exchange.say(OK)
            return
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (1024 * MIB)
        await exchange.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        for _ in range(1024):
            await exchange.say(b"100000\r\n" + BLOCK + b"\r\n" if chunked else BLOCK)
        await exchange.say(b"0\r\n\r\n" if chunked else b"")

    async with ScriptedUpstream(script) as upstream, gateway_process(upstream) as gateway:
        before = gateway.memory()
        async with await LiteralClient.connect(gateway.port, limit=4 * MIB) as client:
            await client.say(request("/down"))
            response = await client.head()
            if chunked:
                total = 0
                while size := int(await client.reader.readuntil(b"\r\n"), 16):
                    await client.reader.readexactly(size + 2)
                    total += size
                    if total % (4 * MIB) < size:
                        await asyncio.sleep(0.02)
                assert total == 1024 * MIB
            else:
                assert response.value("content-length") == str(1024 * MIB)
                await read_slowly(client.reader, 1024 * MIB)
        grown = gateway.memory("VmHWM") - before
        print(f"the gateway's peak memory grew by {grown / MIB:.1f} MiB over a body of 1 GiB")
        assert grown < 50 * MIB


async def test_a_hundred_clients_that_do_not_read() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/down":
            await read_body(exchange.reader, exchange.request)
            await exchange.say(OK)
            return
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await exchange.say(BLOCK)

    async with ScriptedUpstream(script) as upstream, gateway_process(upstream) as gateway:
        before = gateway.memory()
        clients = [await LiteralClient.connect(gateway.port, limit=4096) for _ in range(100)]
        for client in clients:
            await client.say(request("/down"))
        await asyncio.sleep(3)
        assert gateway.memory("VmHWM") - before < 100 * MIB
        for client in clients:
            client.writer.transport.abort()


async def test_a_thousand_idle_connections_by_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, both, tls = authority.pair(NAME), tmp_path / "both.pem", authority.trusting()
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    async with ScriptedUpstream() as upstream, gateway_process(upstream, both, tls=tls) as gateway:
        before = gateway.memory()
        clients = [await LiteralClient.connect(gateway.port, tls=tls, name=NAME) for _ in range(1000)]
        for client in clients:
            assert (await client.ask(request())).status == 200
        each = (gateway.memory() - before) / len(clients)
        print(f"an idle connection by TLS costs {each / 1024:.0f} KiB")
        assert each < 150 * 1024
        for client in clients:
            await client.say(request("/", method="PUT", body=bytes(MIB)))
            assert (await client.response()).status == 200
        each = (gateway.memory() - before) / len(clients)
        print(f"one that has carried a large body {each / 1024:.0f} KiB")
        assert each < MIB
        for client in clients:
            client.writer.transport.abort()
