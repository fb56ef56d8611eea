"""TLS contexts towards instances, one for each set of settings."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from gateway.core.model import ConnectTls


def tls_context(settings: ConnectTls) -> ssl.SSLContext:
    """Made anew when one of its files changes, so that certificates are rotated without a restart.

    Raises OSError (ssl.SSLError is one) where a file cannot be read or is not what it should be.
    """
    files = (settings.ca_file, settings.cert_file, settings.key_file)
    return _context(settings, tuple(Path(file).stat().st_mtime_ns for file in files if file is not None))


@lru_cache(maxsize=256)
def _context(settings: ConnectTls, _changed: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
