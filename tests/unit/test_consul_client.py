"""What goes to Consul over the wire, and what is made of what comes back. On a fake agent: a real one sends none of
these answers on demand."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.discovery.consul_client import ConsulClient, KvEntry, Question
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.errors import (
    ConsulBadAnswer,
    ConsulBusy,
    ConsulDenied,
    ConsulError,
    ConsulRefused,
    ConsulSettingsError,
    ConsulUnavailable,
    ConsulUnreachable,
)
from gateway.discovery.transport import Reply
from tests.support.fake_consul import FakeConsul, answer, fake_consul, never


@pytest.fixture
async def fake() -> AsyncIterator[FakeConsul]:
    async with fake_consul() as running:
        yield running


@pytest.fixture
async def client(fake: FakeConsul) -> AsyncIterator[ConsulClient]:
    made = ConsulClient(replace(fake.settings, token="secret"))
    yield made
    await made.close()


async def reading(fake: FakeConsul, sent: bytes) -> Reply[bytes]:
    fake.handler = lambda _asked: sent
    client = ConsulClient(fake.settings)
    try:
        return await client.health_service("orders")
    finally:
        await client.close()


async def test_a_blocking_query_on_the_wire(fake: FakeConsul, client: ConsulClient) -> None:
    await client.health_service("orders", index=7, wait=300)
    (asked,) = fake.asked
    assert (asked.method, asked.path) == ("GET", "/v1/health/service/orders")
    assert asked.query == {"index": "7", "wait": "300000ms"}
    assert asked.headers["x-consul-token"] == "secret"


async def test_no_token_in_any_url(fake: FakeConsul, client: ConsulClient) -> None:
    await client.kv_list("gateway/routes/")
    await client.catalog_services()
    await client.session_renew("id")
    assert all("secret" not in asked.path + str(asked.query) for asked in fake.asked)
    assert all(asked.headers["x-consul-token"] == "secret" for asked in fake.asked)


async def test_without_a_token_there_is_no_header(fake: FakeConsul) -> None:
    client = ConsulClient(fake.settings)
    await client.health_any()
    await client.close()
    assert "x-consul-token" not in fake.asked[0].headers


async def test_datacenter_namespace_consistency_and_basic_auth(fake: FakeConsul) -> None:
    settings = replace(fake.settings, datacenter="dc2", namespace="team", consistency="stale", http_auth="u:p")
    client = ConsulClient(settings)
    for read in (client.health_service("a"), client.health_any(), client.catalog_services(), client.kv_list("k/")):
        await read
    await client.close()
    for asked in fake.asked:
        assert asked.query["dc"] == "dc2"
        assert asked.query["stale"] == "1"
        assert asked.headers["x-consul-namespace"] == "team"
        assert asked.headers["authorization"] == "Basic dTpw"


async def test_the_environment_does_not_override_what_was_given(
    fake: FakeConsul, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "http://[::1]:1")
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of the environment")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    client = ConsulClient(replace(fake.settings, token="given"))
    await client.health_any()
    await client.close()
    assert fake.asked[0].headers["x-consul-token"] == "given"


def test_making_a_client_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ConsulClient(ConsulSettings())


async def test_one_connection_serves_one_request_after_the_other(fake: FakeConsul, client: ConsulClient) -> None:
    for _ in range(5):
        await client.health_any()
    assert fake.connections == 1


async def test_more_than_a_hundred_queries_wait_at_once(fake: FakeConsul, client: ConsulClient) -> None:
    arrived = asyncio.Event()
    go = asyncio.Event()

    async def hold(_asked: object) -> bytes:
        if len(fake.asked) == 120:
            arrived.set()
        await go.wait()
        return answer(index=2)

    fake.handler = hold
    queries = [asyncio.create_task(client.health_service(f"s{n}", index=1, wait=5)) for n in range(120)]
    await asyncio.wait_for(arrived.wait(), 5)
    go.set()
    await asyncio.gather(*queries)


@pytest.mark.parametrize(
    ("sent", "index"),
    [
        ("7", 7),
        ("0", None),
        (None, None),
        ("-3", None),
        ("abc", None),
        ("1e3", None),
        ("", None),
        ("9" * 30, None),
        ("٣", None),
    ],
)
async def test_index(fake: FakeConsul, sent: str | None, index: int | None) -> None:
    raw = answer(index="PLACE") if sent is not None else answer()
    reply = await reading(fake, raw.replace(b"PLACE", (sent or "").encode()))
    assert reply.index == index


@pytest.mark.parametrize(
    ("headers", "leader", "contact", "filtered"),
    [
        ({"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}, True, 0, False),
        ({"X-Consul-KnownLeader": "false", "X-Consul-LastContact": "12000"}, False, 12, False),
        ({}, None, None, False),
        ({"X-Consul-Results-Filtered-By-ACLs": "true"}, None, None, True),
        ({"X-Consul-KnownLeader": "perhaps", "X-Consul-LastContact": "-1"}, None, None, False),
    ],
)
async def test_what_headers_tell(
    fake: FakeConsul, headers: dict[str, str], leader: bool | None, contact: float | None, filtered: bool
) -> None:
    reply = await reading(fake, answer(headers=headers))
    assert (reply.known_leader, reply.last_contact, reply.filtered_by_acls) == (leader, contact, filtered)


@pytest.mark.parametrize(
    ("sent", "kind", "told"),
    [
        (answer("Permission denied", 403), ConsulDenied, "Permission denied"),
        (answer("rpc error making call: ACL not found", 403), ConsulDenied, "ACL not found"),
        (answer("Your IP is issuing too many concurrent connections", 429), ConsulBusy, "429"),
        (answer("No cluster leader", 500), ConsulUnavailable, "No cluster leader"),
        (answer("", 502), ConsulUnavailable, "502"),
        (answer("Bad request", 400), ConsulRefused, "Bad request"),
        (answer("", 301, headers={"Location": "http://127.0.0.1:1/"}), ConsulBadAnswer, "not followed"),
        (answer("", 204), ConsulBadAnswer, "204"),
        (answer("\x1b[31m\x00evil", 500), ConsulUnavailable, " [31m evil"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[", ConsulUnreachable, "cut"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ConsulUnreachable, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ConsulUnreachable, ""),
    ],
)
async def test_every_failure_has_a_name(fake: FakeConsul, sent: bytes, kind: type[ConsulError], told: str) -> None:
    async def once(_asked: object) -> bytes | None:
        return sent

    fake.handler = once
    if told == "cut":
        told = ""
        fake.handler = lambda _asked: None
    client = ConsulClient(fake.settings)
    with pytest.raises(kind) as raised:
        await client.health_service("orders")
    await client.close()
    assert told in str(raised.value)
    assert "GET /v1/health/service/orders" in str(raised.value)
    assert raised.value.advice in str(raised.value)


async def test_an_answer_that_is_cut(fake: FakeConsul) -> None:
    """Content-Length promises more than comes before the connection closes."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Consul-Index: 5\r\nContent-Length: 100\r\n\r\n[{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    client = ConsulClient(ConsulSettings(port=server.sockets[0].getsockname()[1]))
    with pytest.raises(ConsulUnreachable):
        await client.health_any()
    await client.close()
    server.close()
    await server.wait_closed()


async def test_a_redirect_is_not_followed(fake: FakeConsul, client: ConsulClient) -> None:
    """It would carry the token along."""
    fake.handler = lambda _asked: answer("", 307, headers={"Location": f"http://127.0.0.1:{fake.port}/elsewhere"})
    with pytest.raises(ConsulBadAnswer):
        await client.health_any()
    assert len(fake.asked) == 1


async def test_an_answer_that_is_too_large(fake: FakeConsul) -> None:
    fake.handler = lambda _asked: answer(b"x" * 5000)
    client = ConsulClient(replace(fake.settings, max_answer=4096))
    with pytest.raises(ConsulBadAnswer, match="4096 bytes"):
        await client.health_any()
    await client.close()


async def test_nobody_listens() -> None:
    client = ConsulClient(ConsulSettings(port=1))
    with pytest.raises(ConsulUnreachable, match="CONSUL_HTTP_ADDR"):
        await client.leader()
    await client.close()


async def test_half_open_ends_at_the_deadline(fake: FakeConsul, client: ConsulClient) -> None:
    """wait + wait/16 + the time that anything may take, and not rounded up to whole seconds."""
    fake.handler = never
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ConsulUnreachable, match="no answer within"):
        await client.health_service("orders", index=1, wait=0.32)
    assert 0.32 * 17 / 16 + 1 - 0.01 < loop.time() - began < 0.32 * 17 / 16 + 1.5  # timers count milliseconds


async def test_consul_may_hold_for_a_sixteenth_more(fake: FakeConsul) -> None:
    async def late(_asked: object) -> bytes:
        await asyncio.sleep(0.8 * 17 / 16)
        return answer(index=1)

    fake.handler = late
    client = ConsulClient(replace(fake.settings, timeout=0.3))
    assert (await client.health_service("orders", index=1, wait=0.8)).index == 1
    await client.close()


@pytest.mark.parametrize("name", ["a/b", "..", "../kv/x", "", "a\r\nb", "a\x00"])
async def test_service_names_that_would_ask_for_something_else(
    client: ConsulClient, fake: FakeConsul, name: str
) -> None:
    with pytest.raises(ConsulRefused):
        await client.health_service(name)
    assert not fake.asked


async def test_odd_names_are_quoted(fake: FakeConsul, client: ConsulClient) -> None:
    await client.health_service("a b?c#d%2e")
    assert fake.asked[0].path == "/v1/health/service/a%20b%3Fc%23d%252e"
    with pytest.raises(ConsulRefused):
        await client.kv_put("gateway/../secret", b"")


# --- typed answers -------------------------------------------------------------------------------------------------


async def test_kv(fake: FakeConsul, client: ConsulClient) -> None:
    row = '[{"LockIndex":0,"Key":"k","Flags":0,"Value":"aGk=","CreateIndex":1,"ModifyIndex":9}]'
    fake.handler = lambda _asked: answer(row, index=9)
    assert await client.kv_entry("k") == KvEntry("k", 9, b"hi")
    fake.handler = lambda _asked: answer("", 404, index=9)
    assert await client.kv_entry("k") is None
    assert await client.kv_entries("k/") == []
    fake.handler = lambda _asked: answer("true")
    assert await client.kv_put("k", b"v", cas=9) is True
    assert (fake.asked[-1].query, fake.asked[-1].body) == ({"cas": "9"}, b"v")
    fake.handler = lambda _asked: answer("false")
    assert await client.kv_acquire("k", b"v", "session") is False
    assert fake.asked[-1].query == {"acquire": "session"}
    fake.handler = lambda _asked: answer("true")
    assert await client.kv_delete("k", cas=3) is True


@pytest.mark.parametrize(
    "body",
    [
        '[{"Key":"k","Value":"!!","ModifyIndex":1}]',
        '{"Key":1}',
        "null",
        "[",
        "[" * 100_000,
        '"\\ud800"',
        b"\xff",
        "[1]",
        "",
    ],
)
async def test_odd_kv_answers(fake: FakeConsul, client: ConsulClient, body: str | bytes) -> None:
    fake.handler = lambda _asked: answer(body, index=1)
    with pytest.raises(ConsulBadAnswer):
        await client.kv_entries("k/")


@pytest.mark.parametrize("body", ["", "[]", "{}", "{", "null", "[" * 100_000, b"\xff", "3"])
async def test_odd_answers_to_everything_that_is_typed(
    fake: FakeConsul, client: ConsulClient, body: str | bytes
) -> None:
    fake.handler = lambda _asked: answer(body)
    calls = (
        client.agent_node(),
        client.session_create("n", 30),
        client.leader(),
        client.kv_put("k", b""),
        client.may_read([Question("service", "a")]),
    )
    for call in calls:
        with pytest.raises(ConsulBadAnswer):
            await call


async def test_what_the_token_may_read(fake: FakeConsul, client: ConsulClient) -> None:
    questions = [Question("service", "a"), Question("node", "n")]
    fake.handler = lambda _asked: answer(json.dumps([{"Allow": True}, {"Allow": False}]))
    assert await client.may_read(questions) == [True, False]
    assert json.loads(fake.asked[0].body)[1] == {"Resource": "node", "Segment": "n", "Access": "read"}
    fake.handler = lambda _asked: answer("ACL support disabled", 401)
    assert await client.may_read(questions) == [True, True]
    fake.handler = lambda _asked: answer("", 404)
    assert await client.may_read(questions) is None
    fake.handler = lambda _asked: answer("", 405)
    assert await client.may_read(questions) is None


async def test_agent_and_sessions(fake: FakeConsul, client: ConsulClient) -> None:
    fake.handler = lambda _asked: answer('{"Config": {"NodeName": "n1"}}')
    assert await client.agent_node() == "n1"
    fake.handler = lambda _asked: answer('"10.0.0.1:8300"')
    assert await client.leader() == "10.0.0.1:8300"
    fake.handler = lambda _asked: answer('{"ID": "abc"}')
    assert await client.session_create("gateway g", 30) == "abc"
    assert json.loads(fake.asked[-1].body) == {
        "name": "gateway g",
        "behavior": "delete",
        "ttl": "30s",
        "lockdelay": "0s",
    }
    fake.handler = lambda _asked: answer("", 404)
    assert await client.session_renew("abc") is False
    assert await client.check_pass("c", "note") is False


# --- token file and TLS --------------------------------------------------------------------------------------------


async def test_a_token_file_is_read_again_when_it_changes(
    fake: FakeConsul, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    client = ConsulClient(replace(fake.settings, token="explicit", token_file=file))
    await client.health_any()
    generation = client.token_generation
    file.write_text("second-one\n")
    await client.health_any()
    assert client.token_generation == generation + 1
    for spoilt in ("", "a\nb", "é"):
        file.write_text(spoilt, encoding="utf-8")
        await client.health_any()
    file.unlink()
    await client.health_any()
    await client.health_any()
    await client.close()
    sent = [asked.headers["x-consul-token"] for asked in fake.asked]
    assert sent == ["first", "second-one", *["second-one"] * 5]
    assert "second-one" not in caplog.text


def test_unusable_tls_files_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(ConsulSettingsError, match=r"ca\.pem"):
        ConsulClient(ConsulSettings(scheme="https", ca_file=missing))
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(ConsulSettingsError, match=r"junk\.pem"):
        ConsulClient(ConsulSettings(scheme="https", cert_file=junk, key_file=junk))
