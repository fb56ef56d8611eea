"""Transformation end to end: routes in a real Consul, through a real gateway, edited while it serves."""

import asyncio

import aiohttp
from yarl import URL

from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import eventually
from tests.support.upstreams import Exchange, ScriptedUpstream

BACKENDS = [{"service": "orders"}]


async def reset(exchange: Exchange) -> None:
    exchange.reset()


def _register(consul: ConsulAgent, upstream: ScriptedUpstream, zone: str) -> None:
    consul.admin.register("orders", upstream.port, id=upstream.name, meta={"zone": zone})


async def test_path_host_query_and_headers(dev_consul: ConsulAgent, start_gateway: StartGateway) -> None:
    route = {
        "backends": BACKENDS,
        "filters": [
            {"strip_prefix": "/api"},
            {"rewrite_path": {"regex": "^/u/([0-9]+)/(.*)$", "to": "/users/$1/$2"}},
            {"host": "service"},
            {"query": {"set": {"tenant": "${request.header.x-tenant:-none}"}, "remove": ["debug"]}},
            {
                "request_headers": {
                    "set": {
                        "x-seen": "${request.method} ${request.path} ${route.name} $$",
                        "x-zone": "${instance.meta.zone}",
                    }
                }
            },
            {"response_headers": {"set": {"x-served-by": "${instance.id} in ${instance.datacenter}"}}},
        ],
    }
    async with ScriptedUpstream(name="a") as upstream:
        await asyncio.to_thread(_register, dev_consul, upstream, "z1")
        dev_consul.admin.put("gateway/routes/orders", route)
        gateway = await asyncio.to_thread(start_gateway, dev_consul.environment)
        async with aiohttp.ClientSession(gateway.url) as session:
            target = "/api/u/7/a%20b?x=%41&debug=1&y"
            async with session.get(URL(gateway.url + target, encoded=True), headers={"x-tenant": "a&b"}) as response:
                assert response.status == 200
                assert response.headers["x-served-by"] == "a in dc1"
            assert upstream.last.target == "/users/7/a%20b?x=%41&y&tenant=a%26b"
            assert upstream.last.values("host") == ["orders"]
            assert upstream.last.value("x-seen") == "GET /api/u/7/a%20b orders $"
            assert upstream.last.value("x-zone") == "z1"


async def test_a_retry_names_the_instance_it_goes_to(dev_consul: ConsulAgent, start_gateway: StartGateway) -> None:
    filters = [
        {"request_headers": {"set": {"x-instance": "${instance.id}/${instance.meta.zone}"}}},
        {"response_headers": {"set": {"x-served-by": "${instance.id}"}}},
    ]
    async with ScriptedUpstream(reset, name="a") as broken, ScriptedUpstream(name="b") as good:
        for upstream, zone in ((broken, "z1"), (good, "z2")):
            await asyncio.to_thread(_register, dev_consul, upstream, zone)
        dev_consul.admin.put("gateway/routes/orders", {"backends": BACKENDS, "filters": filters})
        gateway = await asyncio.to_thread(start_gateway, dev_consul.environment)
        async with aiohttp.ClientSession(gateway.url) as session:
            while not broken.requests:
                async with session.get("/") as response:
                    assert (response.status, response.headers["x-served-by"]) == (200, "b")
        assert broken.last.value("x-instance") == "a/z1"
        assert good.last.value("x-instance") == "b/z2"


async def test_a_route_becomes_a_redirect_and_a_response_while_it_serves(
    dev_consul: ConsulAgent, start_gateway: StartGateway
) -> None:
    key = "gateway/routes/orders"
    async with ScriptedUpstream(name="a") as upstream:
        await asyncio.to_thread(_register, dev_consul, upstream, "z1")
        dev_consul.admin.put(key, {"backends": BACKENDS})
        gateway = await asyncio.to_thread(start_gateway, dev_consul.environment)
        async with aiohttp.ClientSession(gateway.url) as session:

            async def status() -> int:
                async with session.get("/a?b", allow_redirects=False) as response:
                    return response.status

            assert await status() == 200
            dev_consul.admin.put(key, {"redirect": {"status": 308, "scheme": "https", "host": "www.test"}})
            while await status() != 308:
                await asyncio.sleep(0.02)
            async with session.get("/a?b", allow_redirects=False) as response:
                assert response.headers["location"] == "https://www.test/a?b"
            await eventually(lambda: gateway.admin("/v1/services")["services"] == [], what="its service is let go")
            (shown,) = gateway.admin("/v1/routes")["routes"]
            assert shown["document"]["redirect"] == {
                "status": 308,
                "scheme": "https",
                "host": "www.test",
                "strip_query": False,
            }
            assert "backends" not in shown["document"]

            dev_consul.admin.put(key, {"respond": {"status": 410, "body": "gone\n"}})
            while await status() != 410:
                await asyncio.sleep(0.02)
            async with session.get("/a") as response:
                assert await response.text() == "gone\n"

            dev_consul.admin.put(key, {"respond": {"body": "x", "headers": {"x": "${request.pth}"}}})
            await eventually(lambda: gateway.admin("/v1/routes")["rejections"] != [])
            (rejection,) = gateway.admin("/v1/routes")["rejections"]
            assert rejection["field"] == "respond.headers.x"
            assert "did you mean request.path?" in rejection["reason"]
            assert await status() == 410, "the last good version stays in force"

            dev_consul.admin.put(key, {"backends": BACKENDS})
            while await status() != 200:
                await asyncio.sleep(0.02)


async def test_filters_of_the_defaults(dev_consul: ConsulAgent, start_gateway: StartGateway) -> None:
    nosniff = {"response_headers": {"set": {"x-content-type-options": "nosniff"}}}
    hidden = {"request_headers": {"remove": ["x-internal"]}}
    dev_consul.admin.put("gateway/defaults", {"route": {"filters": [hidden, nosniff]}})
    for name, own in (("plain", {}), ("own", {"filters": [{"strip_prefix": "/own"}]}), ("none", {"filters": []})):
        dev_consul.admin.put(
            f"gateway/routes/{name}", {"match": {"path_prefix": f"/{name}"}, "backends": BACKENDS, **own}
        )
    dev_consul.admin.put("gateway/routes/answer", {"match": {"path_prefix": "/answer"}, "respond": {"body": "hi"}})
    async with ScriptedUpstream(name="a") as upstream:
        await asyncio.to_thread(_register, dev_consul, upstream, "z1")
        gateway = await asyncio.to_thread(start_gateway, dev_consul.environment)
        async with aiohttp.ClientSession(gateway.url) as session:

            async def edited(path: str) -> bool:
                async with session.get(path, headers={"x-internal": "1"}) as response:
                    assert response.status == 200
                    return "x-content-type-options" in response.headers

            assert await edited("/plain")
            assert upstream.last.values("x-internal") == []
            assert not await edited("/own")
            assert (upstream.last.target, upstream.last.values("x-internal")) == ("/", ["1"])
            assert not await edited("/none")
            assert await edited("/answer")

            dev_consul.admin.put("gateway/defaults", {"route": {"filters": []}})
            async with asyncio.timeout(10):
                while await edited("/plain"):
                    pass
