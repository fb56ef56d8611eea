"""The part `auth` of a route: who may send requests, and how they prove it."""

from __future__ import annotations

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, StrictBool, StrictStr, WithJsonSchema
from pydantic import model_validator as validator

from gateway.core.authentication import (
    ApiKey,
    Authentication,
    Basic,
    External,
    Headers,
    Jwt,
    KeySetFile,
    KeySetText,
    KeySetUrl,
    KeySource,
    Method,
    Place,
    PlaceKind,
    SecretFile,
)
from gateway.core.jwk import ALGORITHMS, MAX_KEYS, BadKey, shape_of
from gateway.discovery.documents.certificate_document import ClientCertificateDocument
from gateway.discovery.documents.model import Document, at_most_one, exactly_one
from gateway.discovery.documents.syntax import (
    EditableHeaderName,
    HeaderName,
    Name,
    OnlyTrue,
    OtherService,
    Path,
    Scope,
    as_list,
    no_twins,
)
from gateway.discovery.documents.units import DURATION, SIZE, Between, refusal

_URL = KeySetUrl("")
_JWT = Jwt(_URL)
_SOURCES = frozenset({"jwks_url", "jwks", "jwks_file", "secret_file"})
_OF_URL = frozenset({"allow_http", "refresh", "min_refresh", "stale"})
_PLACES = frozenset({"header", "cookie", "query"})


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refusal("is not a URL") from None
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise refusal("is not a URL: write it in ASCII, without spaces")
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == 0:
        raise refusal("has to be an https URL with a host")
    if parts.username is not None or parts.password is not None:
        raise refusal("must not hold a user or a password: routes are readable")
    if parts.fragment:
        raise refusal("must not have a fragment")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise refusal("has to be an absolute path, on the gateway's machine")
    return text


def _public_keys(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    keys = value.get("keys")
    if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
        raise refusal(f"is not a key set: keys, a list of 1 to {MAX_KEYS}, is needed (RFC 7517 §5)")
    for number, key in enumerate(keys):
        if not isinstance(key, dict):
            raise refusal(f"key {number} is not a mapping")
        try:
            is_secret = shape_of(key).is_secret
        except BadKey as bad:
            raise refusal(f"key {number} is not taken: {bad}") from None
        if is_secret:
            raise refusal(f"key {number} is a shared secret (oct), which has no place in Consul KV; use secret_file")
    return value


def _algorithm(name: str) -> str:
    if name not in ALGORITHMS:
        raise refusal(f"has to be one of {', '.join(sorted(ALGORITHMS))}")
    return name


Url = Annotated[StrictStr, Field(min_length=1, max_length=2048), AfterValidator(_url)]
FilePath = Annotated[StrictStr, Field(min_length=1, max_length=1024), AfterValidator(_path)]
Algorithm = Annotated[StrictStr, AfterValidator(_algorithm)]
Texts = Annotated[
    tuple[Name, ...],
    Field(min_length=1, max_length=32),
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
]
Scopes = Annotated[tuple[Scope, ...], Field(max_length=32)]
HeaderPlace = Annotated[EditableHeaderName, AfterValidator(str.lower)]
KeySet = Annotated[dict[str, JsonValue], AfterValidator(_public_keys), WithJsonSchema({"type": "object"})]

_SCOPES = "Scopes that it needs, all of them; 403 `forbidden` without."
_FORWARD = "Whether the credential goes upstream; it is taken out otherwise."
_HEADERS = "Header to the claim that it carries upstream. What a client sends in such a header is always removed."


class JwtDocument(Document):
    """A signed token. Exactly one of `jwks_url`, `jwks`, `jwks_file` and `secret_file` says where its keys are."""

    jwks_url: Url | None = Field(None, description="The issuer's key set. Redirects are not followed.")
    allow_http: StrictBool = Field(
        False, description="Whether `jwks_url` may be `http`: whoever can change it gets in."
    )
    refresh: Annotated[float, Between(DURATION, "10s", "24h")] = Field(
        _URL.refresh, description="How often it is fetched."
    )
    min_refresh: Annotated[float, Between(DURATION, "1s", "1h")] = Field(
        _URL.min_refresh,
        description="For a token whose key is not known it is fetched at once, once in this time at most.",
    )
    stale: Annotated[float, Between(DURATION, "1m", "720h")] = Field(
        _URL.stale, description="How long known keys go on being used while it cannot be fetched."
    )
    jwks: KeySet | None = Field(None, description="The key set itself (RFC 7517), of public keys.")
    jwks_file: FilePath | None = Field(
        None, description="A file on the gateway's machine with the key set; it is read again when it changes."
    )
    secret_file: FilePath | None = Field(
        None,
        description="A file on the gateway's machine with the secret of HS256 (32 bytes at least), HS384 or HS512.",
    )
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, max_length=20)] = Field(
        (), description="Algorithms that are taken; left out: all that go with the key's type."
    )
    issuer: Texts = Field((), description="`iss`: one, or a list of which any is taken.")
    audiences: Texts = Field(
        (), description="`aud`: any of these. Left out: only tokens that name no audience are taken (RFC 7519 §4.1.3)."
    )
    required_claims: Annotated[tuple[Name, ...], Field(max_length=32)] = Field(
        (), description="Claims that have to be there, besides `exp`, which always has to."
    )
    scopes: Scopes = Field((), description=f"{_SCOPES} Of the claim `scope`, or `scp`.")
    leeway: Annotated[float, Between(DURATION, "0s", "5m")] = Field(
        _JWT.leeway, description="How far the issuer's clock may be from ours (`exp`, `nbf`)."
    )
    max_size: Annotated[int, Between(SIZE, "256B", "64KiB")] = Field(_JWT.max_size, description="Of a token.")
    header: HeaderPlace | None = Field(None, description="The header it stands in, alone, instead of `Authorization`.")
    cookie: Name | None = Field(None, description="The cookie it stands in.")
    query: Name | None = Field(None, description="The query parameter it stands in.")
    headers: Annotated[dict[EditableHeaderName, Name], Field(max_length=32), BeforeValidator(no_twins)] = Field(
        {}, description=_HEADERS
    )
    forward: StrictBool = Field(False, description=_FORWARD)

    @validator(mode="after")
    def _consistent(self) -> JwtDocument:
        given = self.model_fields_set
        if len(given & _SOURCES) != 1:
            raise refusal(f"needs exactly one of {', '.join(sorted(_SOURCES))}")
        if self.jwks_url is None and given & _OF_URL:
            raise refusal(f"only jwks_url goes with {', '.join(sorted(given & _OF_URL))}")
        if self.jwks_url is not None and not self.allow_http and urlsplit(self.jwks_url).scheme != "https":
            raise refusal("jwks_url has to be https, or allow_http has to be true")
        if self.min_refresh > self.refresh:
            raise refusal("min_refresh must not be above refresh")
        symmetric = {name for name in self.algorithms if name.startswith("HS")}
        if symmetric and given & {"jwks_url", "jwks"}:
            raise refusal("HS algorithms need a secret, which no public key set holds: secret_file or jwks_file")
        if self.secret_file is not None and symmetric != set(self.algorithms):
            raise refusal("only HS algorithms go with secret_file")
        at_most_one(self, _PLACES)
        return self

    def value(self) -> Jwt:
        return Jwt(
            keys=self._keys(),
            place=_place(self.header, self.cookie, self.query),
            algorithms=frozenset(self.algorithms),
            issuers=frozenset(self.issuer),
            audiences=frozenset(self.audiences),
            required_claims=self.required_claims,
            scopes=frozenset(self.scopes),
            leeway=self.leeway,
            max_size=self.max_size,
            headers=_headers(self.headers),
            forward=self.forward,
        )

    def _keys(self) -> KeySource:
        if self.jwks_url is not None:
            return KeySetUrl(self.jwks_url, self.refresh, self.min_refresh, self.stale)
        if self.jwks is not None:
            return KeySetText(json.dumps(self.jwks, sort_keys=True))
        if self.jwks_file is not None:
            return KeySetFile(self.jwks_file)
        assert self.secret_file is not None
        return SecretFile(self.secret_file)


CredentialClaim = Literal["sub", "owner", "scope"]
CredentialHeaders = Annotated[dict[EditableHeaderName, CredentialClaim], Field(max_length=8), BeforeValidator(no_twins)]
_CREDENTIAL_HEADERS = f"{_HEADERS} A credential has `sub` (its id), `owner` and `scope`."


class ApiKeyDocument(Document):
    """A key that `gateway credentials create` gave out. Exactly one of `header` and `query` says where it stands."""

    header: HeaderPlace | None = Field(None, description="The header it stands in, such as `x-api-key`.")
    query: Name | None = Field(None, description="The query parameter it stands in.")
    scopes: Scopes = Field((), description=_SCOPES)
    headers: CredentialHeaders = Field({}, description=_CREDENTIAL_HEADERS)
    forward: StrictBool = Field(False, description=_FORWARD)

    @validator(mode="after")
    def _one_place(self) -> ApiKeyDocument:
        if len(self.model_fields_set & _PLACES) != 1:
            raise refusal("needs exactly one of header, query")
        return self

    def value(self) -> ApiKey:
        place = _place(self.header, None, self.query)
        return ApiKey(place, frozenset(self.scopes), _headers(self.headers), self.forward)


class BasicDocument(Document):
    """A user's name and password, of which `gateway credentials create --basic` made a credential."""

    scopes: Scopes = Field((), description=_SCOPES)
    headers: CredentialHeaders = Field({}, description=_CREDENTIAL_HEADERS)
    forward: StrictBool = Field(False, description=_FORWARD)

    def value(self) -> Basic:
        return Basic(frozenset(self.scopes), _headers(self.headers), self.forward)


class ExternalDocument(Document):
    """Another service says whether a request may go on: 2xx lets it, 401 and 403 refuse it, and everything else, a
    service that is not there or does not answer in time included, is 503 `authorisation_unavailable`."""

    service: OtherService = Field(
        description="Service in Consul. It gets a GET without a body, with `X-Forwarded-Method`, `-Uri`, `-Host`, "
        "`-Proto` and `-For` of the request."
    )
    path: Path | None = Field(None, description="What it is asked at; left out: the request's own path and query.")
    request_headers: Annotated[tuple[HeaderName, ...], Field(max_length=32)] = Field(
        ("authorization",), description="Headers of the client that it gets to see."
    )
    headers: Annotated[dict[EditableHeaderName, HeaderName], Field(max_length=32), BeforeValidator(no_twins)] = Field(
        {},
        description="Header to the header of its answer that it carries upstream. What a client sends in such a header "
        "is always removed. `require` sees the answer's headers as claims, by their names in lower case.",
    )
    refusal_headers: Annotated[tuple[EditableHeaderName, ...], Field(max_length=32)] = Field(
        (), description="Headers of its 401 or 403 that go to the client; `WWW-Authenticate` of a 401 always does."
    )
    owner: HeaderName | None = Field(None, description="The header of its answer that names the sender, for the log.")
    timeout: Annotated[float, Between(DURATION, "1ms", "1m")] = Field(
        External("").timeout, description="For all of it, another attempt on another instance included."
    )
    forward: StrictBool = Field(False, description="Whether `Authorization` goes upstream; it is taken out otherwise.")

    def value(self) -> External:
        return External(
            service=self.service,
            path=self.path,
            request_headers=tuple(name.lower() for name in self.request_headers),
            headers=tuple((name, source.lower()) for name, source in self.headers.items()),
            refusal_headers=tuple(name.lower() for name in self.refusal_headers),
            owner=None if self.owner is None else self.owner.lower(),
            timeout=self.timeout,
            forward=self.forward,
        )


class MethodDocument(Document):
    """Exactly one of the fields."""

    jwt: JwtDocument | None = Field(None, description="A signed token.")
    api_key: ApiKeyDocument | None = Field(None, description="An API key.")
    basic: BasicDocument | None = Field(None, description="A user's name and password.")
    external: ExternalDocument | None = Field(None, description="What another service says.")
    client_certificate: ClientCertificateDocument | None = Field(
        None, description="A certificate of the client's; `{}` takes all of the CA's."
    )

    @validator(mode="after")
    def _one_kind(self) -> MethodDocument:
        exactly_one(self)
        return self

    def method(self) -> Method:
        given = self.jwt or self.api_key or self.basic or self.external or self.client_certificate
        assert given is not None
        return given.value()


Methods = Annotated[tuple[MethodDocument, ...], Field(min_length=1, max_length=8)]


class AuthDocument(Document):
    """Exactly one of the fields. 401 `unauthenticated` without a valid credential."""

    jwt: JwtDocument | None = Field(None, description="A signed token.")
    api_key: ApiKeyDocument | None = Field(None, description="An API key.")
    basic: BasicDocument | None = Field(None, description="A user's name and password.")
    external: ExternalDocument | None = Field(None, description="What another service says.")
    client_certificate: ClientCertificateDocument | None = Field(
        None, description="A certificate of the client's; `{}` takes all of the CA's."
    )
    any: Methods | None = Field(None, description="Several, in this order; the first that succeeds is enough.")
    all: Methods | None = Field(None, description="Several, of which all have to succeed; the first names the sender.")
    none: OnlyTrue | None = Field(None, description="`true`: nobody is asked, whatever the defaults say.")

    @validator(mode="after")
    def _one_kind(self) -> AuthDocument:
        exactly_one(self)
        names = [name.lower() for each in self.all or () for name, _ in each.method().headers]
        if len(names) != len(set(names)):
            raise refusal("two of all write the same header")
        return self

    def over(self, base: Authentication | None) -> Authentication | None:
        """A route's own `auth` takes the place of the default one as a whole."""
        if not self.model_fields_set:
            return base
        if self.none:
            return None
        several = self.any or self.all
        if several is not None:
            return Authentication(tuple(each.method() for each in several), every=self.all is not None)
        only = self.jwt or self.api_key or self.basic or self.external or self.client_certificate
        assert only is not None
        return Authentication((only.value(),))


def _place(header: str | None, cookie: str | None, query: str | None) -> Place:
    if header is not None:
        return Place(PlaceKind.HEADER, header)
    if cookie is not None:
        return Place(PlaceKind.COOKIE, cookie)
    return Place() if query is None else Place(PlaceKind.QUERY, query)


def _headers(headers: dict[str, str] | dict[str, CredentialClaim]) -> Headers:
    return tuple(headers.items())
