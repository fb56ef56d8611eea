"""Traces and the access log of a whole gateway on a real Consul: a collector that decodes what it is sent, one that is
dead, and one that hangs; a disk that is full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.ports import free_port
from tests.support.serving import serving

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
SECRET = "s3cret-of-alice"
REQUESTS = 30


class Collector:
    """An OTLP receiver over HTTP (protobuf)."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, object] = {}
        self.raw = b""
        self._more = asyncio.Event()

    async def take(self, request: web.BaseRequest) -> web.Response:
        assert (request.method, request.path) == ("POST", "/v1/traces")
        assert request.headers["Content-Type"] == "application/x-protobuf"
        body = await request.read()
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = told(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self._more.set()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    async def wait_for(self, count: int) -> list[Span]:
        async with asyncio.timeout(10):
            while len(self.spans) < count:
                self._more.clear()
                await self._more.wait()
        return self.spans


class Instance:
    def __init__(self) -> None:
        self.parents: list[str] = []
        self.states: list[str | None] = []

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.parents.append(request.headers["traceparent"])
        self.states.append(request.headers.get("tracestate"))
        return web.Response(text="ok")


def told(attributes: Iterable[KeyValue]) -> dict[str, object]:
    """Attributes as plain values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "") for pair in attributes}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def instance(stack: AsyncExitStack, dev_consul: ConsulAgent) -> Instance:
    instance = Instance()
    port = await stack.enter_async_context(serving(instance.answer))
    dev_consul.admin.register("orders", port, id="orders-1")
    dev_consul.admin.put("gateway/routes/all", {"backends": [{"service": "orders"}]})
    return instance


@pytest.fixture
async def collector(stack: AsyncExitStack) -> tuple[Collector, str]:
    collector = Collector()
    port = await stack.enter_async_context(serving(collector.take))
    return collector, f"http://127.0.0.1:{port}"


async def ask(gateway: GatewayProcess, target: str = "/", **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session, session.get(gateway.url + target, headers=sent) as got:
        await got.read()
        return got.status


async def test_a_request_is_told_in_spans_and_line_without_its_credentials(
    dev_consul: ConsulAgent,
    start_gateway: StartGateway,
    instance: Instance,
    collector: tuple[Collector, str],
    tmp_path: Path,
) -> None:
    receiver, url = collector
    access = tmp_path / "access.log"
    gateway = await asyncio.to_thread(
        start_gateway,
        {**dev_consul.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": url},
        trace_ratio=1,
        access_log=access,
        log_headers="user-agent, authorization, cookie, x-api-key, referer",
        service="edge",
    )
    status = await ask(
        gateway,
        f"/orders?page=2&api_key={SECRET}",
        traceparent=PARENT,
        tracestate="vendor=1",
        user_agent="test",
        authorization=f"Bearer {SECRET}",
        cookie=f"session={SECRET}",
        x_api_key=SECRET,
        referer=f"https://x/?token={SECRET}",
    )
    assert status == 200
    server, client = await receiver.wait_for(2)

    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, CALLER)
    assert (client.trace_id.hex(), client.parent_span_id) == (TRACE, server.span_id)
    assert instance.parents == [f"00-{TRACE}-{client.span_id.hex()}-01"]
    assert (instance.states, server.trace_state) == (["vendor=1"], "vendor=1")
    assert (server.kind, client.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert (server.name, client.name) == ("GET all", "GET")
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.start_time_unix_nano < client.end_time_unix_nano <= server.end_time_unix_nano
    assert receiver.resource["service.name"] == "edge"
    attributes = told(server.attributes)
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("all", 200)
    assert (attributes["url.path"], attributes["url.query"]) == ("/orders", "page=2&api_key=***")
    assert told(client.attributes)["gateway.service"] == "orders"

    await eventually(lambda: access.read_text().count("\n") == 1)
    line = json.loads(access.read_text())
    assert (line["trace_id"], line["query"]) == (TRACE, "page=2&api_key=***")
    assert line["headers"] == {
        "user-agent": "test",
        "authorization": "***",
        "cookie": "***",
        "x-api-key": "***",
        "referer": "https://x/?token=***",
    }
    assert (line["route"], line["service"], line["instance"].rpartition("/")[2]) == ("all", "orders", "orders-1")
    assert (line["outcome"], line["status"], line["attempts"]) == ("responded", 200, 1)
    assert 0 < line["connect"] < line["first_byte"] < line["duration"]
    assert line["queue"] == 0, "it did not have to wait"
    assert 0 <= line["view_age"] < 60
    told_of_it = access.read_text() + gateway.log + receiver.raw.decode("latin-1")
    assert SECRET not in told_of_it
    assert gateway.metric("gateway_spans_dropped_total") == 0


async def test_credentials_of_a_route_are_redacted_on_every_path(
    dev_consul: ConsulAgent, start_gateway: StartGateway, instance: Instance, tmp_path: Path
) -> None:
    access = tmp_path / "access.log"
    document = {
        "match": {"path_prefix": "/closed"},
        "backends": [{"service": "orders"}],
        "auth": {"api_key": {"query": "pass"}},
    }
    dev_consul.admin.put("gateway/routes/closed", document)
    gateway = await asyncio.to_thread(start_gateway, dev_consul.environment, access_log=access)
    assert await ask(gateway, f"/closed?pass={SECRET}") == 401
    assert await ask(gateway, f"/clsed?pass={SECRET}") == 200
    await eventually(lambda: access.read_text().count("\n") == 2)
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert [line["query"] for line in lines] == ["pass=***", "pass=***"]
    assert SECRET not in access.read_text() + gateway.log


async def test_what_waits_is_delivered_at_the_end(
    dev_consul: ConsulAgent, start_gateway: StartGateway, instance: Instance, collector: tuple[Collector, str]
) -> None:
    receiver, url = collector
    gateway = await asyncio.to_thread(
        start_gateway, dev_consul.environment, trace_ratio=1, trace_endpoint=f"{url}/v1/traces"
    )
    for _ in range(REQUESTS):
        assert await ask(gateway) == 200
    await asyncio.to_thread(gateway.stop)
    assert len(receiver.spans) == 2 * REQUESTS
    assert len({span.trace_id for span in receiver.spans}) == REQUESTS


async def test_strangers_do_not_decide_what_is_recorded(
    dev_consul: ConsulAgent, start_gateway: StartGateway, instance: Instance, collector: tuple[Collector, str]
) -> None:
    receiver, url = collector
    given = {"trace_ratio": 0, "trace_endpoint": f"{url}/v1/traces"}
    strange = await asyncio.to_thread(start_gateway, dev_consul.environment, **given)
    trusting = await asyncio.to_thread(
        start_gateway, dev_consul.environment, **given, trusted_hops="127.0.0.0/8", id="trusting"
    )
    for gateway in (strange, trusting):
        assert await ask(gateway, traceparent=PARENT) == 200
    await asyncio.to_thread(strange.stop)
    spans = await receiver.wait_for(2)
    assert [parent[-2:] for parent in instance.parents] == ["00", "01"]
    assert [span.span_id.hex() for span in spans if span.kind == Span.SPAN_KIND_CLIENT] == [
        instance.parents[1].split("-")[2]
    ]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_collector_that_is_dead_or_hangs_fails_no_request(
    dev_consul: ConsulAgent, start_gateway: StartGateway, instance: Instance, stack: AsyncExitStack, hangs: bool
) -> None:
    port = free_port()
    if hangs:
        await stack.enter_async_context(await asyncio.start_server(_hang, "127.0.0.1", port))
    gateway = await asyncio.to_thread(
        start_gateway,
        {**dev_consul.environment, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"},
        trace_ratio=1,
        trace_endpoint=f"http://127.0.0.1:{port}/v1/traces",
    )
    assert [await ask(gateway) for _ in range(REQUESTS)] == [200] * REQUESTS
    await eventually(lambda: gateway.metric("gateway_spans_dropped_total") == 2 * REQUESTS, what="all are counted")
    assert [await ask(gateway) for _ in range(REQUESTS)] == [200] * REQUESTS
    assert gateway.log.count("Spans cannot be delivered") == 1
    await asyncio.to_thread(gateway.stop)
    assert "Traceback" not in gateway.log


async def test_a_full_disk_of_the_access_log_fails_no_request(
    dev_consul: ConsulAgent, start_gateway: StartGateway, instance: Instance, tmp_path: Path
) -> None:
    access = tmp_path / "access.log"
    access.symlink_to("/dev/full")
    gateway = await asyncio.to_thread(start_gateway, dev_consul.environment, access_log=access)
    assert [await ask(gateway) for _ in range(REQUESTS)] == [200] * REQUESTS
    await eventually(lambda: gateway.metric("gateway_log_lines_dropped_total") == REQUESTS, what="all are counted")
    assert gateway.log.count("The access log cannot be written") == 1
    access.unlink()  # there is room again
    assert await ask(gateway, "/again") == 200
    await eventually(lambda: access.exists() and "/again" in access.read_text(), what="it is written again")
    assert gateway.metric("gateway_log_lines_dropped_total") == REQUESTS


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.read(65536):
            pass
    finally:
        writer.close()
