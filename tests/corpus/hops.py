"""What is between two hops and no further: Connection, Upgrade, Expect, Max-Forwards; and what only we may say."""

from tests.corpus.case import GET, HOST, POST, SMUGGLED, Case, Forwarded, passed, refused

_CONNECTION = "RFC 9110 §7.6.1"
_UPGRADE = "RFC 9110 §7.8"
_EXPECT = "RFC 9110 §10.1.1"
_MAX_FORWARDS = "RFC 9110 §7.6.2"
_OURS = "only the gateway says it"

_WEBSOCKET = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
_KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def _stripped(name: str, lines: bytes, *without: str, rule: str = _CONNECTION) -> Case:
    return passed(name, rule, GET + lines + b"\r\n", "GET /", without=without)


def _no_handshake(name: str, lines: bytes) -> Case:
    return passed(name, "RFC 6455 §4.2.1", GET + lines + b"\r\n", "GET /", without=("upgrade", "connection"))


def _max_forwards(name: str, value: bytes, status: int) -> Case:
    sent = b"OPTIONS / HTTP/1.1\r\n" + HOST + b"Max-Forwards: " + value + b"\r\n\r\n"
    return Case(name, _MAX_FORWARDS, sent, (status,), closes=status == 400)


CONNECTIONS = [
    _stripped("names a field", b"Connection: X-A\r\nX-A: b\r\n", "x-a", "connection"),
    _stripped("names several", b"Connection: X-A, ,x-b\r\nX-A: b\r\nX-B: c\r\n", "x-a", "x-b"),
    _stripped("in two fields", b"Connection: X-A\r\nConnection: X-B\r\nX-A: b\r\nX-B: c\r\n", "x-a", "x-b"),
    _stripped(
        "names credentials",
        b"Connection: Authorization, Cookie\r\nAuthorization: a\r\nCookie: b=c\r\n",
        "authorization",
        "cookie",
    ),
    _stripped("keep-alive", b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", "connection", "keep-alive"),
    _stripped(
        "of proxies",
        b"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n",
        "proxy-connection",
        "proxy-authorization",
    ),
    _stripped("names Host", b"Connection: Host\r\n", "connection"),
    _stripped(
        "names Via and what we say", b"Connection: Via, X-Forwarded-For, Forwarded, X-Request-Id\r\n", "connection"
    ),
    passed(
        "names Content-Length",
        _CONNECTION,
        POST + b"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
        body=b"hello",
    ),
    passed(
        "names Transfer-Encoding",
        _CONNECTION,
        POST + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        body=b"hello",
    ),
    _stripped("names what is no token", b"Connection: \x22a b\x22, @\r\n", "connection"),
    Case(
        "close ends the connection",
        "RFC 9112 §9.6",
        GET + b"Connection: close\r\n\r\n" + SMUGGLED,
        (200,),
        (Forwarded("GET /"),),
    ),
    *(
        Case(
            f"close ends the connection, whatever else it names: {value.decode()!r}",
            "RFC 9112 §9.6",
            GET + value + b"\r\n" + SMUGGLED,
            (200,),
            (Forwarded("GET /"),),
        )
        for value in (
            b"Connection: keep-alive, close\r\n",
            b"Connection: close, keep-alive\r\n",
            b"Connection: keep-alive\r\nConnection: close\r\n",
        )
    ),
    Case(
        "HTTP/1.0 ends the connection",
        "RFC 9112 §9.3",
        b"GET / HTTP/1.0\r\n\r\n" + SMUGGLED,
        (200,),
        (Forwarded("GET /"),),
    ),
]

UPGRADES = [
    _stripped(
        "h2c",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "upgrade",
        "connection",
        "http2-settings",
        rule=_UPGRADE,
    ),
    _stripped(
        "h2c without HTTP2-Settings in Connection",
        b"Upgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n",
        "upgrade",
        "connection",
        "http2-settings",
        rule=_UPGRADE,
    ),
    _stripped("h2c that Connection does not name", b"Upgrade: h2c\r\n", "upgrade", rule=_UPGRADE),
    _stripped("TLS", b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n", "upgrade", "connection", rule=_UPGRADE),
    _stripped(
        "several", b"Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n" + _KEY, "upgrade", "connection", rule=_UPGRADE
    ),
    _stripped(
        "in two fields",
        b"Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" + _KEY,
        "upgrade",
        "connection",
        rule=_UPGRADE,
    ),
    *(
        Case(
            f"what follows an upgrade that nobody makes is not read: {name}",
            _UPGRADE,
            head + b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + rest + SMUGGLED,
            (200,),
            (forwarded,),
        )
        for name, head, rest, forwarded in (
            ("without a body", GET, b"\r\n", Forwarded("GET /")),
            ("with one", POST, b"Content-Length: 5\r\n\r\nhello", Forwarded("POST /", b"hello")),
        )
    ),
    Case(
        "what follows WebSocket's handshake is the next request where the instance does not switch",
        _UPGRADE,
        GET + _WEBSOCKET + _KEY + b"\r\n" + SMUGGLED,
        (200, 200),
        (Forwarded("GET /"), Forwarded("GET /smuggled")),
    ),
    refused("WebSocket with a letter that looks like K", _UPGRADE, GET + b"Upgrade: webSoc\xe2\x84\xaaet\r\n\r\n"),
    refused("names a field with that letter", _CONNECTION, GET + b"Connection: X-\xe2\x84\xaaey\r\nX-Key: y\r\n\r\n"),
    _stripped("empty", b"Upgrade:\r\nConnection: Upgrade\r\n", "upgrade", "connection", rule=_UPGRADE),
    _no_handshake("no key", _WEBSOCKET),
    _no_handshake("two keys", _WEBSOCKET + _KEY + _KEY),
    _no_handshake("a key that is none", _WEBSOCKET + b"Sec-WebSocket-Key: x\r\n"),
    _no_handshake("a key that is empty", _WEBSOCKET + b"Sec-WebSocket-Key:\r\n"),
    _no_handshake(
        "a key that Connection takes away",
        _WEBSOCKET.replace(b"Connection: ", b"Connection: Sec-WebSocket-Key, ") + _KEY,
    ),
    _no_handshake(
        "not named in Connection", _WEBSOCKET.replace(b"Connection: Upgrade", b"Connection: keep-alive") + _KEY
    ),
    passed("WebSocket by POST", "RFC 6455 §4.1", POST + _WEBSOCKET + _KEY + b"\r\n", without=("upgrade", "connection")),
    passed(
        "WebSocket with a body",
        "RFC 6455 §4.1",
        GET + _WEBSOCKET + _KEY + b"Content-Length: 5\r\n\r\nhello",
        "GET /",
        b"hello",
        ("upgrade", "connection"),
    ),
    passed(
        "WebSocket by HTTP/1.0",
        "RFC 6455 §4.1",
        GET.replace(b"1.1", b"1.0") + _WEBSOCKET + _KEY + b"\r\n",
        "GET /",
        without=("upgrade", "connection"),
    ),
]

EXPECTATIONS = [
    passed("empty", _EXPECT, POST + b"Expect:\r\nContent-Length: 5\r\n\r\nhello", body=b"hello", without=("expect",)),
    passed(
        "of HTTP/1.0",
        _EXPECT,
        POST.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        body=b"hello",
        without=("expect",),
    ),
    passed("without a body", _EXPECT, GET + b"Expect: 100-continue\r\n\r\n", "GET /", without=("expect",)),
    passed(
        "with the body at once",
        _EXPECT,
        POST + b"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello",
        body=b"hello",
        without=("expect",),
    ),
    refused("something else", _EXPECT, POST + b"Expect: money\r\nContent-Length: 5\r\n\r\nhello", 417),
    refused(
        "something else besides", _EXPECT, POST + b"Expect: 100-continue, money\r\nContent-Length: 5\r\n\r\nhello", 417
    ),
    refused("with a parameter", _EXPECT, POST + b"Expect: 100-continue;q=1\r\nContent-Length: 5\r\n\r\nhello", 417),
    refused("with more digits", _EXPECT, POST + b"Expect: 100-continue1\r\nContent-Length: 5\r\n\r\nhello", 417),
    refused(
        "in two fields", _EXPECT, POST + b"Expect: 100-continue\r\nExpect: money\r\nContent-Length: 5\r\n\r\nhello", 417
    ),
]

MAX_FORWARDS = [
    _max_forwards("none left", b"0", 404),
    _max_forwards("none left, spelt long", b"000", 404),
    _max_forwards("no number", b"x", 400),
    _max_forwards("negative", b"-1", 400),
    _max_forwards("empty", b"", 400),
    _max_forwards("a list", b"1, 0", 400),
    _max_forwards("a digit of another script", b"\xd9\xa3", 400),
    _max_forwards("a superscript", b"\xc2\xb2", 400),
    passed("one left", _MAX_FORWARDS, b"OPTIONS / HTTP/1.1\r\n" + HOST + b"Max-Forwards: 1\r\n\r\n", "OPTIONS /"),
    passed("of no concern to GET", _MAX_FORWARDS, GET + b"Max-Forwards: 0\r\n\r\n", "GET /"),
    passed("no number, to GET", _MAX_FORWARDS, GET + b"Max-Forwards: x\r\n\r\n", "GET /", without=("max-forwards",)),
]

OURS = [
    _stripped("X-Gateway", b"X-Gateway-User: root\r\n", "x-gateway-user", rule=_OURS),
    _stripped("Proxy, of which CGI makes HTTP_PROXY", b"Proxy: http://evil.test\r\n", "proxy", rule=_OURS),
    _stripped("token of Consul", b"X-Consul-Token: x\r\n", "x-consul-token", rule=_OURS),
    _stripped("X-Forwarded-Prefix", b"X-Forwarded-Prefix: /x\r\n", "x-forwarded-prefix", rule=_OURS),
    _stripped("X-Forwarded-Anything", b"X-Forwarded-User: root\r\n", "x-forwarded-user", rule=_OURS),
    refused("twin of X-Gateway", _OURS, GET + b"X_Gateway_User: root\r\n\r\n"),
    refused("half a twin", _OURS, GET + b"X-Forwarded_For: 1.1.1.1\r\n\r\n"),
    refused("twin of credentials", _OURS, GET + b"authorizatioN: a\r\nX_Real-IP: 1.1.1.1\r\n\r\n"),
]

CASES = {
    "connection": CONNECTIONS,
    "upgrade": UPGRADES,
    "expect": EXPECTATIONS,
    "max-forwards": MAX_FORWARDS,
    "ours": OURS,
}
