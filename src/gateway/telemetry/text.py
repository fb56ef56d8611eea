"""Foreign text made safe for one line of a log: nothing in it can end the line, drive a terminal or grow the file."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str, limit: int = 2048) -> str:
    """`text` with control, bidirectional and undecodable characters escaped, cut at `limit` characters.

    Bytes that were decoded with `surrogateescape` show as the bytes they were (`\\xe9`).
    """
    if len(text) > limit:
        text = text[:limit] + f"… ({len(text) - limit} more)"
    return text if text.isprintable() else _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
