"""More than is taken."""

from tests.corpus.case import CHUNKED, GET, HOST, refused

_LINE = "RFC 9112 §3: 414"
_FIELDS = "RFC 6585 §5: 431"

SIZES = [
    refused("target", _LINE, b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    refused("query", _LINE, b"GET /?" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    refused(
        "target of absolute form",
        _LINE,
        b"GET http://gateway.test/" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        414,
    ),
    refused("value", _FIELDS, GET + b"X: " + b"a" * 8192 + b"\r\n\r\n", 431),
    refused("value of Host", _FIELDS, b"GET / HTTP/1.1\r\nHost: " + b"a" * 8192 + b"\r\n\r\n", 431),
    refused("name", _FIELDS, GET + b"X" * 8192 + b": a\r\n\r\n", 431),
    refused("number", _FIELDS, GET + b"".join(b"X-%d: a\r\n" % n for n in range(129)) + b"\r\n", 431),
    refused("number of the same", _FIELDS, GET + b"Cookie: a\r\n" * 129 + b"\r\n", 431),
    refused(
        "all together", _FIELDS, GET + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 8000) for n in range(9)) + b"\r\n", 431
    ),
    refused(
        "extension of a chunk that is its only data", "RFC 9112 §7.1.1", CHUNKED + b"5;" + b"a" * 100 + b"\x00\r\n"
    ),
]

CASES = {"size": SIZES}
