"""What instances say that is no response, or an odd one."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
LAST = b"0\r\n\r\n"

BAD_GATEWAY, CUT_OFF = "502", "cut off"


@dataclass(frozen=True, slots=True)
class Answer:
    """`comes_to` is what the client gets: a status and a body, BAD_GATEWAY, or CUT_OFF where the end never comes."""

    name: str
    rule: str
    said: bytes
    comes_to: tuple[int, bytes] | str
    method: str = "GET"


def _bad(name: str, rule: str, said: bytes) -> Answer:
    return Answer(name, rule, said, BAD_GATEWAY)


def _cut(name: str, rule: str, said: bytes) -> Answer:
    return Answer(name, rule, said, CUT_OFF)


def _good(name: str, rule: str, said: bytes, status: int = 200, body: bytes = b"hello", method: str = "GET") -> Answer:
    return Answer(name, rule, said, (status, body), method)


def _line(name: str, line: bytes) -> Answer:
    return _bad(name, "RFC 9112 §4", line + b"\r\n" + LENGTH + b"\r\nhello")


def _framed(name: str, lines: bytes, body: bytes = b"5\r\nhello\r\n0\r\n\r\n", rule: str = "RFC 9112 §6.3") -> Answer:
    return _bad(name, rule, HEAD + lines + b"\r\n\r\n" + body)


def _field(name: str, line: bytes) -> Answer:
    return _bad(name, "RFC 9112 §5", HEAD + line + b"\r\n" + LENGTH + b"\r\nhello")


LINES = [
    _good("no reason", "RFC 9112 §4", b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\nhello"),
    _good("no space for a reason", "RFC 9112 §4", b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nhello"),
    _good("status nobody knows", "RFC 9110 §15", b"HTTP/1.1 299 X\r\n" + LENGTH + b"\r\nhello", 299),
    _good("status of no class", "RFC 9110 §15", b"HTTP/1.1 999 X\r\n" + LENGTH + b"\r\nhello", 999),
    _good("HTTP/1.0", "RFC 9112 §2.3", b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\nhello"),
    _line("no status", b"HTTP/1.1 OK"),
    _line("two digits", b"HTTP/1.1 20 OK"),
    _line("four digits", b"HTTP/1.1 2000 OK"),
    _line("status 000", b"HTTP/1.1 000 OK"),
    _line("status 099", b"HTTP/1.1 099 OK"),
    _line("negative", b"HTTP/1.1 -200 OK"),
    _line("hexadecimal", b"HTTP/1.1 0xc8 OK"),
    _line("two spaces", b"HTTP/1.1  200 OK"),
    _line("tab", b"HTTP/1.1\t200 OK"),
    _line("lower case", b"http/1.1 200 OK"),
    _line("HTTP/0.9", b"HTTP/0.9 200 OK"),
    _line("HTTP/1.2", b"HTTP/1.2 200 OK"),
    _line("HTTP/2.0", b"HTTP/2.0 200 OK"),
    _line("HTTP/2", b"HTTP/2 200 OK"),
    _line("RTSP", b"RTSP/1.0 200 OK"),
    _line("ICE", b"ICE/1.0 200 OK"),
    _line("ICY", b"ICY 200 OK"),
    _line("empty line in front", b"\r\nHTTP/1.1 200 OK"),
    _line("a request", b"GET / HTTP/1.1"),
    _line("bare CR in the reason", b"HTTP/1.1 200 O\rK"),
    _line("very long reason", b"HTTP/1.1 200 " + b"x" * 20_000),
    _bad("nothing but empty lines", "RFC 9112 §4", b"\r\n\r\n\r\n"),
    _bad("nothing", "RFC 9112 §4", b""),
    _bad("half a head", "RFC 9112 §8", HEAD + b"Content-Le"),
    _bad("HTML alone (HTTP/0.9)", "RFC 9112 §2.3", b"<html>hello</html>"),
]

FRAMING = [
    _good("leading zeros", "RFC 9110 §8.6", HEAD + b"Content-Length: 0005\r\n\r\nhello"),
    _good("by the connection's end", "RFC 9112 §6.3 rule 8", HEAD + b"\r\nhello"),
    _good("chunked", "RFC 9112 §7.1", CHUNKED + b"5\r\nhello\r\n" + LAST),
    _good("chunked in capitals", "RFC 9112 §7", HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n" + LAST),
    _good("tab in front", "RFC 9110 §5.5", HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n" + LAST),
    _good("extension", "RFC 9112 §7.1.1", CHUNKED + b'5;a="b"\r\nhello\r\n' + LAST),
    _good("trailer", "RFC 9112 §7.1.2", CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n"),
    _good("trailer that frames", "RFC 9112 §7.1.2", CHUNKED + b"5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n"),
    _framed("both", LENGTH + b"Transfer-Encoding: chunked"),
    _framed("both, the other way round", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    _framed("two lengths", LENGTH + b"Content-Length: 6"),
    _framed("two equal lengths", LENGTH + b"Content-Length: 5"),
    _framed("list of lengths", b"Content-Length: 5, 5"),
    _framed("plus", b"Content-Length: +5"),
    _framed("minus", b"Content-Length: -5"),
    _framed("empty length", b"Content-Length:"),
    _framed("length with a space inside", b"Content-Length: 5 5"),
    _framed("length with NUL", b"Content-Length: 5\x00"),
    _framed("length with VT", b"Content-Length: \x0b5"),
    _framed("hexadecimal length", b"Content-Length: 0x5"),
    _framed("length over 2^64", b"Content-Length: 99999999999999999999"),
    _framed("very many leading zeros", b"Content-Length: " + b"0" * 5000 + b"5"),
    _framed("space before the colon", b"Content-Length : 5"),
    _framed("coding with a space before the colon", b"Transfer-Encoding : chunked"),
    _framed("gzip, chunked", b"Transfer-Encoding: gzip, chunked"),
    _framed("identity", b"Transfer-Encoding: identity"),
    _framed("xchunked", b"Transfer-Encoding: xchunked"),
    _framed("coding with a tab behind, which llhttp does not take for one", b"Transfer-Encoding: chunked\t"),
    _framed("coding with a space behind, likewise", b"Transfer-Encoding: chunked "),
    _framed("empty coding", b"Transfer-Encoding:"),
    _framed("chunked twice", b"Transfer-Encoding: chunked, chunked"),
    _framed("chunked twice in two fields", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    _framed("coding with VT", b"Transfer-Encoding: \x0bchunked"),
    _bad(
        "chunked in HTTP/1.0",
        "RFC 9112 §6.1",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST,
    ),
    _bad("204 with a body", "RFC 9110 §15.3.5", b"HTTP/1.1 204 X\r\n" + LENGTH + b"\r\nhello"),
    _bad("204 with a chunked body", "RFC 9110 §15.3.5", b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST),
    _good("204 with a length", "RFC 9110 §8.6", b"HTTP/1.1 204 X\r\n" + LENGTH + b"\r\n", 204, b""),
    _good("304 with a body", "RFC 9110 §15.4.5", b"HTTP/1.1 304 X\r\n" + LENGTH + b"\r\nhello", 304, b""),
    _good("HEAD with a body", "RFC 9110 §9.3.2", HEAD + LENGTH + b"\r\nhello", 200, b"", "HEAD"),
    _good("HEAD with a chunked body", "RFC 9110 §9.3.2", CHUNKED + b"5\r\nhello\r\n" + LAST, 200, b"", "HEAD"),
    _good("HEAD with another response", "RFC 9110 §9.3.2", HEAD + LENGTH + b"\r\n" + EVIL, 200, b"", "HEAD"),
    _good("another response behind", "RFC 9112 §9.2", HEAD + LENGTH + b"\r\nhello" + EVIL),
    _good("garbage behind", "RFC 9112 §9.2", HEAD + LENGTH + b"\r\nhelloXXXX"),
    _good("split by Location", "RFC 9110 §17.5", HEAD + b"Location: /\r\nContent-Length: 0\r\n\r\n" + EVIL, body=b""),
    _cut("short", "RFC 9112 §8", HEAD + b"Content-Length: 9\r\n\r\nhello"),
    _cut("chunked, short", "RFC 9112 §8", CHUNKED + b"5\r\nhello\r\n"),
    _cut("chunked, in a chunk", "RFC 9112 §8", CHUNKED + b"9\r\nhello"),
    _cut("bad chunk size", "RFC 9112 §7.1", CHUNKED + b"zz\r\nhello\r\n" + LAST),
    _cut("chunk size 0x5", "RFC 9112 §7.1", CHUNKED + b"0x5\r\nhello\r\n" + LAST),
    _cut("chunk size over 2^64", "RFC 9112 §7.1", CHUNKED + b"fffffffffffffffff\r\nhello\r\n" + LAST),
    _cut("chunk ends with LF", "RFC 9112 §7.1", CHUNKED + b"5\nhello\n0\n\n"),
    _cut("LF in an extension", "RFC 9112 §7.1.1", CHUNKED + b"5;a\nb\r\nhello\r\n" + LAST),
    _cut("bad chunk end", "RFC 9112 §7.1", CHUNKED + b"5\r\nhelloXX0\r\n\r\n"),
    _cut("length in a trailer", "RFC 9112 §7.1.2", CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
]

FIELDS = [
    _good("spaces and tabs behind", "RFC 9110 §5.5", HEAD + b"X: y \t \r\n" + LENGTH + b"\r\nhello"),
    _good("folded", "RFC 9112 §5.2", HEAD + b"X: y\r\n z\r\n" + LENGTH + b"\r\nhello"),
    _good("LF-only", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    _good("bytes of 0x80 and more", "RFC 9110 §5.5", HEAD + b"X: caf\xe9\r\n" + LENGTH + b"\r\nhello"),
    _good(
        "cookie of 64 KiB", "RFC 9110 §5.4", HEAD + b"Set-Cookie: a=" + b"b" * 65536 + b"\r\n" + LENGTH + b"\r\nhello"
    ),
    _good(
        "names framing in Connection",
        "RFC 9110 §7.6.1",
        HEAD + b"Connection: Content-Length\r\n" + LENGTH + b"\r\nhello",
    ),
    _field("NUL", b"X: y\x00z"),
    _field("bare CR", b"X: y\rSet-Cookie: a"),
    _field("CR CR LF", b"X: y\r"),
    _field("escape", b"X: \x1b[31m"),
    _field("DEL", b"X: \x7f"),
    _field("no colon", b"XY"),
    _field("no name", b": y"),
    _field("space in the name", b"X Y: z"),
    _field("space before the colon", b"X : y"),
    _field("control character in the name", b"X\x01: y"),
    _field("byte of 0x80 and more in the name", b"X\xe9: y"),
    _field("parentheses in the name", b"X(): y"),
    _field("too many", b"X: y\r\n" * 200 + b"X: y"),
    _field("too large", b"X: " + b"y" * 300_000),
    _field("too large together", (b"X: " + b"y" * 5000 + b"\r\n") * 60 + b"X: y"),
]

INTERIM = [
    _good(
        "100 and 103",
        "RFC 9110 §15.2",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\n" + HEAD + LENGTH + b"\r\nhello",
    ),
    _good("199", "RFC 9110 §15.2", b"HTTP/1.1 199 X\r\n\r\n" + HEAD + LENGTH + b"\r\nhello"),
    _bad(
        "100 with a body",
        "RFC 9110 §15.2",
        b"HTTP/1.1 100 C\r\n" + LENGTH + b"\r\nhello" + HEAD + LENGTH + b"\r\nhello",
    ),
    _bad("a flood", "RFC 9110 §15.2", b"HTTP/1.1 103 E\r\nLink: aaaaaaaaaaaaaa\r\n\r\n" * 20_000),
    _bad(
        "101 that nobody asked for",
        "RFC 9110 §15.2.2",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + EVIL,
    ),
    _bad("101 without an upgrade", "RFC 9110 §15.2.2", b"HTTP/1.1 101 S\r\n\r\n" + EVIL),
    _bad(
        "101 to another protocol",
        "RFC 9110 §15.2.2",
        b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + EVIL,
    ),
    _bad("interim and nothing", "RFC 9110 §15.2", b"HTTP/1.1 100 C\r\n\r\n"),
]

CASES = {"line": LINES, "framing": FRAMING, "field": FIELDS, "interim": INTERIM}
