"""What messages say in one way wherever they say it: shapes, numbers of things, lists, reasons, long texts cut short.

How a name that may hold any bytes is written is in `prototxt.names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prototxt.names import shown


def format_shape(shape: Iterable[object]) -> str:
    """`64×3×7×7`; `scalar` for no axes."""
    return "×".join(map(str, shape)) or "scalar"


def plural(number: int, noun: str) -> str:
    """`1 layer`, `2 layers`, `2,048 layers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    head, tail = words[:-1], words[-1:]
    return f" {last} ".join(filter(None, (", ".join(head), *tail)))


def few(words: Sequence[str], most: int) -> str:
    """`a, b` for a few words, `a, b, c, d and 7 more` for many."""
    beginning = ", ".join(words[:most])
    return beginning if len(words) <= most else f"{beginning} and {len(words) - most:,} more"


def named(names: Sequence[str], most: int = 4) -> str:
    """`few` of some names, each in quotes."""
    return few(list(map(repr, names)), most)


def nearest(wish: str, words: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """The words that look like what somebody wrote, the nearest first; `difflib` is loaded for who errs."""
    from difflib import get_close_matches

    return get_close_matches(wish, list(words), most, cutoff)


def first_line(error: BaseException) -> str:
    """An exception in one line, since runtimes add stack traces to theirs; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def reason(error: BaseException) -> str:
    """Why something failed, in one line: for an error of the system its own words, without number and file."""
    return getattr(error, "strerror", None) or first_line(error)


def unreadable(error: BaseException) -> str:
    """What a message says of a file that `error` kept from being read."""
    return f"cannot be read: {reason(error)}"


def cut(text: str, most: int) -> str:
    """At most `most` characters of a text, cut in its middle: names often differ at their ends alone."""
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def shortened(text: str, most: int = 60) -> str:
    """`cut` for what comes from a file: written as a terminal may show it (`prototxt.names.shown`)."""
    return cut(shown(cut(text, most)), most)


def quoted(value: str) -> str:
    """A value of a text file, shortened: in the quotes that it has, or in single ones."""
    return shortened(value) if value[0] in "\"'" else f"'{shortened(value)}'"
