"""Values of options as people write them: sizes, shapes, names, shares. ValueError says what was expected."""

from __future__ import annotations

import math

LARGEST_SIDE = 1 << 15
MOST_SECONDS = 10.0**7
"""Four months; the system's timers end soon after."""


def count(text: str) -> int:
    """A number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A time above 0."""
    value = _number(text)
    if not 0 < value <= MOST_SECONDS:
        raise ValueError(f"{text!r} is no time in seconds above 0")
    return value


def percent(text: str) -> float:
    """An error from 0 to 100, with or without its sign."""
    value = _number(text.removesuffix("%"))
    if not 0 <= value <= 100:
        raise ValueError(f"{text!r} is no error in percent")
    return value


def share(text: str) -> float:
    """A number of 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r} is no number of 0 or more")
    return value


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is no number from 0 to 1")
    return value


def size(text: str) -> tuple[int, int]:
    """`224` or `224x224`, height and width."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) < LARGEST_SIDE for part in parts):
        raise ValueError(f"{text!r} is no size; expected 224 or 224x224 (height x width)")
    return int(parts[0]), int(parts[-1])


def resize(text: str) -> tuple[int, ...]:
    """`256` -> (256,), `256x256` -> (256, 256), `none` -> ()."""
    if text == "none":
        return ()
    height, width = size(text)
    return (height, width) if "x" in text.lower() or "×" in text else (height,)


def counts(text: str) -> tuple[int, ...]:
    """Numbers above 0, separated by commas."""
    return tuple(count(part.strip()) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise ValueError("expected names separated by commas")
    return found


def shape(text: str) -> tuple[str, tuple[int | str, ...]]:
    """`data=N,3,224,224` -> ("data", ("N", 3, 224, 224))."""
    name, equals, dims = text.rpartition("=")
    parts = [part.strip() for part in dims.split(",")] if dims.strip() else []
    if not equals or not name:
        raise ValueError(f"{text!r} is no shape; expected BLOB=N,C,H,W")
    return name, tuple(_dimension(part, text) for part in parts)


def dialect(text: str) -> tuple[str, str]:
    """`Interp=openvino` -> ("Interp", "openvino"); without a type it is for all."""
    kind, _, fork = text.rpartition("=")
    return kind, fork


def _dimension(part: str, text: str) -> int | str:
    if part.isdigit() and 0 < int(part) < 1 << 31:
        return int(part)
    if not part.isidentifier():
        raise ValueError(f"{part!r} in {text!r} is neither a size above 0 nor a letter")
    return part


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
