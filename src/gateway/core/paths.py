"""One spelling for each path: the normal form is what is matched, authorised, logged and forwarded.

RFC 3986 §6.2.2 names the steps: decode escapes of unreserved characters, resolve dot segments (§5.2.4), then merge
slashes, and write the remaining escapes in upper case. Characters that RFC 3986 does not let stand in a path, but
that clients send raw (`{`, `|`, `"` and the like), are escaped, so that they too have one spelling. `%2F` and `%5C`
stay what they are: an opaque character inside an element, and a question for the route that matched.
"""

from __future__ import annotations

import re

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PCHAR = r"A-Za-z0-9\-._~!$&'()*+,;=:@"
_ORDINARY = re.compile(rf"/[{_PCHAR}/]*").fullmatch
_REFUSED = re.compile(r"[^\x21-\x7e]|[#?\\]|%(?![0-9A-Fa-f]{2})|%00")
_ORDINARY_QUERY = re.compile(rf"[{_PCHAR}/?]*").fullmatch
_REFUSED_IN_QUERY = re.compile(r"[^\x21-\x7e]|#|%(?![0-9A-Fa-f]{2})")
_BARE_IN_QUERY = re.compile(rf"[^{_PCHAR}/?%]")
_ESCAPE_OR_BARE = re.compile(rf"%(..)|[^{_PCHAR}/%]")
_MANY_SLASHES = re.compile("//+")
_OVERLONG = re.compile(r"%C[01]%[89AB]|%E0%[89]|%F0%8|%F8%8[0-7]|%FC%8[0-3]")
"""UTF-8 that is longer than it may be (RFC 3629 §3), in which some upstreams read slashes and dots."""
_DISGUISED_DOTS = re.compile(r"(?:/|%2F|%5C)\.\.?(?:;|%3B|%2F|%5C|/|$)")


class BadPath(ValueError):
    """A path that must not be routed; `reason` says why and never echoes the input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def normalise(raw_path: str) -> str:
    """The normal form of a request's path (without query), idempotent; an empty path is `/` (RFC 3986 §6.2.3).

    Raises BadPath for what has no safe meaning: `%00`, broken escapes, `#`, a raw backslash, space, control
    characters and non-ASCII; and for what some upstreams resolve although no proxy in front of them does: dot segments
    in disguise (`..;x`, `..%2F`), and overlong UTF-8 (`%C0%AE`).
    """
    if _ORDINARY(raw_path) and "/." not in raw_path and "//" not in raw_path:
        return raw_path
    if not raw_path:
        return "/"
    refused = _REFUSED.search(raw_path)
    if refused:
        raise BadPath(_why_refused(refused.group()))
    if raw_path[0] != "/":
        raise BadPath("a path has to start with a slash")
    path = _ESCAPE_OR_BARE.sub(_respell, raw_path)
    if "/." in path:
        path = _without_dot_segments(path)
    if "//" in path:
        path = _MANY_SLASHES.sub("/", path)
    if _DISGUISED_DOTS.search(path):
        raise BadPath("a dot segment is hidden behind a path parameter or an escaped slash")
    if _OVERLONG.search(path):
        raise BadPath("a path must not hold overlong UTF-8")
    return path


def normalise_query(raw: str) -> str:
    """A query as RFC 3986 §3.4 lets it stand in a target: characters that clients send raw all the same (`[`, `|`, `"`
    and the like) are escaped; everything else stays as it is, escapes included. Idempotent.

    Raises BadPath for broken escapes, `#`, space, control characters and non-ASCII.
    """
    if _ORDINARY_QUERY(raw):
        return raw
    if _REFUSED_IN_QUERY.search(raw):
        raise BadPath("a query must hold ASCII without `#`, and two hexadecimal digits behind each percent sign")
    return _BARE_IN_QUERY.sub(lambda bare: f"%{ord(bare.group()):02X}", raw)


def has_escaped_slash(path: str) -> bool:
    """Whether a normalised path holds `%2F` or `%5C`."""
    return "%" in path and ("%2F" in path or "%5C" in path)


def _respell(match: re.Match[str]) -> str:
    digits = match.group(1)
    if digits is None:
        return f"%{ord(match.group()):02X}"
    code = int(digits, 16)
    return chr(code) if code in _UNRESERVED else f"%{digits.upper()}"


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _why_refused(found: str) -> str:
    if found == "%00":
        return "a path must not hold %00"
    if found[0] == "%":
        return "a percent sign has to be followed by two hexadecimal digits"
    if found == "#":
        return "a request's path must not hold a fragment"
    if found == "?":
        return "a path ends before the question mark"
    if found == "\\":
        return "a path must not hold a raw backslash"
    return "a path must not hold spaces, control characters or non-ASCII characters"
