"""Parts of the gateway as its settings ask for them."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket

from gateway import __version__
from gateway.app.handover import Predecessor
from gateway.discovery.service import DiscoveryOptions
from gateway.journal.segments import JournalBusy
from gateway.journal.writer import Journal
from gateway.proxy.acceptor import Turns
from gateway.proxy.options import ProxyOptions
from gateway.proxy.sockets import bind
from gateway.settings import Settings
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.span_export import SpanExport, otlp_exporter
from gateway.telemetry.spans import SpanMaker


def listening_socket(settings: Settings, before: Predecessor | None) -> socket.socket:
    """The proxy's, bound, or that of the gateway before. Raises ListenError where the port cannot be had."""
    host, port = settings.listen_host, settings.listen.port
    handed = None if before is None else before.take("proxy", host, port)
    return handed or bind(host, port, "--listen")


def admin_socket(settings: Settings, before: Predecessor | None) -> socket.socket:
    """As `listening_socket`, of the admin surface."""
    host, port = settings.admin_listen.host or None, settings.admin_listen.port
    handed = None if before is None else before.take("admin", host, port)
    return handed or bind(host, port, "--admin-listen")


def sticky_key(settings: Settings) -> bytes:
    key = settings.sticky_key
    return secrets.token_bytes(32) if key is None else hashlib.sha512(key.get_secret_value().encode()).digest()


def journal(settings: Settings, worker: int) -> Journal | None:
    """Each worker's is a file of its own. None where there is to be none, and while the gateway that this one takes
    over from writes it. Raises JournalError."""
    path = settings.journal
    if path is None:
        return None
    if worker:
        path = path.with_name(f"{path.name}.worker-{worker}")
    try:
        return Journal(path, segment=settings.journal_segment, kept=settings.journal_segments, worker=worker)
    except JournalBusy:
        if settings.handover is None:
            raise
        return None


def span_export(settings: Settings, redaction: Redaction) -> SpanExport | None:
    exporter = otlp_exporter(settings.trace_endpoint, os.environ)
    if exporter is None:
        return None
    return SpanExport(exporter, SpanMaker(redaction, service=settings.service, gateway_id=settings.gateway_id))


def proxy_options(settings: Settings, listening: socket.socket, turns: Turns | None = None) -> ProxyOptions:
    return ProxyOptions(
        gateway_id=settings.gateway_id,
        listening_socket=listening,
        turns=turns,
        trusted_hops=settings.trusted_hops,
        trace_ratio=settings.trace_ratio,
        max_connections=settings.max_connections,
        keep_alive=settings.keep_alive,
        head_timeout=settings.head_timeout,
        body_grace=settings.body_grace,
        body_rate=settings.body_rate,
        write_timeout=settings.write_timeout,
        max_line=settings.max_line,
        max_field=settings.max_field,
        max_fields=settings.max_fields,
        max_head=settings.max_head,
    )


def discovery_options(settings: Settings) -> DiscoveryOptions:
    registered = settings.registered
    return DiscoveryOptions(
        gateway_id=settings.gateway_id,
        workers=settings.workers,
        prefix=settings.prefix,
        gateway_service=settings.service,
        version=__version__,
        snapshot_path=settings.snapshot,
        grace=settings.grace,
        max_watches=settings.max_watches,
        register=settings.register_self,
        register_address=registered.host or None,
        register_port=registered.port,
        register_tags=(settings.mode,),
        write_status=settings.write_status,
        allowed_addresses=settings.allowed_addresses,
        denied_addresses=settings.denied_addresses,
    )
