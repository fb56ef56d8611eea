"""What names and values in documents may look like, as pydantic annotations."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, StrictBool, StrictStr, ValidationInfo
from pydantic_core import PydanticCustomError

from gateway.core.paths import BadPath, normalise
from gateway.core.predicate import MAX_SOURCE, BadPredicate
from gateway.discovery.documents.units import refusal
from gateway.discovery.predicates import compile_instances, compile_require, compile_when
from gateway.discovery.regex import MAX_PATTERN, BadPattern, compile_full_match

is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|").fullmatch
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?").fullmatch
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*").fullmatch
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search

BAD_PREDICATE = "bad_predicate"
"""The type of an error that knows its line and column within the text of its field."""
FRAMING_HEADERS = frozenset(
    {
        "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Hop-by-hop headers (RFC 9110 §7.6.1), and those that frame or address a message."""
PROTECTED_HEADERS = FRAMING_HEADERS | {"via", "traceparent", "tracestate"}
"""With `Via`, which ends circles, and the trace context, which each attempt has its own of."""
FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-request-id"})
"""What hops say of a request; anyone may claim to be one."""
FORWARDING_PREFIX = "x-forwarded-"
PROTECTED_PREFIXES = ("x-gateway-", "x-consul-")


def _header_name(name: str) -> str:
    if not is_token(name):
        raise refusal("is not a header name: letters, digits and !#$%&'*+-.^_`|~ are allowed (RFC 9110 §5.6.2)")
    return name


def _editable_header_name(name: str) -> str:
    lower = _header_name(name).lower()
    if lower in PROTECTED_HEADERS or lower.startswith(PROTECTED_PREFIXES):
        raise refusal("is a header that the gateway itself manages; filters must not touch it")
    return name


def _header_value(value: str) -> str:
    if not _FIELD_VALUE(value):
        raise refusal("has to be printable ASCII, without line breaks, and without space at either end")
    return value


def _method(name: str) -> str:
    if not is_token(name):
        raise refusal("is not an HTTP method")
    if name != name.upper():
        raise refusal(f"methods are written in upper case: {name.upper()}")
    if name == "CONNECT":
        raise refusal("CONNECT is not proxied")
    return name


def _service_name(name: str) -> str:
    if not _SERVICE(name):
        raise refusal("is not a service name: letters, digits, dots, dashes and underscores are allowed")
    return name


def is_hostname(name: str) -> bool:
    """Labels with dots between, `*.` allowed in front; or an IPv6 address in brackets, as short as it gets."""
    if _is_bracketed_ipv6(name):
        return True
    rest = name.removeprefix("*.")
    return len(rest) <= 253 and all(_LABEL(label) for label in rest.split("."))


def _hostname(name: str) -> str:
    lower = name.lower()
    rest = lower.removeprefix("*.")
    if lower == "*":
        raise refusal("leave hostnames out to match any host")
    if not rest.isascii():
        raise refusal("write an international name in its ASCII form (xn--…)")
    if "://" in rest or "/" in rest:
        raise refusal("a hostname has no scheme and no path")
    if _is_bracketed_ipv6(lower):
        return lower
    if ":" in rest:
        raise refusal("a hostname has no port")
    if not is_hostname(lower):
        raise refusal("is not a hostname: labels of letters, digits and dashes, with dots between, *. allowed in front")
    return lower


def _is_bracketed_ipv6(name: str) -> bool:
    if not (name.startswith("[") and name.endswith("]")) or "%" in name:
        return False
    try:
        return str(ipaddress.IPv6Address(name[1:-1])) == name[1:-1]
    except ValueError:
        return False


def _normal_path(path: str) -> str:
    try:
        normal = normalise(path)
    except BadPath as bad:
        raise refusal(bad.reason) from None
    if normal != path:
        raise refusal(f"is not in normal form; write {normal}")
    return path


def _prefix(path: str) -> str:
    return _normal_path(path).rstrip("/") or "/"


def _pattern(pattern: str) -> str:
    try:
        compile_full_match(pattern)
    except BadPattern as bad:
        raise refusal(f"is not a regular expression that RE2 takes: {bad}") from None
    return pattern


def _predicate(compile_source: Callable[[str], object]) -> AfterValidator:
    def check(source: str) -> str:
        try:
            compile_source(source)
        except BadPredicate as bad:
            context = {"reason": bad.reason, "line": bad.line, "column": bad.column}
            raise PydanticCustomError(BAD_PREDICATE, "{reason}", context) from None
        return source

    return AfterValidator(check)


def _not_ourselves(name: str, info: ValidationInfo) -> str:
    if isinstance(info.context, dict) and name == info.context.get("own_service"):
        raise refusal("is the gateway's own service: its requests would go in a circle")
    return name


def _free_text(text: str) -> str:
    if _CONTROL(text):
        raise refusal("must not hold control characters")
    return text


def _scope(name: str) -> str:
    if not _SCOPE(name):
        raise refusal("is not a scope: printable ASCII without space, quote and backslash (RFC 6749 §3.3)")
    return name


def _true(value: bool) -> bool:
    if not value:
        raise refusal("can only be true")
    return value


def no_twins(value: JsonValue) -> JsonValue:
    """Refuses header names that differ only in case; the one header they mean would have two rules."""
    if isinstance(value, dict):
        seen: set[str] = set()
        for name in value:
            if name.lower() in seen:
                raise refusal(f"{_shown_name(name)} is given twice, in different case")
            seen.add(name.lower())
    return value


def as_list(value: JsonValue) -> JsonValue:
    """One text where a list of them is taken."""
    return [value] if isinstance(value, str) else value


def _shown_name(name: str) -> str:
    return name if is_token(name) else "a name"


OnlyTrue = Annotated[StrictBool, AfterValidator(_true)]
HeaderName = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_header_name)]
EditableHeaderName = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_editable_header_name)]
HeaderValue = Annotated[StrictStr, Field(max_length=4096), AfterValidator(_header_value)]
Method = Annotated[StrictStr, Field(min_length=1, max_length=32), AfterValidator(_method)]
ServiceName = Annotated[StrictStr, Field(min_length=1, max_length=128), AfterValidator(_service_name)]
OtherService = Annotated[ServiceName, AfterValidator(_not_ourselves)]
Hostname = Annotated[StrictStr, Field(min_length=1, max_length=260), AfterValidator(_hostname)]
Path = Annotated[StrictStr, Field(min_length=1, max_length=2048), AfterValidator(_normal_path)]
PathPrefix = Annotated[StrictStr, Field(min_length=1, max_length=2048), AfterValidator(_prefix)]
Pattern = Annotated[StrictStr, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_pattern)]
When = Annotated[StrictStr, Field(min_length=1, max_length=MAX_SOURCE), _predicate(compile_when)]
Require = Annotated[StrictStr, Field(min_length=1, max_length=MAX_SOURCE), _predicate(compile_require)]
Instances = Annotated[StrictStr, Field(min_length=1, max_length=MAX_SOURCE), _predicate(compile_instances)]
Text = Annotated[StrictStr, Field(max_length=1024), AfterValidator(_free_text)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_free_text)]
LongName = Annotated[StrictStr, Field(min_length=1, max_length=2048), AfterValidator(_free_text)]
Scope = Annotated[StrictStr, Field(min_length=1, max_length=128), AfterValidator(_scope)]
