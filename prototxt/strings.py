"""What a quoted token of protobuf text stands for."""

from __future__ import annotations

import re
from functools import cache

from prototxt.names import to_bytes

_PLAIN = {quote: re.compile(rf"[^{quote}\\\n]*") for quote in "\"'"}
_WRITTEN = {code: f"\\{code:03o}" for code in (*range(32), 127)}
_WRITTEN |= {ord(character): f"\\{letter}" for character, letter in zip('"\\\n\r\t', '"\\nrt', strict=True)}
_WRITTEN_BYTES = {code: f"\\{code:03o}" for code in range(128, 256)} | _WRITTEN
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


def may_be_odd(token: str) -> bool:
    """Whether it may hold an escape that protobuf's parser in Python leaves as it stands: `\\?`, or `\\X41` for A."""
    return "\\?" in token or "\\X" in token


def unescape(token: str) -> bytes:
    """The bytes of a token, or of several with a space between each: `"a\\n" 'b'` is a, line feed, b.

    Escapes are found among the token's own bytes, as Caffe's parser does: one may complete a character of UTF-8, and
    the second byte of a character in GBK or Shift-JIS may be a backslash.

    Raises:
        ValueError: an escape that means nothing, a code point that is none. The message says which.
        UnicodeEncodeError: a lone surrogate, which is a ValueError too.
    """
    parts, at = [], 0
    while at < len(token):
        end = end_of_string(token, at)
        part = to_bytes(token[at + 1 : end - 1])
        parts.append(_escape().sub(_byte, part) if b"\\" in part else part)
        at = end + 1
    return b"".join(parts)


def quote(content: str | bytes) -> str:
    """A token that stands for a text or for bytes: quotes, backslashes and control characters are escaped."""
    text = content if isinstance(content, str) else content.decode("latin-1")
    return f'"{text.translate(_WRITTEN if isinstance(content, str) else _WRITTEN_BYTES)}"'


def octal(text: str) -> str:
    """A text's bytes as escapes: `\\310\\253`."""
    return "".join(f"\\{byte:03o}" for byte in to_bytes(text))


def _byte(found: re.Match[bytes]) -> bytes:
    kind, digits = found.lastgroup, found[found.lastgroup or 0]
    if kind == "octal":
        return bytes([int(digits, 8) & 255])
    if kind == "hex":
        return bytes([int(digits, 16)])
    if kind == "letter":
        return bytes([_LETTERS[digits[0]]])
    if kind == "wrong":
        raise ValueError(f"has {_meaningless(found['wrong'])}; a backslash is written '\\\\'")
    if int(digits, 16) > 0x10FFFF:
        raise ValueError(f"has the escape '{found[0].decode()}', which is no character")
    return chr(int(digits, 16)).encode()


def _meaningless(escaped: bytes) -> str:
    if escaped.isascii():
        return f"the escape '\\{escaped.decode()}', which means nothing"
    byte = f"a backslash before the byte \\x{escaped.hex()}, which Caffe refuses"
    return f"{byte}, though in GBK and Shift-JIS a backslash may be the half of a character"


@cache
def _escape() -> re.Pattern[bytes]:
    """Compiled for the first backslash: few files have one."""
    return re.compile(
        rb"""\\(?:(?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9a-fA-F]{1,2}) | u(?P<short>[0-9a-fA-F]{4})
        | U(?P<long>[0-9a-fA-F]{8}) | (?P<letter>[abfnrtv\\'"?]) | (?P<wrong>.?))""",
        re.X | re.S,
    )
