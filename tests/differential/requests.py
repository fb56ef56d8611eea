"""Requests in good order, or nearly: methods, bodies, targets, fields, and who forwards them for whom."""

from __future__ import annotations

from tests.differential.case import Case, asking, one

MIB = bytes(range(256)) * 4096
_CHUNKS = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n"
_CODED = "Transfer-Encoding: chunked"


def _chunked(target: str, *lines: str, method: str = "POST", body: bytes = _CHUNKS + b"\r\n") -> bytes:
    return asking(target, _CODED, *lines, method=method) + body


METHODS = [
    *(
        one(f"{method} {target}", asking(target, method=method))
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
        for target in ("/bare", "/strip/a", "/answer/a", "/moved/a")
    ),
    *(
        one(f"{method} with a body", asking("/bare", method=method, body=b"hello"))
        for method in (
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "PROPFIND",
            "MKCOL",
            "REPORT",
            "LOCK",
        )
    ),
    *(
        one(f"{method} with an empty body", asking("/bare", method=method, body=b""))
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE")
    ),
    one("PROPFIND", asking("/bare", method="PROPFIND")),
    one("a method of nobody", asking("/bare", method="FROBNICATE")),
    one("a method in lower case", asking("/bare", method="get")),
    one("TRACE", asking("/bare", method="TRACE")),
    one("CONNECT", b"CONNECT gateway.test:80 HTTP/1.1\r\nHost: gateway.test:80\r\n\r\n"),
    one("OPTIONS *", asking("*", method="OPTIONS")),
    one("GET *", asking("*")),
    one("OPTIONS with Max-Forwards: 0", asking("/bare", "Max-Forwards: 0", method="OPTIONS")),
    one("OPTIONS with Max-Forwards: 3", asking("/bare", "Max-Forwards: 3", method="OPTIONS")),
]

BODIES = [
    one("chunked", _chunked("/bare")),
    one("chunked and filters", _chunked("/strip/a")),
    one("chunked and retries", _chunked("/retry/a")),
    one("chunked to GET", _chunked("/bare", method="GET")),
    one("chunked to DELETE", _chunked("/bare", method="DELETE")),
    one("chunked and empty", _chunked("/bare", body=b"0\r\n\r\n")),
    one("chunked with trailers", _chunked("/bare", "Trailer: X-Sum", body=_CHUNKS + b"X-Sum: 11\r\nX-More: a\r\n\r\n")),
    one("chunked with a trailer that frames", _chunked("/bare", body=_CHUNKS + b"Content-Length: 3\r\n\r\n")),
    one("chunked to HTTP/1.0", asking("/bare", _CODED, method="POST", version="1.0") + _CHUNKS + b"\r\n"),
    one("1 MiB up", asking("/bare", method="POST", body=MIB)),
    one("1 MiB up and filters", asking("/strip/a", method="PUT", body=MIB)),
    one("1 MiB up and retries", asking("/retry/a", method="PUT", body=MIB)),
    one("1 MiB up in chunks", _chunked("/bare", body=b"100000\r\n" + MIB + b"\r\n0\r\n\r\n")),
    one("1 MiB up to an own answer", asking("/answer/a", method="POST", body=MIB)),
    one("a body to an own answer", asking("/answer/a", method="POST", body=b"hello")),
    one("a body to a redirect", asking("/moved/a", method="POST", body=b"hello")),
    one("a body to no route", asking("/nowhere", method="POST", body=b"hello")),
    one("a body as large as may be", asking("/small", method="POST", body=b"helloworld")),
    one("a body too large", asking("/small", method="POST", body=b"hello world")),
    one("a chunked body too large", _chunked("/small")),
    Case(
        "expecting 100",
        (asking("/bare", "Expect: 100-continue", "Content-Length: 5", method="POST"), b"hello"),
        methods=("POST",),
    ),
    Case(
        "expecting 100 for chunks",
        (asking("/bare", "Expect: 100-continue", _CODED, method="PUT"), _CHUNKS + b"\r\n"),
        methods=("PUT",),
    ),
    Case(
        "expecting 100 and filters",
        (asking("/strip/a", "Expect: 100-continue", "Content-Length: 5", method="POST"), b"hello"),
        methods=("POST",),
    ),
    one("expecting 100, the body at once", asking("/bare", "Expect: 100-continue", method="POST", body=b"hello")),
    one("expecting 100 without a body", asking("/bare", "Expect: 100-continue")),
    one("expecting 100 of no route", asking("/nowhere", "Expect: 100-continue", method="POST", body=b"hello")),
    one("expecting 100 of an own answer", asking("/answer", "Expect: 100-continue", method="POST", body=b"hello")),
    one("expecting 100 for too much", asking("/small", "Expect: 100-continue", "Content-Length: 11", method="POST")),
    one(
        "expecting 100 in HTTP/1.0",
        asking("/bare", "Expect: 100-continue", method="POST", body=b"hello", version="1.0"),
    ),
    one("expecting something else", asking("/bare", "Expect: money", method="POST", body=b"hello")),
    one("a body that never comes", asking("/bare", "Content-Length: 5", method="POST") + b"he"),
    one("a body that never comes, to an own answer", asking("/answer", "Content-Length: 5", method="POST") + b"he"),
    one("chunks that never end", asking("/bare", _CODED, method="POST") + b"5\r\nhello\r\n"),
    one("a head that never ends", b"GET /bare HTTP/1.1\r\nHost: gate"),
    one("a line that never ends", b"GET /ba"),
]

_TARGETS = (
    "/", "//", "/a//b", "/a/", "/a/./b", "/a/../b", "/../a", "/a/..", "/%2e%2e/a", "/a%2Fb", "/a%2fb", "/a%5Cb",
    "/%41", "/%7Ea", "/%C3%A9", "/%c3%a9", "/a%20b", "/a+b", "/a;b=c", "/a:b@c", "/a%00b", "/a%zz", "/a%",
    "/[a]|", "/?", "/?a=b&a=c&&d", "/a?b=%2F%41%7e", "/a?b=[1]|{2}", "/a?b=%zz", "/a?b=c?d/e", "/a?b=\xc3\xa9",
    "/\xc3\xa9", "/slashes/a%2Fb", "/slashes/a%2fb%5c", "/slashes/%2e%2e%2f", "/strip", "/strip/", "/strip//a",
    "/strip/../a", "/stripped", "/strip/a%2Fb", "/strip?a=b", "/edit/a?debug=1&b=c", "/edit?tenant=x", "/edit",
    "/client-host/a", "/moved/a?b=c", "/moved/%41", "/nowhere", "/nowhere?a=b", "/closed/a", "/answer?a",
)  # fmt: skip

TARGETS = [
    *(one(f"target {target}", asking(target)) for target in _TARGETS),
    one("absolute form", asking("http://gateway.test/a?b")),
    one("absolute form without a path", asking("http://gateway.test")),
    one("absolute form with a port", asking("http://gateway.test:8080/client-host/a")),
    one("absolute form for another host", asking("http://other.test/client-host/a")),
    one("absolute form in capitals", asking("HTTP://GATEWAY.TEST/strip/a")),
    one("absolute form by https", asking("https://gateway.test/a")),
    one("absolute form with a user", asking("http://me@gateway.test/a")),
    one("OPTIONS in absolute form without a path", asking("http://gateway.test", method="OPTIONS")),
    one("unknown host", b"GET /strip/a HTTP/1.1\r\nHost: other.test\r\n\r\n"),
    one("unknown host, no route", b"GET /nowhere HTTP/1.1\r\nHost: other.test\r\n\r\n"),
    one("host with a port", b"GET /strip/a HTTP/1.1\r\nHost: gateway.test:8080\r\n\r\n"),
    one("host in capitals", b"GET /client-host/a HTTP/1.1\r\nHost: GateWay.Test\r\n\r\n"),
    one("host with a dot at the end", b"GET /client-host/a HTTP/1.1\r\nHost: gateway.test.\r\n\r\n"),
    one("host is an address", b"GET /bare HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    one("host is no host", b"GET /bare HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    one("no host", b"GET /bare HTTP/1.1\r\n\r\n"),
    one("empty host", b"GET /bare HTTP/1.1\r\nHost:\r\n\r\n"),
    one("HTTP/1.0", asking("/bare", version="1.0")),
    one("HTTP/1.0 without a host", b"GET /bare HTTP/1.0\r\n\r\n"),
    one("HTTP/1.0 that stays", asking("/bare", "Connection: keep-alive", version="1.0")),
    one("HTTP/1.0 to an own answer", asking("/answer", version="1.0")),
    one("HTTP/1.0 that stays, to an own answer", asking("/answer", "Connection: keep-alive", version="1.0")),
    one("HTTP/1.0 to no route", asking("/nowhere", version="1.0")),
    one("HTTP/1.0 with a body", asking("/bare", method="POST", body=b"hello", version="1.0")),
    one("HTTP/1.0 HEAD", asking("/bare", method="HEAD", version="1.0")),
]

FIELDS = [
    one("repeated fields", asking("/bare", "X-A: 1", "X-B: 2", "x-a: 3", "X-A: 1")),
    one("repeated fields and filters", asking("/strip/a", "X-More: theirs", "X-Tier: a", "x-tier: b")),
    one("a variable of a filter", asking("/edit/a?tenant=1", "X-Tenant: a&b c")),
    one("cookies", asking("/bare", "Cookie: a=b; c=d", "Cookie: e=f")),
    one("cookies and filters", asking("/strip/a", "Cookie: a=b")),
    one("credentials", asking("/bare", "Authorization: Basic YTpi")),
    one("names in all cases", asking("/bare", "x-lower: a", "X-UPPER: b", "X-MiXed: c", "accept-ENCODING: gzip")),
    one("spaces around values", asking("/bare", "X-A:  a \t", "X-B:b", "X-C: a  b", "X-D:")),
    one("bytes of 0x80 and more", asking("/bare", "X-A: caf\xc3\xa9 \xff")),
    one("bytes of 0x80 and more, and filters", asking("/strip/a", "X-A: caf\xc3\xa9")),
    one("bytes of 0x80 and more in Connection", asking("/bare", "Connection: x-\xff")),
    one("a name that is no token", asking("/bare", "X A: b")),
    one("an underscore", asking("/bare", "X_A: b")),
    one("an underscore twin of ours", asking("/bare", "X_Forwarded_For: 1.1.1.1")),
    one("folded", asking("/bare", "X-A: b\r\n c")),
    one(
        "content negotiation",
        asking("/bare", "Accept: */*", "Accept-Encoding: gzip, br", "Range: bytes=0-1", 'If-Match: "a"'),
    ),
    one("User-Agent, Referer, Origin", asking("/bare", "User-Agent: x/1 (y)", "Referer: http://a/b", "Origin: null")),
    one(
        "Content-Type of a body",
        asking("/bare", "Content-Type: text/plain", "Content-Encoding: gzip", method="POST", body=b"hello"),
    ),
    one("many fields", asking("/bare", *(f"X-{number}: {number}" for number in range(100)))),
    one("too many fields", asking("/bare", *(f"X-{number}: {number}" for number in range(140)))),
    one("a long field", asking("/bare", "X-A: " + "a" * 7000)),
    one("a field too long", asking("/bare", "X-A: " + "a" * 9000)),
    one("a long target", asking("/bare?" + "a" * 7000)),
    one("a target too long", asking("/bare?" + "a" * 9000)),
    one("fields beyond a route's limit", asking("/small", "X-A: " + "a" * 400)),
    one("Connection: close", asking("/bare", "Connection: close")),
    one("Connection: close to no route", asking("/nowhere", "Connection: close")),
    one("Connection: close to an own answer", asking("/answer", "Connection: close")),
    one("Connection: keep-alive", asking("/bare", "Connection: keep-alive", "Keep-Alive: timeout=5")),
    one("Connection: keep-alive, close", asking("/bare", "Connection: keep-alive, close")),
    one("Connection names fields", asking("/bare", "Connection: X-A, x-b", "X-A: a", "X-B: b", "X-C: c")),
    one(
        "Connection names what is ours",
        asking("/bare", "Connection: X-Forwarded-For, Via, Host, X-Request-Id", "X-A: a"),
    ),
    one(
        "Connection names credentials",
        asking("/bare", "Connection: Authorization, Cookie", "Authorization: a", "Cookie: b"),
    ),
    one("Connection names framing", asking("/bare", "Connection: Content-Length", method="POST", body=b"hello")),
    one("Connection is no list of tokens", asking("/bare", 'Connection: "a b", @')),
    one(
        "hop fields",
        asking(
            "/bare",
            "TE: trailers",
            "Trailer: X",
            "Proxy-Authorization: a",
            "Proxy-Connection: b",
            "Proxy-Authenticate: c",
        ),
    ),
    one(
        "what the gateway alone says",
        asking("/bare", "X-Gateway-User: a", "X-Consul-Token: b", "X-Real-IP: 1.1.1.1", "X-Forwarded-User: c"),
    ),
]

_TRACE = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_HOPS = ("X-Forwarded-For: 203.0.113.7, 198.51.100.2", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.test")


def _both(name: str, sent: bytes) -> list[Case]:
    return [one(name, sent), one(f"{name}, by a trusted hop", sent, trusted=True)]


HOPS = [
    *_both("X-Forwarded-For and its kin", asking("/bare", *_HOPS, "X-Forwarded-Port: 444")),
    *_both("X-Forwarded-For that is none", asking("/bare", "X-Forwarded-For: unknown, 203.0.113.7:99, x y")),
    *_both("X-Forwarded-For twice", asking("/bare", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 198.51.100.2")),
    *_both(
        "Forwarded", asking("/bare", 'Forwarded: for="[2001:db8::1]:99";proto=https;host=shop.test, for=198.51.100.2')
    ),
    *_both("Forwarded that is none", asking("/bare", "Forwarded: for=;;,")),
    *_both(
        "Forwarded beside X-Forwarded-For",
        asking("/bare", "Forwarded: for=198.51.100.2", "X-Forwarded-For: 203.0.113.7"),
    ),
    *_both("X-Real-IP", asking("/bare", "X-Real-IP: 203.0.113.7")),
    *_both("X-Request-Id", asking("/bare", "X-Request-Id: 0123-abc")),
    *_both("X-Request-Id that is none", asking("/bare", "X-Request-Id: a b\tc")),
    *_both("a trace", asking("/bare", _TRACE, "tracestate: a=b,c=d", "baggage: e=f")),
    *_both("a trace that is none", asking("/bare", "traceparent: 00-0-0-01", "tracestate: a=b")),
    *_both("Via", asking("/bare", "Via: 1.0 fred, 1.1 p.example.net (x)", "Via: 1.1 other")),
    *_both("a hop that names fields in Connection", asking("/bare", "Connection: X-Forwarded-For", *_HOPS)),
    one("Via that names us", asking("/bare", "Via: 1.1 gw-test")),
    one("Via that names us between others", asking("/bare", "Via: 1.0 a, 1.1 gw-test (b), 1.1 c")),
    one("Via that names us in another case", asking("/bare", "Via: 1.1 GW-Test")),
    one("Via that names us, with a body", asking("/bare", "Via: 1.1 gw-test", method="POST", body=b"hello")),
    one("Via of an own answer", asking("/answer", "Via: 1.1 gw-test")),
    one(
        "another origin asks first",
        asking("/page", "Origin: https://app.test", "Access-Control-Request-Method: PUT", method="OPTIONS"),
    ),
    one("another origin asks", asking("/page", "Origin: https://app.test", method="PUT", body=b"a")),
    one(
        "an origin that may not",
        asking("/page", "Origin: https://evil.test", "Access-Control-Request-Method: PUT", method="OPTIONS"),
    ),
]

REQUESTS = [*METHODS, *BODIES, *TARGETS, *FIELDS, *HOPS]
