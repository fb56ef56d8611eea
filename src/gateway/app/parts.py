"""Parts of the gateway as its settings ask for them."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
from dataclasses import dataclass

from gateway import __version__
from gateway.discovery.service import DiscoveryOptions
from gateway.discovery.token import TokenSource
from gateway.journal.writer import Journal
from gateway.proxy.certificate_files import CertificateFiles, TlsOptions
from gateway.proxy.options import ProxyOptions
from gateway.proxy.server_certificates import ServerCertificates
from gateway.proxy.sockets import bind
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


def listening(settings: Settings) -> Listening:
    """Raises ListenError where a port cannot be had."""
    return Listening(
        _bound(settings, settings.listen, "--listen"), _bound(settings, settings.tls_listen, "--tls-listen")
    )


def _bound(settings: Settings, address: Address | None, flag: str) -> socket.socket | None:
    return None if address is None else bind(settings.host_of(address), address.port, flag)


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


def journal(settings: Settings) -> Journal | None:
    """Raises JournalError."""
    if settings.journal is None:
        return None
    return Journal(settings.journal, segment=settings.journal_segment, kept=settings.journal_segments)


def span_export(settings: Settings, redaction: Redaction) -> SpanExport | None:
    exporter = otlp_exporter(settings.trace_endpoint, os.environ)
    if exporter is None:
        return None
    return SpanExport(exporter, SpanMaker(redaction, service=settings.service, gateway_id=settings.gateway_id))


def proxy_options(settings: Settings, sockets: Listening) -> ProxyOptions:
    return ProxyOptions(
        gateway_id=settings.gateway_id,
        port=None,
        listening_socket=sockets.plain,
        tls_socket=sockets.tls,
        trusted_hops=settings.trusted_hops,
        trace_ratio=settings.trace_ratio,
        max_connections=settings.max_connections,
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
