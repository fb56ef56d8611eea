"""Certificates, keys and the CA of clients, from files into contexts of TLS; what is wrong with one names it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509

from gateway.proxy.wire.tls_keys import Encrypted, no_password


class TlsError(Exception):
    """A file cannot be used; the message names it, and says why."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM: a certificate and its chain, the certificate first; and its key, which may be in the same file."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The first of `certificates` is for clients that ask for no name, or for one that no certificate has."""

    certificates: tuple[CertificateFiles, ...]
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    client_ca: Path | None = None
    """Whose certificates of clients are taken; None: clients are asked for none."""
    client_crl: Path | None = None
    """Which of them are revoked; it needs a list, and a valid one, of each CA that issues them."""
    client_required: bool = False
    """Whether a client without a certificate is refused in the handshake already."""


@dataclass(frozen=True, slots=True, eq=False)
class ServerCertificate:
    """`names` are the DNS names among its alternative names, in lower case; `not_after` is Unix time."""

    file: Path
    names: tuple[str, ...]
    not_after: float
    context: ssl.SSLContext
    contents: bytes
    """A hash of all files that it was made of."""

    @property
    def expires(self) -> str:
        """As in ISO 8601."""
        return datetime.fromtimestamp(self.not_after, UTC).isoformat()


def read_certificate(
    options: TlsOptions, files: CertificateFiles, before: ServerCertificate | None
) -> ServerCertificate:
    """`before` again where no file has changed since. Raises TlsError."""
    needed = (files.certificate, files.key, options.client_ca, options.client_crl)
    contents = [_read(file) for file in needed if file is not None]
    hashed = sha256(b"".join(sha256(content).digest() for content in contents)).digest()
    if before is not None and before.contents == hashed:
        return before
    try:
        leaf = x509.load_pem_x509_certificates(contents[0])[0]
        names = tuple(_dns_names(leaf))
    except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
        raise TlsError(f"{files.certificate}: holds no certificate in PEM that can be read") from error
    if not names and files != options.certificates[0]:
        raise TlsError(f"{files.certificate}: has no DNS name (subjectAltName), so that no client would be shown it")
    return ServerCertificate(
        files.certificate, names, leaf.not_valid_after_utc.timestamp(), _context(options, files), hashed
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TlsError(f"{file}: cannot be read: {error.strerror}") from error


def _dns_names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return dict.fromkeys(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _context(options: TlsOptions, files: CertificateFiles) -> ssl.SSLContext:
    """All contexts of a listener are alike but for the certificate: OpenSSL takes most of the rest of them from the one
    that a handshake began with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = options.min_version
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_key(context, files)
    if options.client_ca is not None:
        _load_authority(context, options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if options.client_required else ssl.CERT_OPTIONAL
    if options.client_crl is not None:
        _load_revoked(context, options.client_crl)
    return context


def _load_key(context: ssl.SSLContext, files: CertificateFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key, no_password)
    except Encrypted as error:
        raise TlsError(f"{files.key}: {error}") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{files.key}: is not the key of the certificate {files.certificate}") from error
        if error.reason is None:
            raise TlsError(f"{files.key}: holds no private key in PEM that can be read") from error
        raise TlsError(f"{files.certificate}: cannot be used: {error.reason}") from error
    except OSError as error:
        raise TlsError(f"{files.certificate}, {files.key}: cannot be read: {error.strerror}") from error


def _load_authority(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise TlsError(f"{file}: holds no CA certificate in PEM that can be read") from error


def _load_revoked(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise TlsError(f"{file}: holds no certificate revocation list in PEM that can be read") from error
    if not context.cert_store_stats()["crl"]:
        raise TlsError(f"{file}: holds no certificate revocation list")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
