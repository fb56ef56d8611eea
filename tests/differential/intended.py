"""Where today's gateway differs from the version before on purpose, and why: the whole of it.

A line is one of `seen.differences`. Whatever differs and is not here fails the test, and so does what is here and no
longer differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intended:
    """`why` there is a difference. `changelog` quotes what users were told of it, `rule` is where it is written."""

    why: str
    cases: Mapping[str, Sequence[str]]
    changelog: str = ""
    rule: str = ""


def _refused(asked: str, answer: str, *, kept: bool = True) -> tuple[str, ...]:
    """A request that was answered 200, and now is refused before an instance sees it."""
    lines = (f"client: 200 OK -> {answer}", f"instance: {asked} -> nothing")
    return (*lines, "connection: kept -> closed") if kept else lines


_BAD = "400 Bad Request (bad_request)"
_NOT_ALLOWED = "405 Method Not Allowed (method_not_allowed)"
_NO_ROUTE = "404 Not Found (no_route)"
_BAD_GATEWAY = "client: 200 OK -> 502 Bad Gateway (upstream_reset)"
_FORBIDDEN = "Requests that RFC 9110 and 9112 forbid and that were forwarded in a mended form until now were refused"


def _problem(detail: str) -> str:
    said = f', "detail": "{detail}"' if detail else ""
    kind = '"type": "urn:alims-gateway:problem:bad_request", "title": "Bad request", "status": 400'
    return f'{{{kind}{said}, "request_id": "<id>"}}'


def _detail(before: str, now: str) -> tuple[str]:
    return (f"client: body {_problem(before)} -> {_problem(now)}",)


def _target(detail: str) -> tuple[str]:
    return _detail(f"the path cannot be served: {detail}", f"the target cannot be served: {detail}")


def _in_chunks(side: str, length: int, messages: int = 1) -> tuple[str, ...]:
    return (f"{side}: Content-Length: {length} -> none", f"{side}: Transfer-Encoding: none -> chunked") * messages


INTENDED = (
    Intended(
        "Bytes of 0x80 and above pass in values, but for fields that the gateway reads itself.",
        {
            "bytes of 0x80 and more": (
                f"client: {_BAD} -> 200 OK",
                "instance: nothing -> GET /bare",
                "connection: closed -> kept",
            ),
            "bytes of 0x80 and more, and filters": (
                f"client: {_BAD} -> 200 OK",
                "instance: nothing -> GET /a",
                "connection: closed -> kept",
            ),
            "bytes of 0x80 and more in Connection": _detail(
                "a header field holds a byte that is not ASCII",
                "a header field that ends here holds a byte that is not ASCII",
            ),
        },
        changelog="Bytes of 0x80 and above in header values passed to instances as they are",
        rule="RFC 9110 §5.5",
    ),
    Intended(
        "TRACE returns to whoever asks what hops have added.",
        {
            "TRACE": _refused("TRACE /bare", _NOT_ALLOWED),
            "corpus of requests: method: TRACE with a body": _refused("TRACE /", _NOT_ALLOWED),
        },
        changelog="`TRACE` (405)",
        rule="RFC 9110 §9.3.8",
    ),
    Intended(
        "OPTIONS goes no further than Max-Forwards says.",
        {
            "OPTIONS with Max-Forwards: 0": _refused("OPTIONS /bare", _NO_ROUTE),
            "OPTIONS with Max-Forwards: 3": ("instance: Max-Forwards: 3 -> 2",),
            "corpus of requests: max-forwards: none left, spelt long": _refused("OPTIONS /", _NO_ROUTE),
            "corpus of requests: max-forwards: no number": _refused("OPTIONS /", _BAD),
        },
        changelog="`OPTIONS` with `Max-Forwards: 0` (404)",
        rule="RFC 9110 §7.6.2",
    ),
    Intended(
        "An OPTIONS of an authority without a path is one of `*`, which no route takes.",
        {"OPTIONS in absolute form without a path": _refused("OPTIONS /", _NO_ROUTE)},
        changelog=_FORBIDDEN,
        rule="RFC 9112 §3.2.4",
    ),
    Intended(
        "Request lines have single spaces and say HTTP; what has not is refused before it is looked at any further.",
        {
            "corpus of requests: line: two spaces behind the method": _refused("GET /", _BAD),
            "corpus of requests: version: RTSP 1.0": _refused("GET /", _BAD, kept=False),
            "corpus of requests: line: no version": _detail("HTTP/0.9 is not served", ""),
        },
        changelog="request lines with more than single spaces or of another protocol than HTTP (RTSP, ICE)",
        rule="RFC 9112 §3",
    ),
    Intended(
        "A target by https is none of ours on a connection without TLS.",
        {"absolute form by https": _refused("GET /a", _BAD)},
        changelog="`https:` targets without TLS",
        rule="RFC 9110 §7.4",
    ),
    Intended(
        "A host is a name or an address, since X-Forwarded-Host is read as a list by many.",
        {"host is no host": _refused("GET /bare", _BAD)},
        changelog="hosts that are no host name or address (400)",
        rule="RFC 9110 §7.2",
    ),
    Intended(
        "Queries are held to the grammar too: broken escapes are refused, characters that may not stand there escaped.",
        {
            "target /a?b=%zz": _refused("GET /a?b=%zz", _BAD),
            "target /a?b=[1]|{2}": (
                "client: body /a?b=[1]|{2} -> /a?b=%5B1%5D%7C%7B2%7D",
                "instance: GET /a?b=[1]|{2} -> GET /a?b=%5B1%5D%7C%7B2%7D",
            ),
        },
        changelog='Characters that may not stand in a query (`[`, `|`, `"` and the like) were forwarded as escapes.',
        rule="RFC 3986 §3.4",
    ),
    Intended(
        "The refusal of a path tells of the target, of which queries are a part now.",
        {
            "target /a%00b": _target("a path must not hold %00"),
            "target /a%zz": _target("a percent sign has to be followed by two hexadecimal digits"),
            "target /a%": _target("a percent sign has to be followed by two hexadecimal digits"),
            "target /slashes/%2e%2e%2f": _target("a dot segment is hidden behind a path parameter or an escaped slash"),
        },
        changelog="broken percent escapes in a query",
    ),
    Intended(
        "A handshake with a body is none; an instance that switches without having read one is a way past us.",
        {
            "a WebSocket with a body": (
                "instance: Connection: Upgrade -> none",
                "instance: Upgrade: websocket -> none",
            ),
            "a WebSocket with a wrong accept": (
                "client: 101 Switching Protocols -> 502 Bad Gateway (upstream_reset)",
                "connection: closed -> kept",
            ),
        },
        changelog="`101` without the `Sec-WebSocket-Accept` that the handshake asked for were answered 502",
        rule="RFC 6455 §4.1",
    ),
    Intended(
        "What instances say is HTTP, chunked once and not in HTTP/1.0.",
        {
            "corpus of responses: line: RTSP": (_BAD_GATEWAY,),
            "corpus of responses: framing: chunked in HTTP/1.0": (_BAD_GATEWAY,),
        },
        changelog="those with a transfer coding in HTTP/1.0 or twice, of another protocol than HTTP",
        rule="RFC 9112 §6.1",
    ),
    Intended(
        "Empty lines may stand in front of a request, not of a response.",
        {"corpus of responses: line: empty line in front": (_BAD_GATEWAY,)},
        rule="RFC 9112 §2.2",
    ),
    Intended(
        "The fields of a response are bounded as a whole, no longer each for itself.",
        {
            "corpus of responses: field: cookie of 64 KiB": ("client: 502 Bad Gateway (upstream_reset) -> 200 OK",),
            "corpus of responses: field: too large together": (_BAD_GATEWAY,),
        },
        changelog="Responses with header fields of up to 256 KiB together (`max_response_head`) passed",
    ),
    Intended(
        "Names of fields pass as the instance writes them; aiohttp wrote those that it knew in its own way.",
        dict.fromkeys(("304", "304 with a length"), ('client: ETag: none -> "a"', 'client: Etag: "a" -> none')),
        rule="RFC 9110 §5.1",
    ),
    Intended(
        "What ends with its connection and is cut short has to end otherwise.",
        {"a truncated chunked response to HTTP/1.0": ("client: 200 OK -> 200 OK, cut off",)},
        changelog="A response to HTTP/1.0 that ends with its connection and was cut short ended by a reset",
        rule="RFC 9112 §6.3 rule 8, §8",
    ),
)

WAITING = (
    Intended(
        "The waiting path takes no body as a whole, so it never knows the length of a chunked one.",
        {
            **dict.fromkeys(
                (
                    "chunked",
                    "chunked and filters",
                    "chunked and retries",
                    "chunked to GET",
                    "chunked to DELETE",
                    "chunked with trailers",
                ),
                _in_chunks("instance", 11),
            ),
            **dict.fromkeys(
                (
                    "pipelined, chunked first",
                    "corpus of requests: chunk: quoted extension",
                    "corpus of requests: trailer: what follows trailers is the next request",
                ),
                _in_chunks("instance", 5),
            ),
            "chunked and empty": _in_chunks("instance", 0),
            "corpus of requests: coding: what follows the last chunk is the next request (TE.0)": _in_chunks(
                "instance", 0
            ),
            "retried with a chunked body": _in_chunks("instance", 5, 2),
            "a chunked body too large": ("instance: nothing -> POST /small, cut off",),
            **dict.fromkeys(
                ("a chunked response", "a chunked response with trailers", "a chunked response and filters"),
                _in_chunks("client", 11),
            ),
            "a chunked response that is empty": _in_chunks("client", 0),
            "a chunked response to HTTP/1.0": ("client: Content-Length: 11 -> none",),
            "a chunked response to HTTP/1.0 that stays": (
                "client: Connection: keep-alive -> close",
                "client: Content-Length: 11 -> none",
                "connection: kept -> closed",
            ),
            **dict.fromkeys(
                (
                    "corpus of responses: framing: chunked in capitals",
                    "corpus of responses: framing: extension",
                    "corpus of responses: framing: trailer that frames",
                ),
                _in_chunks("client", 5),
            ),
        },
        rule="RFC 9112 §6",
    ),
)
"""And where the way through tasks differs besides, which a gateway takes for bodies that come in pieces."""
