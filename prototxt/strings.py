"""What a quoted token of protobuf text stands for."""

from __future__ import annotations

import re

_PIECE = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.S)
_ESCAPE = re.compile(
    rb"""\\(?:(?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9a-fA-F]{1,2}) | u(?P<short>[0-9a-fA-F]{4})
    | U(?P<long>[0-9a-fA-F]{8}) | (?P<letter>[abfnrtv\\'"?]) | (?P<wrong>.?))""",
    re.X | re.S,
)
_LETTERS = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))


def unescape(token: str) -> bytes:
    """The bytes of a token, or of several side by side: `"a\\n" 'b'` is a, line feed, b.

    Raises:
        ValueError: an escape that means nothing, a code point that is none. The message says which.
        UnicodeEncodeError: a lone surrogate, which is a ValueError too.
    """
    return b"".join(_ESCAPE.sub(_byte, found[2].encode()) for found in _PIECE.finditer(token))


def _byte(found: re.Match[bytes]) -> bytes:
    kind, digits = found.lastgroup, found[found.lastgroup or 0]
    if kind == "octal":
        return bytes([int(digits, 8) & 255])
    if kind == "hex":
        return bytes([int(digits, 16)])
    if kind == "letter":
        return bytes([_LETTERS[digits[0]]])
    if kind == "wrong":
        escape = found[0].decode("latin-1")
        raise ValueError(f"has the escape '{escape}', which means nothing; a backslash is written '\\\\'")
    if int(digits, 16) > 0x10FFFF:
        raise ValueError(f"has the escape '{found[0].decode()}', which is no character")
    return chr(int(digits, 16)).encode()
