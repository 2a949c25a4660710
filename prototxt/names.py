r"""Names as Caffe has them: bytes in no stated encoding, which here are one `str` from the file to what is written.

Caffe compares names byte by byte, and files in GBK, Shift-JIS or Latin-1 are common. A name is its text in UTF-8; each
byte that is no UTF-8 stands in it as one character of a block for private use, U+10F780 to U+10F7FF, because a protobuf
message holds no lone surrogates. A genuine character of that block counts as its four bytes, so that every name has one
form and every form gives its bytes back.

    from_bytes(b"fc\xa3")    ->  "fc\U0010f7a3"    whatever is read, of a text or a binary file
    to_bytes("fc\U0010f7a3") ->  b"fc\xa3"         what is written for Caffe
    utf8("fc\U0010f7a3")     ->  r"fc\xa3"         what other formats and JSON get, and what a user may type
    shown("fc\U0010f7a3")    ->  r"fc\xa3"         for the terminal; control characters and the like are escaped too
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

_FIRST = 0x10F700
_SURROGATE = 0xDC00
# Compiled when a name is found that is not ASCII.
_RAW = "[\udc80-\udcff\U0010f780-\U0010f7ff]"
_RAW_AMONG_OTHERS = "[^\0-\x7f]*[\udc80-\udcff\U0010f780-\U0010f7ff][^\0-\x7f]*"
_SURROGATES = "[\udc80-\udcff]"
_HELD = "[\U0010f780-\U0010f7ff]"
_UNFIT = "[\ud800-\udfff\U0010f780-\U0010f7ff]"
_REPR = r"(?<!\\)((?:\\\\)*)\\(?:U0010f7|udc)([89a-f][0-9a-f])"


def from_bytes(data: bytes) -> str:
    """The name, or the whole text, of some bytes."""
    if data.isascii():
        return data.decode("ascii")
    return re.sub(_RAW, _hold, data.decode("utf-8", "surrogateescape"))


def to_bytes(name: str) -> bytes:
    """The bytes of a name; the inverse of `from_bytes`."""
    if name.isascii():
        return name.encode("ascii")
    return re.sub(_HELD, lambda found: chr(ord(found[0]) - _FIRST + _SURROGATE), name).encode(
        "utf-8", "surrogateescape"
    )


def typed(text: str) -> str:
    """A name or a text from the command line or from Python, where bytes that are no UTF-8 are lone surrogates."""
    return text if text.isascii() else re.sub(_SURROGATES, _hold, text)


def file_name(text: str) -> str:
    """A path that a net states, as Python's file functions take it."""
    return os.fsdecode(to_bytes(text))


def named_by(text: str, names: Iterable[str]) -> str:
    """Which of some names a user means: by its bytes, or else by a form in which it was shown; else the text itself."""
    return naming(names)(text)


def naming(names: Iterable[str]) -> Callable[[str], str]:
    """`named_by` for many texts: the names are gone through once, and once more where a text is none of them."""
    known = dict.fromkeys(names)
    forms: dict[str, str] = {}

    def named(text: str) -> str:
        wish = typed(text)
        if wish in known:
            return wish
        if not forms:
            for name in known:
                forms.setdefault(utf8(name), name)
                forms.setdefault(shown(name), name)
        return forms.get(text, wish)

    return named


def is_utf8(name: str) -> bool:
    """Whether a name's bytes are UTF-8."""
    return name.isascii() or re.search(_HELD, name) is None


def is_unicode(name: str) -> bool:
    """Whether a name is text that `str.encode` takes, without characters that stand for bytes."""
    return name.isascii() or re.search(_UNFIT, name) is None


def utf8(name: str) -> str:
    r"""A name for a format that holds UTF-8, whole in every runtime; of one that is none the bytes, `\xc8\xab`.

    NUL, where many readers end a name, is escaped too.
    """
    if name.isascii():
        return name.replace("\0", r"\x00")
    return "".join(map(_bytes, name) if re.search(_UNFIT, name) else name).replace("\0", r"\x00")


def readable(text: str) -> str:
    """A sentence with names in it, as they are or as `repr` gave them, without characters that stand for bytes.

    What is not ASCII around such a byte, and by accident looks like UTF-8, is written as bytes with it.
    """
    if "\\" in text:
        text = re.sub(_REPR, lambda found: found[1] + chr(_FIRST + int(found[2], 16)), text)
    return text if text.isascii() else re.sub(_RAW_AMONG_OTHERS, lambda found: "".join(map(_bytes, found[0])), text)


def shown(text: str) -> str:
    """`readable` on one line: whatever a terminal would act upon or not show is written as its escape as well."""
    text = readable(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown_lines(text: str) -> str:
    """`shown` for a text of several lines."""
    return "\n".join(map(shown, text.split("\n")))


def _hold(found: re.Match[str]) -> str:
    """A byte that was no UTF-8, or a genuine character of the block, as characters of the block."""
    code = ord(found[0])
    if code < _FIRST:
        return chr(code - _SURROGATE + _FIRST)
    return "".join(chr(_FIRST + byte) for byte in found[0].encode())


def _bytes(character: str) -> str:
    """A character outside ASCII as the escapes of its bytes."""
    if character.isascii():
        return character
    raw = bytes([ord(character) & 0xFF]) if re.match(_RAW, character) else character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in raw)
