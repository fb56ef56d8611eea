"""An authority of a test's own, and files of certificates that it issues."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.proxy.client.certificate_files import CertificateFiles


class Authority:
    """Issues to servers and clients. `directory` gets its files."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def pair(self, name: str, *identities: str, expires: datetime | None = None) -> CertificateFiles:
        """Files `<name>.pem` and `<name>.key`, of a new certificate each time; those that are there are replaced."""
        files = CertificateFiles(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        issued = self._ca.issue_cert(*(identities or (name,)), common_name=name, not_after=expires)
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        return files

    def encrypt(self, files: CertificateFiles) -> None:
        """Puts a password on the key."""
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"wonderland")
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )

    def trusting(self, client: CertificateFiles | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority and shows that certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context

    def issue(
        self, name: str, subject: x509.Name, *, uris: tuple[str, ...] = (), emails: tuple[str, ...] = ()
    ) -> CertificateFiles:
        """A client's certificate with exactly this subject."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.RFC822Name, emails),
        ]
        authority, authority_key = self._authority()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
        certificate = builder.sign(authority_key, hashes.SHA256())
        files = CertificateFiles(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def revoke(self, *revoked: CertificateFiles, days: int = 1) -> Path:
        """A revocation list with these, valid for so many days; `crl.pem`."""
        authority, key = self._authority()
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(now - timedelta(days=2))
            .next_update(now + timedelta(days=days))
        )
        for files in revoked:
            serial = x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(days=1))
            builder = builder.add_revoked_certificate(entry.build())
        file = self._directory / "crl.pem"
        file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()), key
