"""What instances answer, in good order or not, and what is between requests on one connection."""

from __future__ import annotations

from collections.abc import Iterable

from tests.corpus import answers as corpus
from tests.differential.case import Answer, Case, asking, one
from tests.differential.requests import MIB

_OK = b"HTTP/1.1 200 OK\r\n"
_BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 1\r\n\r\nbusy"
_GOOD = _OK + b"Content-Length: 4\r\n\r\ngood"
_GET, _ONCE, _RETRY = asking("/bare"), asking("/once/a"), asking("/retry/a")
_OLD, _OLD_STAYS = asking("/bare", version="1.0"), asking("/bare", "Connection: keep-alive", version="1.0")
_CODED = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n"


def _with(*lines: bytes, status: bytes = b"200 OK", body: bytes = b"hello") -> bytes:
    head = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)])
    return head + b"\r\n\r\n" + body


_STATUSES = (
    b"200", b"200 ", b"200 Fine, thanks", b"200 caf\xc3\xa9", b"201 Created", b"202 OK", b"206 Partial Content",
    b"299 X", b"301 Moved Permanently", b"302 Found", b"400 Bad Request", b"401 Unauthorized", b"404 Not Found",
    b"418 Teapot", b"426 Upgrade Required", b"429 Too Many Requests", b"500 Internal Server Error",
    b"502 Bad Gateway", b"503 Service Unavailable", b"504 Gateway Timeout", b"599 X", b"999 X",
)  # fmt: skip

KINDS = [
    one("a response by the connection's end", _GET, _OK + b"\r\nhello", close=True),
    one("a response by the connection's end, empty", _GET, _OK + b"\r\n", close=True),
    one("a response by the connection's end to HTTP/1.0", _OLD, _OK + b"\r\nhello", close=True),
    one("a response by the connection's end to HTTP/1.0 that stays", _OLD_STAYS, _OK + b"\r\nhello", close=True),
    one("a chunked response", _GET, _OK + _CODED + b"\r\n"),
    one("a chunked response to HTTP/1.0", _OLD, _OK + _CODED + b"\r\n"),
    one("a chunked response to HTTP/1.0 that stays", _OLD_STAYS, _OK + _CODED + b"\r\n"),
    one("a chunked response with trailers", _GET, _OK + b"Trailer: X-Sum\r\n" + _CODED + b"X-Sum: 11\r\n\r\n"),
    one("a chunked response and filters", asking("/strip/a"), _OK + _CODED + b"\r\n"),
    one("a chunked response that is empty", _GET, _OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    one("a response of HTTP/1.0", _GET, b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", close=True),
    one("a response of HTTP/1.0 by the connection's end", _GET, b"HTTP/1.0 200 OK\r\n\r\nhello", close=True),
    one(
        "a response of HTTP/1.0 that stays",
        _GET,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    ),
    one("an empty response", _GET, _OK + b"Content-Length: 0\r\n\r\n"),
    one("204", _GET, b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
    one("204 with a length of zero", _GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    one("205", _GET, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
    one("304", _GET, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'),
    one("304 with a length", _GET, b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n'),
    one("HEAD with a length", asking("/bare", method="HEAD"), _OK + b"Content-Length: 123\r\n\r\n"),
    one("HEAD without a length", asking("/bare", method="HEAD"), _OK + b"X-A: b\r\n\r\n"),
    one("HEAD, chunked", asking("/bare", method="HEAD"), _OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    one("HEAD and filters", asking("/strip/a", method="HEAD"), _OK + b"Content-Length: 123\r\nServer: x\r\n\r\n"),
    one("HEAD by HTTP/1.0", asking("/bare", method="HEAD", version="1.0"), _OK + b"Content-Length: 123\r\n\r\n"),
    one("HEAD 304", asking("/bare", method="HEAD"), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    one("1 MiB down", _GET, _OK + b"Content-Length: %d\r\n\r\n" % len(MIB) + MIB),
    one("1 MiB down in chunks", _GET, _OK + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n" + MIB + b"\r\n0\r\n\r\n"),
    one("1 MiB down by the connection's end", _GET, _OK + b"\r\n" + MIB, close=True),
    one("1 MiB down and filters", asking("/strip/a"), _OK + b"Content-Length: %d\r\n\r\n" % len(MIB) + MIB),
    one("1 MiB down to HTTP/1.0", _OLD, _OK + b"Content-Length: %d\r\n\r\n" % len(MIB) + MIB),
    one(
        "1 MiB down in chunks to HTTP/1.0",
        _OLD,
        _OK + b"Transfer-Encoding: chunked\r\n\r\n100000\r\n" + MIB + b"\r\n0\r\n\r\n",
    ),
    one(
        "1 MiB up and down",
        asking("/bare", method="POST", body=MIB),
        _OK + b"Content-Length: %d\r\n\r\n" % len(MIB) + MIB,
    ),
    one(
        "repeated Set-Cookie",
        _GET,
        _with(b"Set-Cookie: a=b", b"X-A: c", b"Set-Cookie: d=e; Path=/", b"Set-Cookie: a=b"),
    ),
    one(
        "repeated fields of a response",
        _GET,
        _with(b"X-A: 1", b"x-a: 2", b"Vary: a", b"Vary: b", b"Link: <c>", b"Link: <d>"),
    ),
    one(
        "fields of a response and filters",
        asking("/strip/a"),
        _with(b"Server: x", b"Cache-Control: public", b"X-More: theirs"),
    ),
    one("Date and Server of the instance", _GET, _with(b"Date: Tue, 15 Nov 1994 08:12:31 GMT", b"Server: x/1")),
    one("Connection of the instance names fields", _GET, _with(b"Connection: X-A", b"X-A: a", b"X-B: b")),
    one(
        "hop fields of the instance",
        _GET,
        _with(b"Keep-Alive: timeout=5", b"Proxy-Authenticate: a", b"Upgrade: h2c", b"Trailer: b", b"TE: c"),
    ),
    one("Connection: close of the instance", _GET, _with(b"Connection: close"), close=True),
    one(
        "what the gateway alone says, by the instance",
        _GET,
        _with(b"X-Gateway-A: b", b"X-Consul-Token: c", b"Via: 1.1 x", b"X-Request-Id: d"),
    ),
    one(
        "Content-Encoding of the instance",
        _GET,
        _with(b"Content-Encoding: gzip", b"Content-Type: text/plain", body=b"\x1f\x8b\x08\x00"),
    ),
    one("bytes of 0x80 and more of the instance", _GET, _with(b"X-A: caf\xc3\xa9 \xff")),
    one("spaces around values of the instance", _GET, _with(b"X-A:  a \t", b"X-B:b", b"X-C:")),
    *(one(f"status {status.decode('latin-1')!r}", _GET, _with(status=status)) for status in _STATUSES),
    one("a redirect of the instance", _GET, _with(b"Location: http://other.test/a", status=b"302 Found")),
    one(
        "a challenge of the instance",
        _GET,
        _with(b"WWW-Authenticate: Basic realm=a", b"WWW-Authenticate: Bearer", status=b"401 No"),
    ),
    one("100 of the instance", _GET, b"HTTP/1.1 100 Continue\r\n\r\n" + _GOOD),
    one("102 of the instance", _GET, b"HTTP/1.1 102 Processing\r\n\r\n" + _GOOD),
    one("103 of the instance", _GET, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _GOOD),
    one(
        "100 and 103 of the instance to an upload",
        asking("/bare", method="POST", body=b"hello"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\n\r\n" + _GOOD,
    ),
    one(
        "101 that nobody asked for",
        _ONCE,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        close=True,
    ),
]

FAILURES = [
    Case("retried on 503", (_RETRY,), (Answer(_BUSY), Answer(_GOOD))),
    Case("retried on 503 twice", (_RETRY,), (Answer(_BUSY), Answer(_BUSY), Answer(_GOOD))),
    one("retried on 503 in vain", _RETRY, _BUSY),
    Case("retried with a body", (asking("/retry/a", method="PUT", body=b"hello"),), (Answer(_BUSY), Answer(_GOOD))),
    Case(
        "retried with a chunked body",
        (asking("/retry/a", "Transfer-Encoding: chunked", method="PUT") + b"5\r\nhello\r\n0\r\n\r\n",),
        (Answer(_BUSY), Answer(_GOOD)),
    ),
    Case("not retried with 1 MiB", (asking("/retry/a", method="PUT", body=MIB),), (Answer(_BUSY), Answer(_GOOD))),
    Case("POST is not retried", (asking("/retry/a", method="POST", body=b"hello"),), (Answer(_BUSY), Answer(_GOOD))),
    Case(
        "HEAD is retried",
        (asking("/retry/a", method="HEAD"),),
        (Answer(_BUSY.removesuffix(b"busy")), Answer(_GOOD[:-4])),
    ),
    Case("retried when closed", (_RETRY,), (Answer(close=True), Answer(_GOOD))),
    Case("retried when closed within a head", (_RETRY,), (Answer(b"HTTP/1.1 20", close=True), Answer(_GOOD))),
    Case("retried when it is not HTTP", (_RETRY,), (Answer(b"220 mail\r\n\r\n", close=True), Answer(_GOOD))),
    one("closed without a word", _GET, b"", close=True),
    one("closed without a word, once", _ONCE, b"", close=True),
    one("closed without a word, POST", asking("/bare", method="POST", body=b"hello"), b"", close=True),
    one("a silent instance", asking("/brief"), b""),
    one("a silent instance, HEAD", asking("/brief", method="HEAD"), b""),
    one("a silent instance, HTTP/1.0", asking("/brief", version="1.0"), b""),
    one("a truncated response", _GET, _OK + b"Content-Length: 10\r\n\r\nhello", close=True),
    one("a truncated response of nothing", _GET, _OK + b"Content-Length: 10\r\n\r\n", close=True),
    one("a truncated response to HTTP/1.0", _OLD, _OK + b"Content-Length: 10\r\n\r\nhello", close=True),
    one("a truncated chunked response", _GET, _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", close=True),
    one("a truncated chunk", _GET, _OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello", close=True),
    one(
        "a truncated chunked response to HTTP/1.0",
        _OLD,
        _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        close=True,
    ),
    one("a truncated response of 1 MiB", _GET, _OK + b"Content-Length: %d\r\n\r\n" % (len(MIB) + 1) + MIB, close=True),
    one("more than its length", _GET, _OK + b"Content-Length: 5\r\n\r\nhello, world"),
]

_ANSWERS = {
    "line": (
        "no space for a reason", "status of no class", "two digits", "status 099", "two spaces", "lower case",
        "HTTP/1.2", "HTTP/2", "RTSP", "empty line in front", "very long reason", "half a head",
        "HTML alone (HTTP/0.9)",
    ),
    "framing": (
        "leading zeros", "chunked in capitals", "extension", "trailer that frames", "both", "two lengths",
        "two equal lengths", "list of lengths", "minus", "length over 2^64", "space before the colon",
        "gzip, chunked", "identity", "chunked twice", "chunked in HTTP/1.0", "204 with a body", "304 with a body",
        "HEAD with a body", "another response behind", "chunked, in a chunk", "bad chunk size",
        "chunk ends with LF", "bad chunk end",
    ),
    "field": (
        "folded", "LF-only", "cookie of 64 KiB", "names framing in Connection", "NUL", "bare CR", "no colon",
        "space in the name", "too many", "too large together",
    ),
    "interim": ("100 and 103", "a flood", "101 to another protocol", "interim and nothing"),
}  # fmt: skip


def _of_corpus() -> Iterable[Case]:
    for kind, names in _ANSWERS.items():
        found = {answer.name: answer for answer in corpus.CASES[kind]}
        for name in names:
            answer = found[name]
            sent = asking("/once/bad", method=answer.method)
            yield one(f"corpus of responses: {kind}: {name}", sent, answer.said, close=True)


_KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_SHAKING = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", _KEY)
_SWITCH = (Answer(switch=True),)
_WRONG = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)

CONNECTIONS = [
    Case("two in a row", (_GET, asking("/bare?2"))),
    Case("three in a row", (_GET, asking("/strip/a"), asking("/answer"))),
    Case("the same five times", (_GET,) * 5),
    Case("in a row behind a body", (asking("/bare", method="POST", body=b"hello"), _GET)),
    Case("in a row behind 404", (asking("/nowhere"), _GET)),
    Case("in a row behind HEAD", (asking("/bare", method="HEAD"), _GET)),
    Case("in a row behind 502", (_ONCE, _GET), (Answer(close=True), Answer(_GOOD))),
    Case("in a row behind close", (asking("/bare", "Connection: close"), _GET)),
    Case("in a row in HTTP/1.0", (_OLD_STAYS, _OLD_STAYS)),
    Case("an empty line between", (_GET, b"\r\n" + _GET)),
    Case("pipelined", (_GET + asking("/bare?2"),), methods=("GET", "GET")),
    Case(
        "pipelined to several routes",
        (asking("/strip/a") + asking("/answer") + asking("/moved/a"),),
        methods=("GET",) * 3,
    ),
    Case("pipelined, 404 first", (asking("/nowhere") + _GET,), methods=("GET", "GET")),
    Case(
        "pipelined, with bodies",
        (asking("/bare", method="POST", body=b"one") + asking("/bare", method="PUT", body=b"two"),),
        methods=("POST", "PUT"),
    ),
    Case("pipelined, HEAD first", (asking("/bare", method="HEAD") + _GET,), methods=("HEAD", "GET")),
    Case(
        "pipelined, chunked first",
        (asking("/bare", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n0\r\n\r\n" + _GET,),
        methods=("POST", "GET"),
    ),
    Case("pipelined, the second is bad", (_GET + b"GET / HTTP/9\r\n\r\n",), methods=("GET", "GET")),
    Case("pipelined, the first closes", (asking("/bare", "Connection: close") + _GET,), methods=("GET", "GET")),
    Case(
        "pipelined, the first fails", (asking("/once/a") + _GET,), (Answer(close=True), Answer(_GOOD)), ("GET", "GET")
    ),
    Case(
        "pipelined, a refused upload first",
        (asking("/small", method="POST", body=b"a" * 20) + _GET,),
        methods=("POST", "GET"),
    ),
    Case("a WebSocket", (asking("/bare", *_SHAKING), b"\x81\x84abcd\x11\x0c\r\x0c"), _SWITCH),
    Case("a WebSocket and filters", (asking("/strip/a", *_SHAKING, "Cookie: a=b"), b"ping"), _SWITCH),
    Case(
        "a WebSocket with protocols",
        (asking("/bare", *_SHAKING, "Sec-WebSocket-Protocol: a, b", "Origin: http://a"), b"ping"),
        _SWITCH,
    ),
    Case("a WebSocket, bytes at once", (asking("/bare", *_SHAKING) + b"ping", b"pong"), _SWITCH),
    Case(
        "a WebSocket of two in a row",
        (_GET, asking("/bare", *_SHAKING), b"ping"),
        (Answer(_GOOD), *_SWITCH),
        ("GET", "GET"),
    ),
    one("a WebSocket that the instance refuses", asking("/bare", *_SHAKING), _with(status=b"403 Forbidden")),
    one("a WebSocket that the instance does not know", asking("/bare", *_SHAKING), _GOOD),
    one("a WebSocket with a wrong accept", asking("/once/a", *_SHAKING), _WRONG, close=True),
    one("a WebSocket to an own answer", asking("/answer", *_SHAKING)),
    one("a WebSocket to no route", asking("/nowhere", *_SHAKING)),
    one("a WebSocket where there are none", asking("/no-websocket", *_SHAKING)),
    one("a WebSocket by POST", asking("/bare", *_SHAKING, method="POST", body=b"")),
    one("a WebSocket with a body", asking("/bare", *_SHAKING, body=b"hello")),
    one("a WebSocket by HTTP/1.0", asking("/bare", *_SHAKING, version="1.0")),
    one("a WebSocket without a key", asking("/bare", *_SHAKING[:3])),
    one("a WebSocket of another version", asking("/bare", *_SHAKING[:2], _KEY, "Sec-WebSocket-Version: 8"), _GOOD),
    one(
        "an upgrade to h2c",
        asking("/bare", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"),
    ),
    one("an upgrade to TLS", asking("/bare", "Upgrade: TLS/1.0", "Connection: Upgrade")),
    one("an upgrade that Connection does not name", asking("/bare", "Upgrade: websocket", _KEY)),
    one("an upgrade with a body", asking("/bare", "Upgrade: foo", "Connection: Upgrade", method="POST", body=b"hello")),
    one("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
]

RESPONSES = [*KINDS, *FAILURES, *_of_corpus(), *CONNECTIONS]
