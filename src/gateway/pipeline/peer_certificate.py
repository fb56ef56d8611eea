"""What a client's certificate says: read once for each connection, after TLS has verified it against the CA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import JsonValue

from gateway.core.authentication import ATTRIBUTE_NAMES

_NAMES = {x509.ObjectIdentifier(identifier): name for identifier, name in ATTRIBUTE_NAMES.items()}


class BadCertificate(ValueError):
    """A part of a certificate cannot be read, so that nobody knows whose it is."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """`subject` and `issuer` as RFC 4514 writes them; `common_name` is the subject's last, empty without one; `serial`
    in hexadecimal, as openssl shows it; `fingerprint` the SHA-256 of the certificate; `not_after` in Unix time."""

    subject: str
    common_name: str
    san_dns: tuple[str, ...]
    """In lower case."""
    san_uris: tuple[str, ...]
    san_emails: tuple[str, ...]
    issuer: str
    serial: str
    fingerprint: str
    not_after: float

    @property
    def owner(self) -> str:
        """A name for whoever has it: those that SPIFFE issues have no subject."""
        return self.subject or next(iter(self.san_uris or self.san_dns or self.san_emails), self.fingerprint)

    @property
    def claims(self) -> Mapping[str, JsonValue]:
        """What predicates and headers may ask about."""
        return {
            "subject": self.subject,
            "common_name": self.common_name,
            "san_dns": [*self.san_dns],
            "san_uri": [*self.san_uris],
            "san_email": [*self.san_emails],
            "issuer": self.issuer,
            "serial": self.serial,
            "fingerprint": self.fingerprint,
        }


@lru_cache(maxsize=1024)
def peer_certificate(der: bytes) -> PeerCertificate:
    """Clients come again, with the same one. Raises BadCertificate."""
    try:
        return _read(der)
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise BadCertificate(str(error)) from error


def _read(der: bytes) -> PeerCertificate:
    certificate = x509.load_der_x509_certificate(der)
    common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return PeerCertificate(
        subject=certificate.subject.rfc4514_string(_NAMES),
        common_name=str(common_names[-1].value) if common_names else "",
        san_dns=tuple(name.lower() for name in names.get_values_for_type(x509.DNSName)),
        san_uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        san_emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        issuer=certificate.issuer.rfc4514_string(_NAMES),
        serial=_hexadecimal(certificate.serial_number),
        fingerprint=sha256(der).hexdigest(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _hexadecimal(number: int) -> str:
    """In whole bytes."""
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"
