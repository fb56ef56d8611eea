"""The certificates that clients are shown: chosen by the name that a client asks for, and read again when files change.

What is wrong with a file later on harms nothing else: the certificate that was in force stays, and that is told.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gateway.proxy.client.certificate_files import ServerCertificate, TlsError, TlsOptions, read_certificate

logger = logging.getLogger("gateway.tls")

LOOK_AGAIN = 2.0
"""Seconds between two looks at the files."""


@dataclass(frozen=True, slots=True)
class CertificateStanding:
    """A certificate in force. `not_after` is Unix time; `error` says why what its files hold now is not in force."""

    file: str
    names: Sequence[str]
    not_after: float
    error: str | None


class ServerCertificates:
    """All certificates of one listener."""

    def __init__(self, options: TlsOptions) -> None:
        """Raises TlsError where a file cannot be used."""
        self._options = options
        self.errors: Mapping[Path, str] = {}
        """By certificate file: why what there is now is not in force."""
        self.in_force: Sequence[ServerCertificate] = ()
        """In the order of the setting."""
        self._by_name: dict[str, ServerCertificate] = {}
        self._take([read_certificate(options, files, None) for files in options.certificates])

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake. It goes on with the context of another certificate if the client's name is there."""
        return self.in_force[0].context

    def standings(self) -> Sequence[CertificateStanding]:
        return [
            CertificateStanding(str(each.file), each.names, each.not_after, self.errors.get(each.file))
            for each in self.in_force
        ]

    def named(self, name: str) -> ServerCertificate:
        """The first that has this name, else the first with a wildcard in the place of its first label (RFC 6125
        §6.4.3), else the first of all."""
        lower = name.lower().rstrip(".")
        found = self._by_name.get(lower) or self._by_name.get(f"*.{lower.partition('.')[2]}")
        return found or self.in_force[0]

    async def follow(self) -> NoReturn:
        """Looks at the files every now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                await self.look()
            except Exception:
                # An error of ours must not cost every certificate that is yet to come.
                logger.exception("The certificates' files could not be looked at.")

    async def look(self) -> None:
        """Takes over what has changed, which counts for new connections. Files are read in a thread."""
        read, errors = await asyncio.to_thread(self._read_again, self.in_force)
        for file, error in errors.items():
            if self.errors.get(file) != error:
                logger.warning("A certificate is not taken over; the last one stays in force.", extra={"error": error})
        self.errors = errors
        if read != self.in_force:
            self._take(read)

    def _read_again(
        self, in_force: Sequence[ServerCertificate]
    ) -> tuple[Sequence[ServerCertificate], Mapping[Path, str]]:
        read: list[ServerCertificate] = []
        errors: dict[Path, str] = {}
        for files, before in zip(self._options.certificates, in_force, strict=True):
            try:
                read.append(read_certificate(self._options, files, before))
            except TlsError as error:
                errors[files.certificate] = str(error)
                read.append(before)
        return read, errors

    def _take(self, read: Sequence[ServerCertificate]) -> None:
        known = {id(each) for each in self.in_force}
        self.in_force, self._by_name = read, {}
        for certificate in read:
            certificate.context.sni_callback = self._choose
            for name in certificate.names:
                self._by_name.setdefault(name, certificate)
            if id(certificate) not in known:
                told = {"file": str(certificate.file), "names": certificate.names, "expires": certificate.expires}
                logger.info("A certificate is in force.", extra=told)

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """Told by OpenSSL what name the client asks for (RFC 6066 §3)."""
        if name is not None:
            connection.context = self.named(name).context
