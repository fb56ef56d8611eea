"""A gateway that speaks TLS, as its users run it: files, routes in a real Consul, the log, the admin surface."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.proxy.client.certificate_files import CertificateFiles
from tests.integration.conftest import StartGateway
from tests.support.certificates import Authority
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.ports import free_port
from tests.support.serving import serving
from tests.support.upstreams import LiteralClient, request

COMMAND = Path(sys.executable).with_name("gateway")
TOKEN = "a token for the admin surface"
NAME = "shop.test"


def cli(*arguments: str, **environment: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "CONSUL_"))}
    return subprocess.run(
        [COMMAND, *arguments],
        env=kept | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Edge:
    """A gateway with a port for TLS, an instance that tells what it was sent, and the log of accesses."""

    def __init__(self, gateway: GatewayProcess, consul: ConsulAgent, tls_port: int, directory: Path) -> None:
        self.gateway = gateway
        self.consul = consul
        self.tls_port = tls_port
        self.directory = directory

    async def route(self, name: str, **parts: object) -> None:
        """Written and in force."""
        document = {"match": {"path_prefix": f"/{name}"}, "backends": [{"service": "echo"}], **parts}
        self.consul.admin.put(f"gateway/routes/{name}", document)
        await eventually(lambda: any(route["name"] == name for route in self.gateway.admin("/v1/routes")["routes"]))

    async def ask(
        self, context: ssl.SSLContext, target: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str]]:
        """The status, and what the instance was sent; on a connection of its own."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{self.tls_port}{target}",
                headers={"Host": NAME, **(headers or {})},
                ssl=context,
                server_hostname=NAME,
            ) as answer,
        ):
            body = await answer.json(content_type=None)
            return answer.status, body if answer.status == 200 else {}

    async def told(self, text: str) -> dict[str, object]:
        """The line of the access log with this text."""
        file = self.directory / "access.log"
        await eventually(lambda: text in file.read_text(), what=text)
        (line, *_) = [line for line in file.read_text().splitlines() if text in line]
        parsed: dict[str, object] = json.loads(line)
        return parsed


@pytest.fixture
async def edge(
    dev_consul: ConsulAgent, start_gateway: StartGateway, authority: Authority, tmp_path: Path
) -> AsyncIterator[Edge]:
    async def echo(request: web.BaseRequest) -> web.Response:
        return web.json_response({name.lower(): ",".join(request.headers.getall(name)) for name in request.headers})

    pair, port = authority.pair(NAME), free_port()
    async with serving(echo) as instance:
        dev_consul.admin.register("echo", instance, id="echo", checks=[ttl_check("check:echo", status="passing")])
        gateway = await asyncio.to_thread(
            start_gateway,
            dev_consul.environment,
            tls_listen=f"127.0.0.1:{port}",
            tls_certificates=f"{pair.certificate}:{pair.key}",
            tls_client_ca=authority.file,
            admin_token=TOKEN,
            access_log=tmp_path / "access.log",
        )
        yield Edge(gateway, dev_consul, port, tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_route_asks_for_client_certificates(edge: Edge, authority: Authority) -> None:
    await edge.route(
        "closed",
        auth={"client_certificate": {"san_dns": ["orders.test"], "headers": {"x-client": "san_dns"}}},
        require='request.scheme == "https" && claims.san_dns.exists(name, name.endsWith(".test"))',
    )
    orders, users = authority.pair("orders.test"), authority.pair("users.test")
    status, seen = await edge.ask(authority.trusting(orders), "/closed", {"X-Client": "root", "X_Client": "root"})
    assert (status, seen["x-client"], "x_client" in seen) == (200, "orders.test", False)
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == ("https", str(edge.tls_port))
    line = await edge.told("client_certificate:")
    assert str(line["identity"]).startswith("client_certificate:")
    status, _ = await edge.ask(authority.trusting(users), "/closed")
    assert status == 401
    assert "users.test" not in str((await edge.told("is not in the route's list"))["path"])
    async with aiohttp.ClientSession() as session, session.get(f"{edge.gateway.url}/closed") as plain:
        assert plain.status == 401
        problem = await plain.json(content_type=None)
        assert (problem["type"], "detail" in problem) == ("urn:alims-gateway:problem:unauthenticated", False)
    assert (await edge.told("no client certificate"))["reason"] == "unauthenticated"


async def test_plain_http_is_sent_to_https(edge: Edge, authority: Authority) -> None:
    await edge.route("all")
    edge.consul.admin.put(
        "gateway/routes/secure",
        {"match": {"path_prefix": "/"}, "when": 'request.scheme == "http"', "redirect": {"scheme": "https"}},
    )
    await eventually(lambda: len(edge.gateway.admin("/v1/routes")["routes"]) == 2)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{edge.gateway.url}/x?a=1", headers={"Host": NAME}, allow_redirects=False) as plain,
    ):
        assert (plain.status, plain.headers["Location"]) == (302, f"https://{NAME}/x?a=1")
    assert (await edge.ask(authority.trusting(), "/all"))[0] == 200


async def test_a_certificate_is_replaced_on_disk(edge: Edge, authority: Authority) -> None:
    def expiry() -> float:
        return edge.gateway.metric("gateway_tls_certificate_expiry_seconds")

    await edge.route("all")
    before = expiry()
    (certificate,) = edge.gateway.admin("/v1/tls")["certificates"]
    assert (certificate["names"], certificate["error"]) == ([NAME], None)
    assert edge.gateway.metric("gateway_tls_certificate_rejected") == 0
    good = (edge.directory / f"{NAME}.pem").read_bytes()
    (edge.directory / f"{NAME}.pem").write_text("no certificate")
    await eventually(lambda: edge.gateway.metric("gateway_tls_certificate_rejected") == 1)
    assert edge.gateway.log.count("is not taken over") == 1
    assert "holds no certificate" in str(edge.gateway.admin("/v1/tls")["certificates"][0]["error"])
    assert (await edge.ask(authority.trusting(), "/all"))[0] == 200
    assert expiry() == before
    (edge.directory / f"{NAME}.pem").write_bytes(good)
    await eventually(lambda: edge.gateway.metric("gateway_tls_certificate_rejected") == 0)
    authority.pair(NAME, expires=None)
    log = edge.gateway.log.count("A certificate is in force")
    await eventually(lambda: edge.gateway.log.count("A certificate is in force") > log)
    assert (await edge.ask(authority.trusting(), "/all"))[0] == 200


async def test_the_admin_surface_asks_for_its_token(edge: Edge) -> None:
    assert [edge.gateway.status(path) for path in ("/healthz", "/readyz")] == [200, 200]
    assert [edge.gateway.status(path) for path in ("/", "/metrics", "/v1/routes", "/v1/tls")] == [401] * 4
    admin = f"127.0.0.1:{edge.gateway.admin_port}"
    without = await asyncio.to_thread(cli, "status", "--admin", admin)
    assert (without.returncode, without.stdout) == (3, "")
    assert "asks for its token: set GATEWAY_ADMIN_TOKEN" in without.stderr
    wrong = await asyncio.to_thread(cli, "status", "--admin", admin, GATEWAY_ADMIN_TOKEN="x" * 20)
    assert (wrong.returncode, "does not take this token" in wrong.stderr) == (3, True)
    token_file = edge.directory / "token"
    token_file.write_text(TOKEN + "\n")
    for setting in ({"GATEWAY_ADMIN_TOKEN": TOKEN}, {"GATEWAY_ADMIN_TOKEN_FILE": token_file}):
        shown = await asyncio.to_thread(cli, "status", GATEWAY_ADMIN_LISTEN=f":{edge.gateway.admin_port}", **setting)
        assert shown.returncode == 0, shown.stderr
        assert NAME in shown.stdout


async def test_tls_alone_and_a_token_from_a_file(
    dev_consul: ConsulAgent, start_gateway: StartGateway, authority: Authority, tmp_path: Path
) -> None:
    pair, port, token = authority.pair(NAME), free_port(), tmp_path / "token"
    token.write_text(TOKEN)
    admin = free_port()
    gateway = await asyncio.to_thread(
        start_gateway,
        dev_consul.environment,
        wait=False,
        listen="off",
        tls_listen=f":{port}",
        tls_certificates=f"{pair.certificate}:{pair.key}",
        admin_listen=f":{admin}",
        admin_token_file=token,
    )
    gateway.admin_port = admin
    await eventually(gateway.ready, 20)
    assert gateway.status("/v1/routes") == 401
    await eventually(lambda: [each.port for each in dev_consul.admin.health("gateway")] == [port], what="registered")
    context = authority.trusting()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/", ssl=context, server_hostname=NAME) as answer,
    ):
        assert answer.status == 404
    gateway.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_every_worker_has_routes_and_certificates(
    dev_consul: ConsulAgent, start_gateway: StartGateway, authority: Authority
) -> None:
    pair, port = authority.pair(NAME), free_port()
    document = {"respond": {"status": 204}, "auth": {"client_certificate": {"san_dns": ["orders.test"]}}}
    dev_consul.admin.put("gateway/routes/closed", document)
    gateway = await asyncio.to_thread(
        start_gateway,
        dev_consul.environment,
        workers=2,
        tls_listen=f"127.0.0.1:{port}",
        tls_certificates=f"{pair.certificate}:{pair.key}",
        tls_client_ca=authority.file,
    )
    orders, users = authority.pair("orders.test"), authority.pair("users.test")

    async def asked(client: CertificateFiles) -> tuple[int, bytes]:
        """The status, and the certificate that was shown."""
        context = authority.trusting(client)
        async with await LiteralClient.connect(port, tls=context, name=NAME) as connection:
            answer = await connection.ask(request("/", host=NAME))
            return answer.status, connection.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    assert {(await asked(orders))[0] for _ in range(10)} == {204}
    assert {(await asked(users))[0] for _ in range(10)} == {401}
    _, before = await asked(orders)
    authority.pair(NAME)
    await eventually(lambda: gateway.log.count("A certificate is in force") == 4)
    shown = {(await asked(orders))[1] for _ in range(20)}
    assert len(shown) == 1
    assert before not in shown
    assert len(gateway.admin("/v1/tls")["certificates"]) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"GATEWAY_TLS_CERTIFICATES": "/nowhere.pem"}, "/nowhere.pem: cannot be read: No such file or directory"),
        ({"GATEWAY_TLS_CLIENT_CA": "/nowhere.pem"}, "/nowhere.pem: cannot be read: No such file or directory"),
        ({"GATEWAY_ADMIN_LISTEN": ":0"}, "GATEWAY_ADMIN_LISTEN: :0 is not loopback, and so needs a token"),
        ({"GATEWAY_ADMIN_TOKEN_FILE": "/nowhere"}, "admin_token_file: /nowhere holds no token that can be read"),
    ],
)
def test_what_it_does_not_start_with(authority: Authority, settings: dict[str, str], said: str) -> None:
    pair = authority.pair(NAME)
    given = {
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_TLS_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_TLS_CERTIFICATES": f"{pair.certificate}:{pair.key}",
        "CONSUL_HTTP_ADDR": "127.0.0.1:1",
    }
    failed = cli("run", **given | settings)
    assert failed.returncode in (2, 3)
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_taken_port_names_the_setting(authority: Authority) -> None:
    pair = authority.pair(NAME)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = {
            "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
            "GATEWAY_TLS_LISTEN": f"127.0.0.1:{port}",
            "GATEWAY_TLS_CERTIFICATES": f"{pair.certificate}:{pair.key}",
        }
        failed = cli("run", **given)
    assert failed.returncode == 3
    assert f"port {port} on 127.0.0.1 is taken; choose another with --tls-listen" in failed.stderr
