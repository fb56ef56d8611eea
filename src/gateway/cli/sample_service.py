"""A service to try a gateway with: `python -m gateway.cli.sample_service --service orders --instance a --port 9001`.

It answers any path with what it got. `POST /fail` makes its health check fail, `POST /fail?requests` its answers while
the check passes, `POST /mend` ends both; `?fail` makes one answer a 503, `?delay=0.5` makes it late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from aiohttp import web

_LONGEST_DELAY = 60.0


class SampleService:
    """One instance of a service."""

    def __init__(self, service: str, instance: str) -> None:
        self._service = service
        self._instance = instance
        self._healthy = True
        self._failing = False
        self._served = 0

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.post("/fail", self._fail),
                web.post("/mend", self._mend),
                web.route("*", "/{path:.*}", self._answer),
            ]
        )
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return self._json({"healthy": self._healthy}, 200 if self._healthy else 503)

    async def _fail(self, request: web.Request) -> web.Response:
        if "requests" in request.query:
            self._failing = True
        else:
            self._healthy = False
        return self._json({"healthy": self._healthy, "failing": self._failing})

    async def _mend(self, _: web.Request) -> web.Response:
        self._healthy, self._failing = True, False
        return self._json({"healthy": True, "failing": False})

    async def _answer(self, request: web.Request) -> web.Response:
        self._served += 1
        try:
            delay = float(request.query.get("delay", "0"))
        except ValueError:
            delay = 0.0
        await asyncio.sleep(min(max(delay, 0.0), _LONGEST_DELAY))
        body = await request.read()
        told = {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body_bytes": len(body),
            "served": self._served,
        }
        return self._json(told, 503 if self._failing or "fail" in request.query else 200)

    def _json(self, told: dict[str, object], status: int = 200) -> web.Response:
        text = json.dumps({"service": self._service, "instance": self._instance, **told}) + "\n"
        return web.Response(text=text, status=status, content_type="application/json")


async def serve(service: SampleService, host: str, port: int) -> None:
    """Until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await stopped.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(SampleService(given.service, given.instance), given.host, given.port))


if __name__ == "__main__":
    main()
