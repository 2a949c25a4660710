"""What a quoted token of protobuf text stands for."""

from __future__ import annotations

import re

_PLAIN = {quote: re.compile(rf"[^{quote}\\\n]*") for quote in "\"'"}
_ESCAPE = re.compile(
    rb"""\\(?:(?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9a-fA-F]{1,2}) | u(?P<short>[0-9a-fA-F]{4})
    | U(?P<long>[0-9a-fA-F]{8}) | (?P<letter>[abfnrtv\\'"?]) | (?P<wrong>.?))""",
    re.X | re.S,
)
_LETTERS = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))


def end_of_string(text: str, start: int) -> int:
    """Where the string ends whose opening quote stands at `start`; 0 if it is not closed on its line."""
    quote, at = text[start], start + 1
    while True:
        plain = _PLAIN[quote].match(text, at)
        at = plain.end() if plain else at
        found = text[at : at + 2]
        if found[:1] == quote:
            return at + 1
        if len(found) < 2 or found[0] != "\\" or found[1] == "\n":
            return 0
        at += 2


def unescape(token: str) -> bytes:
    """The bytes of a token, or of several with a space between each: `"a\\n" 'b'` is a, line feed, b.

    Raises:
        ValueError: an escape that means nothing, a code point that is none. The message says which.
        UnicodeEncodeError: a lone surrogate, which is a ValueError too.
    """
    parts, at = [], 0
    while at < len(token):
        end = end_of_string(token, at)
        parts.append(_ESCAPE.sub(_byte, token[at + 1 : end - 1].encode()))
        at = end + 1
    return b"".join(parts)


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
