"""Client certificates: TLS has verified that the client has one of the CA, and its key; here it is who may come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from gateway.core.authentication import ClientCertificate
from gateway.pipeline.authentication.claims import Unfit, fields_of
from gateway.pipeline.authentication.proof import Denial, Finding, Proof
from gateway.pipeline.peer_certificate import PeerCertificate
from gateway.pipeline.stage import Call, Identity

_CHALLENGE = 'ClientCertificate realm="gateway"'
_NONE = Denial("no client certificate", _CHALLENGE, presented=False)
_NOT_ASKED = Denial(
    "no client certificate: this gateway asks for none (tls_client_ca is not set)", _CHALLENGE, presented=False
)


class ClientCertificateMethod:
    """`asked`: whether clients are asked for certificates at all."""

    def __init__(self, policy: ClientCertificate, wall: Callable[[], float], *, asked: bool) -> None:
        self.place = policy.place
        self.forward = policy.forward
        self.headers = policy.headers
        self._policy = policy
        self._wall = wall
        self._without = _NONE if asked else _NOT_ASKED
        self._known: tuple[PeerCertificate, Finding] | None = None
        """What the last one came to: most clients send many requests in a row."""

    def check(self, call: Call) -> Finding:
        certificate = call.certificate
        if certificate is None:
            return self._without
        if self._wall() >= certificate.not_after:
            # A connection may outlive it.
            return Denial(f"the client certificate {certificate.owner} has expired", _CHALLENGE)
        known = self._known
        if known is None or known[0] is not certificate:
            known = self._known = (certificate, self._finding(certificate))
        return known[1]

    def _finding(self, certificate: PeerCertificate) -> Finding:
        named = f"the client certificate {certificate.owner}"
        if not _is_in_list(certificate, self._policy):
            return Denial(f"{named} is not in the route's list", _CHALLENGE)
        claims = certificate.claims
        try:
            fields = fields_of(_in_ascii(claims), self.headers)
        except Unfit as unfit:
            return Denial(f"{named}: {unfit}", _CHALLENGE)
        who = Identity("client_certificate", certificate.owner, certificate.issuer)
        return Proof(who, claims, fields)


def _is_in_list(certificate: PeerCertificate, policy: ClientCertificate) -> bool:
    lists = (policy.subjects, policy.common_names, policy.san_dns, policy.san_uris, policy.san_emails)
    if not any(lists):
        return True
    return (
        certificate.subject in policy.subjects
        or certificate.common_name in policy.common_names
        or not policy.san_dns.isdisjoint(certificate.san_dns)
        or not policy.san_uris.isdisjoint(certificate.san_uris)
        or not policy.san_emails.isdisjoint(certificate.san_emails)
    )


def _in_ascii(claims: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Other characters as RFC 4514 §2.4 writes any byte: a backslash and two hexadecimal digits. Lists are ASCII as
    they are (IA5String, RFC 5280 §4.2.1.6)."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in claims.items()}


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if " " <= character <= "~" else "".join(f"\\{byte:02X}" for byte in character.encode())
        for character in text
    )
