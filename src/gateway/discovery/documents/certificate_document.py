"""`client_certificate` in `auth`: whose certificates are taken."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.core.authentication import ClientCertificate
from gateway.discovery.documents.distinguished_name import NotDistinguished, distinguished_name
from gateway.discovery.documents.model import Document
from gateway.discovery.documents.syntax import EditableHeaderName, LongName, as_list, no_twins
from gateway.discovery.documents.units import refusal


def _subject(text: str) -> str:
    try:
        return distinguished_name(text)
    except NotDistinguished:
        raise refusal(
            "is not a distinguished name as in RFC 4514, such as CN=orders,O=Acme; "
            "openssl x509 -noout -subject -nameopt RFC2253 shows a certificate's"
        ) from None


_ONE_OR_MORE = Field(min_length=1, max_length=256)
_OR_ONE = BeforeValidator(as_list, json_schema_input_type=str | list[str])
Subjects = Annotated[tuple[Annotated[LongName, AfterValidator(_subject)], ...], _ONE_OR_MORE, _OR_ONE]
Names = Annotated[tuple[LongName, ...], _ONE_OR_MORE, _OR_ONE]
Claim = Literal["subject", "common_name", "san_dns", "san_uri", "san_email", "issuer", "serial", "fingerprint"]


class ClientCertificateDocument(Document):
    """A certificate of the client's, which TLS has verified against `tls_client_ca`. Without any list all that this CA
    issued are taken; else those that have a name in one of the lists. Names are compared as a whole."""

    subject: Subjects = Field((), description="Distinguished name, as RFC 4514 writes it: `CN=orders,O=Acme`.")
    common_name: Names = Field((), description="Common name of the subject; its last, where it has several.")
    san_dns: Names = Field((), description="DNS name among the subject's alternative names.")
    san_uri: Names = Field((), description="URI among them, such as `spiffe://example.com/orders`.")
    san_email: Names = Field((), description="E-mail address among them.")
    headers: Annotated[dict[EditableHeaderName, Claim], Field(max_length=8), BeforeValidator(no_twins)] = Field(
        {},
        description="Header to what it carries upstream. What a client sends in such a header is always removed. "
        "Several names have commas between; what is not ASCII is written as in RFC 4514, with a backslash and two "
        "hexadecimal digits a byte; `fingerprint` is the SHA-256.",
    )

    def value(self) -> ClientCertificate:
        return ClientCertificate(
            subjects=frozenset(self.subject),
            common_names=frozenset(self.common_name),
            san_dns=frozenset(name.lower() for name in self.san_dns),
            san_uris=frozenset(self.san_uri),
            san_emails=frozenset(self.san_email),
            headers=tuple(self.headers.items()),
        )
