"""Who is measured side by side: each proxies to the same instance, one process and one thread each."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.processes import running
from tests.support.consul import ConsulProcess
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port
from tests.support.tokens import key_of, public, token

LARGE = 1 << 20
SMALL = 64
_ORIGIN = """
daemon off; master_process off; worker_processes 1; pid {folder}/origin.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {folder}/bodies; client_max_body_size 0; keepalive_requests 100000000;
  client_body_buffer_size 2m; types {{ }} default_type text/plain; sendfile on; tcp_nopush off;
  server {{
    listen 127.0.0.1:{port} backlog=1024; root {folder};
    location = /large {{ }}
    location / {{ return 200 "{small}"; }}
  }}
}}
"""
_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {folder}/uploads; proxy_temp_path {folder}/proxied; client_max_body_size 0;
  keepalive_requests 100000000; client_body_buffer_size 2m;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 128; keepalive_requests 100000000; }}
  upstream echo {{ server 127.0.0.1:{echo}; }}
  upstream sink {{ server 127.0.0.1:{sink}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    proxy_http_version 1.1; proxy_set_header Host $host; proxy_request_buffering off;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Real-IP $remote_addr;
    location = /upload {{ proxy_pass http://sink; proxy_set_header Connection ""; }}
    location / {{ proxy_pass http://origin; proxy_set_header Connection ""; }}
    location /ws {{
      proxy_pass http://echo; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""
_HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option forwardfor
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} backlog 1024
  use_backend echo if {{ path /ws }}
  use_backend sink if {{ path /upload }}
  default_backend origin
backend origin
  http-reuse always
  server a 127.0.0.1:{origin}
backend echo
  server a 127.0.0.1:{echo}
backend sink
  http-reuse always
  server a 127.0.0.1:{sink}
"""
_KEY = key_of("P-256")


@dataclass(frozen=True)
class Peer:
    """`pid` None is the instance itself, of which nothing is told but its speed."""

    name: str
    port: int
    pid: int | None
    headers: Mapping[str, str]
    upload_port: int | None = None
    """Where bodies go, if not to `port`."""
    speaks_websocket: bool = True


@dataclass(frozen=True)
class Field:
    """All that is measured, and what was left out for want of a program."""

    peers: Mapping[str, Peer]
    skipped: tuple[str, ...]


@contextmanager
def started(folder: Path) -> Iterator[Field]:
    """Everybody, on the same instance. Raises RuntimeError where nginx is missing: it is the instance, too."""
    nginx, haproxy = program("nginx"), program("haproxy")
    if nginx is None:
        raise RuntimeError("nginx is not installed: it is the instance behind all peers")
    with ExitStack() as stack:
        (folder / "large").write_bytes(b"x" * LARGE)
        origin, echo, sink = free_port(), free_port(), free_port()
        conf = folder / "origin.conf"
        conf.write_text(_ORIGIN.format(folder=folder, port=origin, small="x" * SMALL))
        stack.enter_context(running([nginx, "-c", str(conf)], origin, folder / "origin.log"))
        stack.enter_context(_server("echo", echo, {}, folder))
        stack.enter_context(_server("sink", sink, {}, folder))
        peers = {"direct": Peer("direct", origin, None, {}, sink, speaks_websocket=False)}
        skipped: list[str] = []
        ports = {"origin": origin, "echo": echo, "sink": sink}

        port = free_port()
        conf = folder / "nginx.conf"
        conf.write_text(_NGINX.format(folder=folder, port=port, **ports))
        pid = stack.enter_context(running([nginx, "-c", str(conf)], port, folder / "nginx.log"))
        peers["nginx"] = Peer("nginx", port, pid, {})
        if haproxy is None:
            skipped.append("haproxy")
        else:
            port = free_port()
            conf = folder / "haproxy.cfg"
            conf.write_text(_HAPROXY.format(port=port, **ports))
            pid = stack.enter_context(running([haproxy, "-db", "-f", str(conf)], port, folder / "h.log"))
            peers["haproxy"] = Peer("haproxy", port, pid, {})
        fabio = program("fabio")
        if fabio is None:
            skipped.append("fabio")
        else:
            port = free_port()
            pid = stack.enter_context(running(_fabio(fabio, port, **ports), port, folder / "fabio.log"))
            peers["fabio"] = Peer("fabio", port, pid, {})
        port = free_port()
        pid = stack.enter_context(_server("forwarder", port, {"/": origin, "/upload": sink}, folder))
        peers["forwarder"] = Peer("forwarder", port, pid, {}, speaks_websocket=False)

        consul = stack.enter_context(ConsulProcess())
        _register(consul, **ports)
        plain = _gateway(stack, consul, folder, "plain")
        peers["gateway"] = Peer("gateway", plain.port, plain.pid, {})
        two = _gateway(stack, consul, folder, "two", workers=2)
        peers["two workers"] = Peer("two workers", two.port, two.pid, {})
        _put_whole_pipeline(consul)
        traces = f"http://127.0.0.1:{sink}/v1/traces"
        whole = _gateway(stack, consul, folder, "whole", prefix="whole", trace_ratio="0.01", trace_endpoint=traces)
        claims = {"aud": "orders", "sub": "alice", "exp": int(time.time()) + 3600}
        bearer = {"Authorization": f"Bearer {token('ES256', _KEY, claims)}", "X-Tenant": "acme"}
        peers["whole pipeline"] = Peer("whole pipeline", whole.port, whole.pid, bearer)
        yield Field(peers, tuple(skipped))


def _fabio(program: str, port: int, origin: int, echo: int, sink: int) -> list[str]:
    """One processor, as the others have; routes that stand still."""
    hosts = (("origin", "/", origin), ("echo", "/ws", echo), ("sink", "/upload", sink))
    routes = "\n".join(f"route add {name} {path} http://127.0.0.1:{at}" for name, path, at in hosts)
    flags = {
        "proxy.addr": f"127.0.0.1:{port}",
        "ui.addr": f"127.0.0.1:{free_port()}",
        "registry.backend": "static",
        "registry.static.routes": routes,
        "metrics.target": "",
    }
    return ["env", "GOMAXPROCS=1", program, *(part for name, value in flags.items() for part in (f"-{name}", value))]


def program(name: str) -> str | None:
    """Where it is, in the administrator's folders too."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


@contextmanager
def _server(kind: str, port: int, behind: Mapping[str, int], folder: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.harness.servers", kind, str(port), json.dumps(behind)]
    with running(command, port, folder / f"{kind}.log") as pid:
        yield pid


def _register(consul: ConsulProcess, origin: int, echo: int, sink: int) -> None:
    for service, port in (("orders", origin), ("echo", echo), ("sink", sink)):
        consul.admin.register(service, port, id=service)
    for prefix in ("gateway", "whole"):
        consul.admin.put(f"{prefix}/services/orders", {"connect": {"timeout": "2s", "keep_alive": "60s"}})
        for service, path in (("sink", "/upload"), ("echo", "/ws")):
            route = {"match": {"path_exact": path}, "backends": [{"service": service}]}
            consul.admin.put(f"{prefix}/routes/{service}", route)
    consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})


def _put_whole_pipeline(consul: ConsulProcess) -> None:
    route = {
        "backends": [{"service": "orders"}],
        "auth": {
            "jwt": {
                "jwks": {"keys": [public(_KEY, kid="k1")]},
                "audiences": ["orders"],
                "headers": {"x-user": "sub"},
            }
        },
        "limits": {"rate": "100000/s by client_ip"},
        "filters": [
            {"request_headers": {"set": {"x-gateway": "edge", "x-route": "${route.name}"}, "remove": ["x-tenant"]}},
            {"response_headers": {"set": {"x-served-by": "${instance.id}"}, "remove": ["server"]}},
        ],
    }
    consul.admin.put("whole/routes/orders", route)


def _gateway(stack: ExitStack, consul: ConsulProcess, folder: Path, name: str, **settings: object) -> GatewayProcess:
    access = folder / f"{name}-access.log"
    process = GatewayProcess(
        folder, consul.environment, access_log=access, max_connections=12_000, service=f"gateway-{name}", **settings
    )
    stack.callback(process.stop)
    return process.start_ready()
