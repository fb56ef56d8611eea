"""Parts of the gateway as its settings ask for them."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
from dataclasses import dataclass

from gateway import __version__
from gateway.app.descriptors import room_for_clients
from gateway.app.handover import Predecessor
from gateway.discovery.service import DiscoveryOptions
from gateway.discovery.token import TokenSource
from gateway.journal.segments import JournalBusy
from gateway.journal.writer import Journal
from gateway.proxy.client.certificate_files import CertificateFiles, TlsOptions
from gateway.proxy.client.server_certificates import ServerCertificates
from gateway.proxy.client.sockets import bind
from gateway.proxy.options import ProxyOptions, Turns
from gateway.settings import Address, Settings, SettingsError
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.span_export import SpanExport, otlp_exporter
from gateway.telemetry.spans import SpanMaker

_TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class Listening:
    """The proxy's sockets, bound: for plain HTTP, and for TLS; at least one of them."""

    plain: socket.socket | None
    tls: socket.socket | None

    def named(self) -> dict[str, socket.socket]:
        """Those that there are."""
        both = {"proxy": self.plain, "tls": self.tls}
        return {name: each for name, each in both.items() if each is not None}

    def close(self) -> None:
        """May be called more than once."""
        for each in self.named().values():
            each.close()


def listening(settings: Settings, before: Predecessor | None) -> Listening:
    """Bound anew, or those of the gateway before. Raises ListenError where a port cannot be had."""
    return Listening(
        _bound(settings, settings.listen, before, "proxy", "--listen"),
        _bound(settings, settings.tls_listen, before, "tls", "--tls-listen"),
    )


def _bound(
    settings: Settings, address: Address | None, before: Predecessor | None, name: str, flag: str
) -> socket.socket | None:
    return None if address is None else _had(settings.host_of(address), address.port, before, name, flag)


def admin_socket(settings: Settings, before: Predecessor | None) -> socket.socket:
    """As `listening`, of the admin surface."""
    address = settings.admin_listen
    return _had(address.host or None, address.port, before, "admin", "--admin-listen")


def _had(host: str | None, port: int, before: Predecessor | None, name: str, flag: str) -> socket.socket:
    handed = None if before is None else before.take(name, host, port)
    return handed or bind(host, port, flag)


def certificates(settings: Settings) -> ServerCertificates | None:
    """None where TLS is not listened for. Raises TlsError."""
    if settings.tls_listen is None:
        return None
    return ServerCertificates(
        TlsOptions(
            certificates=tuple(CertificateFiles(pair.certificate, pair.key) for pair in settings.tls_certificates),
            min_version=_TLS_VERSIONS[settings.tls_min_version],
            client_ca=settings.tls_client_ca,
            client_crl=settings.tls_client_crl,
            client_required=settings.tls_client_certificates == "required",
        )
    )


def admin_token(settings: Settings) -> TokenSource | None:
    """Raises SettingsError where there should be one, and is none: the admin surface would let nobody in."""
    given, file = settings.admin_token, settings.admin_token_file
    if given is None and file is None:
        return None
    source = TokenSource(None if given is None else given.get_secret_value(), file, what="admin token")
    if source.current() is None:
        raise SettingsError([f"admin_token_file: {file} holds no token that can be read"])
    return source


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


def proxy_options(settings: Settings, sockets: Listening, turns: Turns | None = None) -> ProxyOptions:
    return ProxyOptions(
        gateway_id=settings.gateway_id,
        port=None,
        listening_socket=sockets.plain,
        tls_socket=sockets.tls,
        turns=turns,
        trusted_hops=settings.trusted_hops,
        trace_ratio=settings.trace_ratio,
        max_connections=room_for_clients(settings.max_connections, settings.max_watches),
        max_connections_per_client=settings.max_connections_per_client,
        max_in_flight=settings.max_in_flight,
        keep_alive=settings.keep_alive,
        head_timeout=settings.head_timeout,
        body_grace=settings.body_grace,
        body_rate=settings.body_rate,
        write_timeout=settings.write_timeout,
        max_line=settings.max_line,
        max_field=settings.max_field,
        max_fields=settings.max_fields,
        max_response_head=settings.max_response_head,
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
