"""Request lines and header fields that are none."""

from tests.corpus.case import CHUNKED, GET, HOST, POST, SMUGGLED, Case, Forwarded, passed, refused

_LINE = "RFC 9112 §3"
_METHOD = "RFC 9112 §3.1"
_VERSION = "RFC 9112 §2.3"
_FIELD = "RFC 9112 §5"
_NAME = "RFC 9112 §5.1"
_FOLD = "RFC 9112 §5.2"
_VALUE = "RFC 9110 §5.5"
_END = "RFC 9112 §2.2"


def _line(name: str, line: bytes, status: int = 400, rule: str = _LINE) -> Case:
    return refused(name, rule, line + b"\r\n" + HOST + b"\r\n", status)


def _method(name: str, method: bytes, status: int = 400) -> Case:
    return _line(name, method + b" / HTTP/1.1", status, _METHOD)


def _version(name: str, version: bytes, status: int = 400) -> Case:
    return _line(name, b"GET / " + version, status, _VERSION)


def _field(name: str, line: bytes, rule: str = _FIELD) -> Case:
    return refused(name, rule, GET + line + b"\r\n\r\n" + SMUGGLED)


LINES = [
    passed("empty line in front", _END, b"\r\n" + GET + b"\r\n", "GET /"),
    passed("empty lines in front", _END, b"\r\n\r\n\r\n" + GET + b"\r\n", "GET /"),
    passed("empty line of LF in front", _END, b"\n" + GET + b"\r\n", "GET /"),
    _line("bare CR in front", b"\rGET / HTTP/1.1", rule=_END),
    _line("bare CR in front of an empty line", b"\r\r\nGET / HTTP/1.1", rule=_END),
    _line("bare CR behind an empty line", b"\r\n\rGET / HTTP/1.1", rule=_END),
    _line("two spaces behind the method", b"GET  / HTTP/1.1"),
    _line("two spaces behind the target", b"GET /  HTTP/1.1"),
    _line("tab behind the method", b"GET\t/ HTTP/1.1"),
    _line("tab behind the target", b"GET /\tHTTP/1.1"),
    _line("vertical tab behind the target", b"GET /\x0bHTTP/1.1"),
    _line("no-break space behind the target", b"GET /\xa0HTTP/1.1"),
    _line("space in front", b" GET / HTTP/1.1"),
    _line("tab in front", b"\tGET / HTTP/1.1"),
    _line("space behind", b"GET / HTTP/1.1 "),
    _line("something behind", b"GET / HTTP/1.1 x"),
    _line("no version", b"GET /"),
    _line("no target", b"GET HTTP/1.1"),
    _line("no target but its spaces", b"GET  HTTP/1.1"),
    _line("method alone", b"GET"),
    _line("two targets", b"GET / /smuggled HTTP/1.1"),
    _line("two versions", b"GET / HTTP/1.1 HTTP/1.1"),
    _line("NUL in the target", b"GET /\x00 HTTP/1.1"),
    _line("bare CR in the target", b"GET /\rX HTTP/1.1"),
    _line("bare CR behind", b"GET / HTTP/1.1\r"),
    _line("bare LF in the target", b"GET /\nX HTTP/1.1"),
    _line("control character in the target", b"GET /\x01 HTTP/1.1"),
    _line("DEL in the target", b"GET /\x7f HTTP/1.1"),
    _line("byte order mark in front", b"\xef\xbb\xbfGET / HTTP/1.1"),
    _line("a field in its place", b"X: y"),
    _line("a response in its place", b"HTTP/1.1 200 OK"),
    refused("ended by LF", _END, b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    refused("ended by CR", _END, b"GET / HTTP/1.1\r" + HOST + b"\r\n"),
    refused("LF-only", _END, b"GET / HTTP/1.1\nHost: gateway.test\n\n"),
    refused("head ended by LF", _END, GET + b"\n"),
    refused("head ended by CR CR LF", _END, GET + b"\r\r\n\r\n"),
    refused("field ended by LF", _END, GET + b"X: y\n\r\n"),
    refused("field ended by CR CR LF", _END, GET + b"X: y\r\r\n\r\n"),
]

METHODS = [
    *(
        passed(method, _METHOD, f"{method} / HTTP/1.1\r\nHost: gateway.test\r\n\r\n".encode(), f"{method} /")
        for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "REPORT", "PURGE")
    ),
    _method("TRACE", b"TRACE", 405),
    _method("lower case", b"get"),
    _method("mixed case", b"Get"),
    _method("unknown", b"MAKE"),
    _method("known with more", b"GETX"),
    _method("long", b"A" * 1000),
    _method("too long", b"A" * 10000),
    _method("empty", b""),
    _method("NUL inside", b"GE\x00T"),
    _method("NUL behind", b"GET\x00"),
    _method("colon", b"GET:"),
    _method("quotes", b'"GET"'),
    _method("byte of 0x80 and more", b"G\xc9T"),
    _method("of HTTP/2", b"PRI"),
    _method("of RTSP", b"DESCRIBE"),
    refused("CONNECT", "RFC 9110 §9.3.6", b"CONNECT gateway.test:80 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, 405),
    refused(
        "CONNECT with a body",
        "RFC 9110 §9.3.6",
        b"CONNECT gateway.test:80 HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        405,
    ),
    refused(
        "TRACE with a body", "RFC 9110 §9.3.8", b"TRACE / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx", 405
    ),
]


def _with_length(body: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _with_chunks(body: bytes) -> bytes:
    return CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def _behind_bodies(name: str, sent: bytes, *, good: bool = False) -> list[Case]:
    """Behind bodies that hold the line that it should have: the parser says neither which it had nor where it was."""
    start = b" ".join(sent.lstrip(b"\r\n").split(b"\r\n", 1)[0].split()[:2])
    bodies = {
        "the line": start + b" HTTP/1.1\r\n" + HOST,
        "the line behind a head's end": b"\r\n\r\n" + start + b" HTTP/",
        "something": b"hello",
    }
    follows = (Forwarded(start.decode()),) if good else ()
    return [
        Case(
            f"{name} behind {how} body with {what}",
            _VERSION,
            framed(body) + sent,
            (200, 200 if good else 400),
            (Forwarded("POST /", body), *follows),
        )
        for how, framed in (("a", _with_length), ("a chunked", _with_chunks))
        for what, body in bodies.items()
    ]


VERSIONS = [
    passed("1.0", _VERSION, b"GET / HTTP/1.0\r\n" + HOST + b"\r\n", "GET /"),
    _version("0.9", b"HTTP/0.9"),
    _version("1.2", b"HTTP/1.2", 505),
    _version("2.0", b"HTTP/2.0", 505),
    _version("2", b"HTTP/2"),
    _version("3.0", b"HTTP/3.0", 505),
    _version("1.10", b"HTTP/1.10"),
    _version("01.1", b"HTTP/01.1"),
    _version("1.1.1", b"HTTP/1.1.1"),
    _version("1.", b"HTTP/1."),
    _version("11", b"HTTP/11"),
    _version("-1.1", b"HTTP/-1.1"),
    _version("1,1", b"HTTP/1,1"),
    _version("lower case", b"http/1.1"),
    _version("another protocol", b"HTTPS/1.1"),
    _version("RTSP 1.0", b"RTSP/1.0"),
    _version("RTSP 1.1", b"RTSP/1.1"),
    _version("space inside", b"HTTP /1.1"),
    _version("no slash", b"HTTP 1.1"),
    refused("ICE", _VERSION, b"SOURCE / ICE/1.0\r\n" + HOST + b"\r\n"),
    *_behind_bodies("RTSP", b"GET /smuggled RTSP/1.1\r\n" + HOST + b"\r\n"),
    *_behind_bodies("RTSP with more spaces", b"GET  /smuggled  RTSP/1.0\r\n" + HOST + b"\r\n"),
    *_behind_bodies("RTSP that quotes the line", b"OPTIONS / RTSP/1.0\r\nX: OPTIONS / HTTP/1.1\r\n" + HOST + b"\r\n"),
    *_behind_bodies("ICE", b"SOURCE /smuggled ICE/1.0\r\n" + HOST + b"\r\n"),
    *_behind_bodies("more than single spaces", b"GET  /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"),
    *_behind_bodies("0.9", b"GET /smuggled\r\n\r\n"),
    *_behind_bodies("HTTP", SMUGGLED, good=True),
    *_behind_bodies("HTTP and an empty line", b"\r\n" + SMUGGLED, good=True),
    *_behind_bodies("HTTP and a bare CR", b"\r" + SMUGGLED),
    Case(
        "HTTP behind a body that quotes RTSP",
        _VERSION,
        _with_length(b"GET /smuggled RTSP/1.0\r\n\r\n") + SMUGGLED,
        (200, 200),
        (Forwarded("POST /", b"GET /smuggled RTSP/1.0\r\n\r\n"), Forwarded("GET /smuggled")),
    ),
    refused(
        "RTSP, and a field that quotes the line",
        _VERSION,
        b"GET / RTSP/1.1\r\nX: GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    ),
    refused("preface of HTTP/2", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("hello of TLS", _LINE, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    refused("SSH", _LINE, b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    refused("PROXY protocol", _LINE, b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + GET + b"\r\n"),
]
FIELDS = [
    passed("bytes of 0x80 and more in a value", _VALUE, GET + b"X: caf\xe9 \xc3\xa9\r\n\r\n", "GET /"),
    passed("no space behind the colon", _FIELD, GET + b"X:y\r\n\r\n", "GET /"),
    passed("empty value", _VALUE, GET + b"X:\r\n\r\n", "GET /"),
    passed("spaces and tabs around", _VALUE, GET + b"X: \t y \t\r\n\r\n", "GET /"),
    passed("tab inside", _VALUE, GET + b"X: a\tb\r\n\r\n", "GET /"),
    passed("every character of a token", "RFC 9110 §5.6.2", GET + b"X!#$%&'*+-.^_`|~0: y\r\n\r\n", "GET /"),
    _field("no colon", b"X"),
    _field("no name", b": y", _NAME),
    _field("space before the colon", b"X : y", _NAME),
    _field("tab before the colon", b"X\t: y", _NAME),
    _field("space in the name", b"X Y: z", _NAME),
    _field("space before the name", b" X: y", _FOLD),
    _field("tab before the name", b"\tX: y", _FOLD),
    _field("slash in the name", b"X/Y: z", _NAME),
    _field("parentheses in the name", b"X(): y", _NAME),
    _field("quotes in the name", b'"X": y', _NAME),
    _field("at sign in the name", b"X@Y: z", _NAME),
    _field("bracket in the name", b"X[0]: y", _NAME),
    _field("NUL in the name", b"X\x00: y", _NAME),
    _field("control character in the name", b"X\x01: y", _NAME),
    _field("DEL in the name", b"X\x7f: y", _NAME),
    _field("byte of 0x80 and more in the name", b"X\xc9: y", _NAME),
    _field("bare CR in the name", b"X\rY: z", _NAME),
    _field("bare LF in the name", b"X\nY: z", _NAME),
    _field("folded", b"X: y\r\n z", _FOLD),
    _field("folded with a tab", b"X: y\r\n\tz", _FOLD),
    _field("folded and empty", b"X:\r\n y", _FOLD),
    _field("folded twice", b"X: y\r\n z\r\n a", _FOLD),
    _field("line of spaces", b"X: y\r\n   ", _FOLD),
    _field("bare CR in a value", b"X: y\rz", _VALUE),
    _field("bare LF in a value", b"X: y\nz", _VALUE),
    _field("NUL in a value", b"X: y\x00z", _VALUE),
    _field("NUL and nothing", b"X: \x00", _VALUE),
    _field("escape in a value", b"X: \x1b[31m", _VALUE),
    _field("backspace in a value", b"X: y\x08", _VALUE),
    _field("vertical tab in front of a value", b"X:\x0by", _VALUE),
    _field("form feed in a value", b"X: y\x0cz", _VALUE),
    _field("DEL in a value", b"X: y\x7f", _VALUE),
    _field("twin of Transfer-Encoding", b"Transfer_Encoding: chunked", _NAME),
    _field("twin of Host", b"X_Forwarded_Host: evil", _NAME),
    _field("two Content-Type", b"Content-Type: a/b\r\nContent-Type: c/d", "RFC 9110 §5.3"),
]

CASES = {"line": LINES, "method": METHODS, "version": VERSIONS, "field": FIELDS}
