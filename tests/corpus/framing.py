"""How long a request's body is: the fields that say so, and disguises of them."""

from tests.corpus.case import CHUNKED, GET, POST, SMUGGLED, Case, Forwarded, passed, refused

_LENGTH = "RFC 9110 §8.6, RFC 9112 §6.2"
_CODING = "RFC 9112 §6.1"
_BOTH = "RFC 9112 §6.3 rule 3"
_LAST = b"0\r\n\r\n"


def _length(name: str, line: bytes, body: bytes = b"hello") -> Case:
    return refused(name, _LENGTH, POST + line + b"\r\n\r\n" + body + SMUGGLED)


def _coding(name: str, line: bytes, status: int = 400) -> Case:
    return refused(name, _CODING, POST + line + b"\r\n\r\n" + _LAST + SMUGGLED, status)


def _both(name: str, *lines: bytes) -> Case:
    return refused(name, _BOTH, POST + b"\r\n".join(lines) + b"\r\n\r\n" + _LAST + SMUGGLED)


CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"

LENGTHS = [
    passed("leading zeros", _LENGTH, POST + b"Content-Length: 005\r\n\r\nhello", body=b"hello"),
    passed(
        "very many leading zeros", _LENGTH, POST + b"Content-Length: %b5\r\n\r\nhello" % (b"0" * 5000), body=b"hello"
    ),
    passed("tabs around", "RFC 9110 §5.5", POST + b"Content-Length:\t5\t \r\n\r\nhello", body=b"hello"),
    passed("lower case, no space", "RFC 9110 §5.1", POST + b"content-length:5\r\n\r\nhello", body=b"hello"),
    passed("zero to POST", _LENGTH, POST + b"Content-Length: 0\r\n\r\n"),
    passed("zero to GET", _LENGTH, GET + b"Content-Length: 0\r\n\r\n", "GET /"),
    passed("a body to GET", "RFC 9110 §9.3.1", GET + CL + b"\r\n\r\nhello", "GET /", b"hello"),
    Case(
        "what follows a body of zero is the next request (CL.0)",
        _LENGTH,
        POST + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
        (200, 200),
        (Forwarded("POST /"), Forwarded("GET /smuggled")),
    ),
    Case(
        "a body that looks like a request is a body (CL.0)",
        _LENGTH,
        POST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        (200,),
        (Forwarded("POST /", SMUGGLED),),
    ),
    Case(
        "bytes behind a GET without a length are no body of it",
        "RFC 9112 §6.3 rule 7",
        GET + b"\r\nhello\r\n\r\n",
        (200, 400),
        (Forwarded("GET /"),),
    ),
    _length("two that differ", CL + b"\r\nContent-Length: 0"),
    _length("two that agree", CL + b"\r\n" + CL),
    _length("two in different case", CL + b"\r\ncontent-length: 5"),
    _length("a list", b"Content-Length: 5, 5"),
    _length("a list that differs", b"Content-Length: 0, 5"),
    _length("a list with an empty element", b"Content-Length: 5,"),
    _length("empty", b"Content-Length:"),
    _length("only spaces", b"Content-Length:  "),
    _length("plus", b"Content-Length: +5"),
    _length("minus", b"Content-Length: -5"),
    _length("minus zero", b"Content-Length: -0"),
    _length("hexadecimal", b"Content-Length: 0x5"),
    _length("octal of Python", b"Content-Length: 0o5"),
    _length("underscore", b"Content-Length: 0_5"),
    _length("fraction", b"Content-Length: 5.0"),
    _length("exponent", b"Content-Length: 5e0"),
    _length("space inside", b"Content-Length: 0 5"),
    _length("tab inside", b"Content-Length: 0\t5"),
    _length("quotes", b'Content-Length: "5"'),
    _length("semicolon", b"Content-Length: 5;"),
    _length("over 2^64", b"Content-Length: 18446744073709551621"),
    _length("over 2^64 by far", b"Content-Length: " + b"9" * 400),
    _length("vertical tab in front", b"Content-Length: \x0b5"),
    _length("form feed behind", b"Content-Length: 5\x0c"),
    _length("NUL behind", b"Content-Length: 5\x00"),
    _length("NUL in the name", b"Content-Length\x00: 5"),
    _length("Arabic digit", b"Content-Length: \xd9\xa5"),
    _length("full-width digit", b"Content-Length: \xef\xbc\x95"),
    _length("superscript digit", b"Content-Length: \xb5"),
    _length("folded", b"Content-Length:\r\n 5"),
    _length("space before the colon", b"Content-Length : 5"),
    _length("tab before the colon", b"Content-Length\t: 5"),
    _length("space before the name", b" Content-Length: 5"),
    _length("underscore twin", b"Content_Length: 5"),
    _length("bare CR before it", b"X: y\rContent-Length: 5"),
    _length("bare LF before it", b"X: y\nContent-Length: 5"),
]

CODINGS = [
    passed("chunked", _CODING, CHUNKED + _LAST),
    passed(
        "upper case", "RFC 9112 §7", POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", body=b"hello"
    ),
    passed("chunked to GET", _CODING, GET + TE + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "GET /", b"hello"),
    passed("TE is of this hop", "RFC 9110 §10.1.4", GET + b"TE: trailers, chunked\r\n\r\n", "GET /", without=("te",)),
    Case(
        "a space behind is none of it",
        "RFC 9110 §5.5",
        POST + b"Transfer-Encoding: chunked \r\n\r\n" + _LAST + SMUGGLED,
        (200, 200),
        (Forwarded("POST /"), Forwarded("GET /smuggled")),
    ),
    Case(
        "names that only look like it are others",
        "RFC 9110 §5.1",
        POST + b"xTransfer-Encoding: chunked\r\nTransfer.Encoding: chunked\r\n\r\n" + SMUGGLED,
        (200, 200),
        (Forwarded("POST /"), Forwarded("GET /smuggled")),
    ),
    Case(
        "what follows the last chunk is the next request (TE.0)",
        _CODING,
        CHUNKED + _LAST + SMUGGLED,
        (200, 200),
        (Forwarded("POST /"), Forwarded("GET /smuggled")),
    ),
    Case(
        "a chunk that looks like a request is a body",
        _CODING,
        CHUNKED + b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n" + _LAST,
        (200,),
        (Forwarded("POST /", SMUGGLED),),
    ),
    _coding("gzip before chunked", b"Transfer-Encoding: gzip, chunked", 501),
    _coding("gzip before chunked in two fields", b"Transfer-Encoding: gzip\r\n" + TE),
    _coding("gzip alone", b"Transfer-Encoding: gzip"),
    _coding("identity", b"Transfer-Encoding: identity"),
    _coding("chunked before identity", b"Transfer-Encoding: chunked, identity"),
    _coding("chunked before identity in two fields", TE + b"\r\nTransfer-Encoding: identity"),
    _coding("identity before chunked", b"Transfer-Encoding: identity, chunked", 501),
    _coding("chunked twice", b"Transfer-Encoding: chunked, chunked"),
    _coding("chunked twice in two fields", TE + b"\r\n" + TE),
    _coding("two fields in different case", TE + b"\r\ntransfer-encoding: chunked"),
    _coding("unknown", b"Transfer-Encoding: cow"),
    _coding("xchunked", b"Transfer-Encoding: xchunked"),
    _coding("chunkedx", b"Transfer-Encoding: chunkedx"),
    _coding("x-chunked before chunked", b"Transfer-Encoding: x, chunked", 501),
    _coding("empty", b"Transfer-Encoding:", 501),
    _coding("empty before chunked in two fields", b"Transfer-Encoding:\r\n" + TE),
    _coding("unit separator in front", b"Transfer-Encoding: \x1fchunked"),
    _coding("byte of 0x80 and more behind", b"Transfer-Encoding: chunked\xff"),
    _coding("comma in front", b"Transfer-Encoding: ,chunked", 501),
    _coding("comma behind", b"Transfer-Encoding: chunked,"),
    _coding("parameter", b"Transfer-Encoding: chunked;q=1"),
    _coding("semicolon", b"Transfer-Encoding: chunked;"),
    _coding("quotes", b'Transfer-Encoding: "chunked"'),
    _coding("single quotes", b"Transfer-Encoding: 'chunked'"),
    _coding("vertical tab in front", b"Transfer-Encoding: \x0bchunked"),
    _coding("form feed in front", b"Transfer-Encoding: \x0cchunked"),
    _coding("vertical tab behind", b"Transfer-Encoding: chunked\x0b"),
    _coding("tab behind", b"Transfer-Encoding: chunked\t"),
    _coding("NUL behind", b"Transfer-Encoding: chunked\x00"),
    _coding("DEL behind", b"Transfer-Encoding: chunked\x7f"),
    _coding("bare CR behind", b"Transfer-Encoding: chunked\rX: y"),
    _coding("bare CR in front", b"Transfer-Encoding: \rchunked"),
    _coding("no-break space in front", b"Transfer-Encoding: \xa0chunked"),
    _coding("byte order mark in front", b"Transfer-Encoding: \xef\xbb\xbfchunked"),
    _coding("dotless letter", b"Transfer-Encoding: chun\xe2\x84\xaaed"),
    _coding("folded", b"Transfer-Encoding:\r\n chunked"),
    _coding("folded with a tab", b"Transfer-Encoding:\r\n\tchunked"),
    _coding("folded behind", b"Transfer-Encoding: chunked\r\n , identity"),
    _coding("folded into the field before", b"X: y\r\n Transfer-Encoding: chunked"),
    _coding("bare LF into the field before", b"X: y\nTransfer-Encoding: chunked"),
    _coding("space before the colon", b"Transfer-Encoding : chunked"),
    _coding("tab before the colon", b"Transfer-Encoding\t: chunked"),
    _coding("NUL before the colon", b"Transfer-Encoding\x00: chunked"),
    _coding("two colons", b"Transfer-Encoding:: chunked"),
    _coding("space before the name", b" Transfer-Encoding: chunked"),
    _coding("space in the name", b"Transfer Encoding: chunked"),
    _coding("underscore twin", b"Transfer_Encoding: chunked"),
    _coding("control character before the name", b"\x01Transfer-Encoding: chunked"),
    refused("in HTTP/1.0", _CODING, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + _LAST),
    refused(
        "in HTTP/1.0 that stays",
        _CODING,
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + _LAST + SMUGGLED,
    ),
]

BOTH = [
    _both("length first", CL, TE),
    _both("coding first", TE, CL),
    _both("length of zero first", b"Content-Length: 0", TE),
    _both("apart", CL, b"X: y", TE),
    _both("coding nobody knows", CL, b"Transfer-Encoding: cow"),
    _both("coding in disguise", CL, b"Transfer-Encoding : chunked"),
    _both("folded coding", CL, b"Transfer-Encoding:\r\n chunked"),
    _both("empty coding", CL, b"Transfer-Encoding:"),
    _both("two codings", CL, TE, b"Transfer-Encoding: cow"),
    _both("coding that Connection names", b"Connection: Transfer-Encoding", CL, TE),
    _both("length that Connection names", b"Connection: Content-Length", CL, TE),
    refused("in HTTP/1.0", _BOTH, b"POST / HTTP/1.0\r\n" + CL + b"\r\n" + TE + b"\r\n\r\n" + _LAST),
]

CASES = {"length": LENGTHS, "coding": CODINGS, "both": BOTH}
