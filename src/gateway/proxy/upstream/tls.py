"""TLS contexts towards instances, one for each set of settings, made anew when their files change."""

from __future__ import annotations

import logging
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from gateway.core.model import ConnectTls
from gateway.proxy.wire.tls_keys import Encrypted, no_password

logger = logging.getLogger("gateway.tls")

_MOST = 256
"""Sets of settings whose contexts are kept."""


_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class _Kept:
    context: ssl.SSLContext
    stamp: _Stamp
    """Of the files as they were when they were last looked at, whether or not they could be used."""
    complaint: str = ""


_kept: OrderedDict[ConnectTls, _Kept] = OrderedDict()


def tls_context(settings: ConnectTls) -> ssl.SSLContext:
    """For a new connection. Certificates are rotated without a restart: files are looked at each time, and what cannot
    be used, as a certificate whose key is yet to come, leaves the last context in force.

    Raises OSError, which names the files, where one cannot be read or is not what it should be, and never was.
    """
    kept = _kept.get(settings)
    if kept is None:
        stamp = _stamp(settings)
        kept = _kept[settings] = _Kept(_context(settings), stamp)
        if len(_kept) > _MOST:
            _kept.popitem(last=False)
        return kept.context
    _kept.move_to_end(settings)
    try:
        stamp = _stamp(settings)
        if stamp != kept.stamp:
            kept.stamp = stamp
            kept.context, kept.complaint = _context(settings), ""
    except OSError as error:
        _complain(kept, str(error))
    return kept.context


def _complain(kept: _Kept, complaint: str) -> None:
    if complaint != kept.complaint:
        kept.complaint = complaint
        logger.warning(
            "Files for TLS towards instances are not taken over; the last ones stay in force.",
            extra={"error": complaint},
        )


def _files(settings: ConnectTls) -> list[str]:
    return [file for file in (settings.ca_file, settings.cert_file, settings.key_file) if file is not None]


def _stamp(settings: ConnectTls) -> _Stamp:
    found = (Path(file).stat() for file in _files(settings))
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)


def _context(settings: ConnectTls) -> ssl.SSLContext:
    try:
        return _made(settings)
    except (OSError, Encrypted) as error:
        raise OSError(f"{', '.join(_files(settings))}: {error}") from error


def _made(settings: ConnectTls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.cert_file is not None:
        context.load_cert_chain(settings.cert_file, settings.key_file, no_password)
    context.set_alpn_protocols(["http/1.1"])
    return context
