"""TLS contexts towards instances, one for each set of settings."""

from __future__ import annotations

import ssl
from functools import lru_cache

from gateway.core.model import ConnectTls


@lru_cache(maxsize=256)
def tls_context(settings: ConnectTls) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError is one) where a file cannot be read or is not what it should be."""
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
