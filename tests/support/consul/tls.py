"""Certificates for tests of TLS towards Consul."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the authority to trust, and a certificate with its key to present."""

    ca: Path
    cert: Path
    key: Path


class Authority:
    """A certificate authority that lives in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *identities: str) -> TlsFiles:
        """A certificate for `identities`, valid on servers and clients, written as `name`.pem and `name`.key."""
        leaf = self._ca.issue_cert(*identities, common_name=name)
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return TlsFiles(self.ca, cert, key)
