"""The nouns of authentication: what a route asks of a request's sender, and the credentials that are given out.

No noun holds a secret: a shared secret of HS algorithms is named by the file it is in, a credential by a hash of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class PlaceKind(Enum):
    AUTHORIZATION = "authorization"
    """`Authorization`, by the scheme of the method."""
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a request a credential stands. `name` of a header is in lower case."""

    kind: PlaceKind = PlaceKind.AUTHORIZATION
    name: str = "authorization"


# --- where keys of tokens come from -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeySetUrl:
    """Seconds: fetched every `refresh`, for an unknown key once in `min_refresh` at most; keys go on being used for
    `stale` after the last success."""

    url: str
    refresh: float = 300.0
    min_refresh: float = 10.0
    stale: float = 86400.0


@dataclass(frozen=True, slots=True)
class KeySetText:
    """A key set (RFC 7517) of public keys, as JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class KeySetFile:
    path: str


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A secret that signer and gateway share, for HS256 and its like."""

    path: str


KeySource = KeySetUrl | KeySetText | KeySetFile | SecretFile


# --- what a route asks for --------------------------------------------------------------------------------------------

Headers = tuple[tuple[str, str], ...]
"""Header to the claim that it carries upstream."""


@dataclass(frozen=True, slots=True)
class Jwt:
    """`algorithms` none: all that fit the key. `audiences` none: a token must not name any (RFC 7519 §4.1.3)."""

    keys: KeySource
    place: Place = Place()
    algorithms: frozenset[str] = frozenset()
    issuers: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()
    required_claims: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    leeway: float = 30.0
    """Seconds that clocks may differ by."""
    max_size: int = 8192
    """Bytes of a token."""
    headers: Headers = ()
    forward: bool = False
    """Whether the credential goes upstream."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    place: Place
    scopes: frozenset[str] = frozenset()
    headers: Headers = ()
    forward: bool = False


@dataclass(frozen=True, slots=True)
class Basic:
    scopes: frozenset[str] = frozenset()
    headers: Headers = ()
    forward: bool = False
    place: Place = Place()


@dataclass(frozen=True, slots=True)
class External:
    """A mirrored service that is asked about each request. Names of headers are in lower case."""

    service: str
    path: str | None = None
    """What it is asked at; None: at the request's own path."""
    request_headers: tuple[str, ...] = ("authorization",)
    """Of the client's, which it gets to see."""
    headers: Headers = ()
    """To the instance, each with the header of the answer whose value it has."""
    refusal_headers: tuple[str, ...] = ()
    """Of a refusal, to the client."""
    owner: str | None = None
    """The header of the answer that names the sender."""
    timeout: float = 1.0
    """Seconds for all of it."""
    forward: bool = False
    place: Place = Place()


ATTRIBUTE_NAMES = {"1.2.840.113549.1.9.1": "emailAddress", "2.5.4.5": "serialNumber"}
"""How attributes of a distinguished name are written, by their identifiers, besides those that RFC 4514 §3 names."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The certificate of the client's end of the connection, which is in the list if any of its names is; with no list,
    every one that the listener's CA has issued. `subjects` are distinguished names as RFC 4514 writes them, `san_dns`
    in lower case."""

    subjects: frozenset[str] = frozenset()
    common_names: frozenset[str] = frozenset()
    san_dns: frozenset[str] = frozenset()
    san_uris: frozenset[str] = frozenset()
    san_emails: frozenset[str] = frozenset()
    headers: Headers = ()
    place: None = None
    """It is not in the request."""
    forward: bool = False


Method = Jwt | ApiKey | Basic | External | ClientCertificate


@dataclass(frozen=True, slots=True)
class Authentication:
    """A request passes by any of the methods; or, `every`, only by all of them."""

    methods: tuple[Method, ...]
    every: bool = False

    def services(self) -> frozenset[str]:
        """Those that are asked about requests."""
        return frozenset(method.service for method in self.methods if isinstance(method, External))


# --- what is given out ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyHash:
    """SHA-256 of an API key, which has at least 128 random bits and needs no slow hash."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """scrypt (RFC 7914) with N = 2^`log_n`; at the defaults 32 MiB, and some tens of milliseconds."""

    salt: bytes
    digest: bytes
    log_n: int = 15
    r: int = 8
    p: int = 3


@dataclass(frozen=True, slots=True)
class Credential:
    """One accepted KV key under `credentials/`. `expires` is Unix time, None never; the id is the user's name."""

    id: str
    version: int
    secret: KeyHash | PasswordHash = field(repr=False)
    owner: str = ""
    scopes: frozenset[str] = frozenset()
    expires: float | None = None
