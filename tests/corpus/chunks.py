"""Chunked bodies (RFC 9112 §7.1), and the trailers behind them."""

from tests.corpus.case import CHUNKED, POST, SMUGGLED, Case, Forwarded, passed, refused

_CHUNK = "RFC 9112 §7.1"
_EXTENSION = "RFC 9112 §7.1.1"
_TRAILER = "RFC 9112 §7.1.2"
_LAST = b"0\r\n\r\n"


def _good(name: str, body: bytes, rule: str = _CHUNK) -> Case:
    return passed(name, rule, CHUNKED + body, body=b"hello", without=("trailer", "x-trailer"))


def _bad(name: str, body: bytes, rule: str = _CHUNK) -> Case:
    return refused(name, rule, CHUNKED + body + SMUGGLED)


CHUNKS = [
    _good("one", b"5\r\nhello\r\n" + _LAST),
    _good("two", b"2\r\nhe\r\n3\r\nllo\r\n" + _LAST),
    _good("leading zeros", b"000000000000000000005\r\nhello\r\n0000\r\n\r\n"),
    _good("hexadecimal letters", b"5\r\nhello\r\n" + _LAST),
    _good("extension", b"5;a=b;c\r\nhello\r\n" + _LAST, _EXTENSION),
    _good("quoted extension", b'5;a="b;c d"\r\nhello\r\n' + _LAST, _EXTENSION),
    _good("extension of the last chunk", b"5\r\nhello\r\n0;a=b\r\n\r\n", _EXTENSION),
    _good("escaped quote in an extension", b'5;a="\\""\r\nhello\r\n' + _LAST, _EXTENSION),
    _bad("size empty", b"\r\nhello\r\n" + _LAST),
    _bad("size 0x5", b"0x5\r\nhello\r\n" + _LAST),
    _bad("size +5", b"+5\r\nhello\r\n" + _LAST),
    _bad("size -5", b"-5\r\nhello\r\n" + _LAST),
    _bad("size 0_5", b"0_5\r\nhello\r\n" + _LAST),
    _bad("size 5h", b"5h\r\nhello\r\n" + _LAST),
    _bad("size in quotes", b'"5"\r\nhello\r\n' + _LAST),
    _bad("size over 2^64", b"10000000000000005\r\nhello\r\n" + _LAST),
    _bad("size over 2^64 by far", b"f" * 64 + b"\r\nhello\r\n" + _LAST),
    _bad("space before the size", b" 5\r\nhello\r\n" + _LAST),
    _bad("tab before the size", b"\t5\r\nhello\r\n" + _LAST),
    _bad("space behind the size", b"5 \r\nhello\r\n" + _LAST),
    _bad("tab behind the size", b"5\t\r\nhello\r\n" + _LAST),
    _bad("NUL behind the size", b"5\x00\r\nhello\r\n" + _LAST),
    _bad("comma behind the size", b"5,5\r\nhello\r\n" + _LAST),
    _bad("size cut by CR", b"5\rX\r\nhello\r\n" + _LAST),
    _bad("size ends with LF", b"5\nhello\r\n" + _LAST),
    _bad("size ends with CR", b"5\rhello\r\n" + _LAST),
    _bad("data ends with LF", b"5\r\nhello\n" + _LAST),
    _bad("data ends with CR", b"5\r\nhello\r" + _LAST),
    _bad("data ends with something else", b"5\r\nhelloXX" + _LAST),
    _bad("data without an end", b"5\r\nhello" + _LAST),
    _bad("data too long", b"4\r\nhello\r\n" + _LAST),
    _bad("data too short", b"6\r\nhello\r\n" + _LAST),
    _bad("last chunk ends with LF", b"5\r\nhello\r\n0\n\n"),
    _bad("last chunk ends with CR", b"5\r\nhello\r\n0\r\r"),
    _bad("body ends with LF", b"5\r\nhello\r\n0\r\n\n"),
    _bad("LF-only", b"5\nhello\n0\n\n"),
    _bad("size ends with CR CR LF", b"5\r\r\nhello\r\n" + _LAST),
    _bad("something behind a quoted extension", b'5;a="b"c\r\nhello\r\n' + _LAST, _EXTENSION),
    _bad("byte of 0x80 and more in an extension", b"5;a=\x80\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("DEL in an extension", b"5;a\x7f\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("trailer ends with LF", b"5\r\nhello\r\n0\r\nX: y\r\n\n"),
    _bad("semicolon and nothing", b"5;\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("spaces around the extension", b"5 ; a = b\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("LF in an extension", b"5;a\nb\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("LF ends an extension", b"5;a\nhello\r\n" + _LAST, _EXTENSION),
    _bad("CR in an extension", b"5;a\rb\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("NUL in an extension", b"5;a=\x00\r\nhello\r\n" + _LAST, _EXTENSION),
    _bad("CRLF in a quoted extension", b'5;a="\r\nhello\r\n' + _LAST, _EXTENSION),
    _bad("LF in a quoted extension", b'5;a="\n"\r\nhello\r\n' + _LAST, _EXTENSION),
    _bad("quote that is not closed", b'5;a="b\r\nhello\r\n' + _LAST, _EXTENSION),
    _bad("LF in an extension of the last chunk", b"5\r\nhello\r\n0;\n\r\n", _EXTENSION),
    _bad("final CRLF missing", b"5\r\nhello\r\n0\r\n"),
]

_SENT = CHUNKED.replace(b"\r\n\r\n", b"\r\nTrailer: X-Trailer\r\n\r\n") + b"5\r\nhello\r\n0\r\n"


def _trailer(name: str, line: bytes) -> Case:
    return refused(name, _TRAILER, _SENT + line + b"\r\n\r\n" + SMUGGLED)


TRAILERS = [
    passed(
        "a trailer ends here",
        _TRAILER,
        _SENT + b"X-Trailer: y\r\n\r\n",
        body=b"hello",
        without=("trailer", "x-trailer"),
    ),
    Case(
        "what follows trailers is the next request",
        _TRAILER,
        _SENT + b"X-Trailer: y\r\n\r\n" + SMUGGLED,
        (200, 200),
        (Forwarded("POST /", b"hello"), Forwarded("GET /smuggled")),
    ),
    _trailer("Transfer-Encoding", b"Transfer-Encoding: chunked"),
    _trailer("Content-Length", b"Content-Length: 5"),
    _trailer("no colon", b"X-Trailer"),
    _trailer("space in the name", b"X Trailer: y"),
    _trailer("space before the colon", b"X-Trailer : y"),
    _trailer("folded", b"X-Trailer: y\r\n z"),
    _trailer("bare CR", b"X-Trailer: y\rz"),
    _trailer("bare LF", b"X-Trailer: y\nz: a"),
    _trailer("NUL", b"X-Trailer: \x00"),
    _trailer("very many", b"\r\n".join([b"X-Trailer: y"] * 2000)),
    _trailer("too long", b"X-Trailer: " + b"y" * 10000),
]

SPLIT = [
    refused(
        "a chunked body to HTTP/1.0",
        "RFC 9112 §6.1",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n",
    ),
]

CASES = {"chunk": CHUNKS, "trailer": TRAILERS, "version": SPLIT}
