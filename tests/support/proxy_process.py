"""A listener in a process of its own, so that its memory can be measured: prints its port, serves until it is ended.

python -m tests.support.proxy_process INSTANCE_PORT [CERTIFICATE_AND_KEY]

With a certificate it serves TLS alone.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Connect, Instance, InstanceKey, Route, ServicePolicy
from gateway.discovery.addresses import AddressPolicy
from gateway.proxy.client.certificate_files import CertificateFiles, TlsOptions
from gateway.proxy.client.server_certificates import ServerCertificates
from gateway.proxy.client.sockets import bind
from gateway.proxy.conductor import Conductor
from gateway.proxy.listener import Listener
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.pooled_upstream import PooledUpstream
from gateway.telemetry.records import RequestRecord
from tests.support.pipelines import all_stages


class _Deaf:
    def view_age(self, service: str) -> float | None:
        return None

    def request_ended(self, record: RequestRecord) -> None:
        pass


async def _main(port: int, certificate: Path | None) -> None:
    core = Gateway(lambda pattern: pattern.__eq__, random.random)
    conductor = Conductor(core, asyncio.get_running_loop().time)
    conductor.apply_routes([Route("all", 1, (Backend("orders"),))])
    conductor.apply_policies({"orders": ServicePolicy("orders", connect=Connect(timeout=5))})
    conductor.apply_view("orders", [Instance(InstanceKey("dc1", "n", "a"), "orders", "127.0.0.1", port)])
    options = ProxyOptions(gateway_id="own-process", host="127.0.0.1", port=0)
    certificates = None
    if certificate is not None:
        options = replace(options, port=None, tls_socket=bind("127.0.0.1", 0, "--tls-listen"))
        certificates = ServerCertificates(TlsOptions((CertificateFiles(certificate, certificate),)))
    pipelines = all_stages(asyncio.get_running_loop().time)
    upstream = PooledUpstream(options, AddressPolicy().check)
    listener = Listener(conductor, pipelines, upstream, options, _Deaf(), certificates)
    await listener.start()
    print(listener.port or listener.tls_port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
