"""What a Python layer's `param_str` says: the part of YAML in which published nets write it, names with numbers.

'feat_stride': 16                               one pair a line
{'feat_stride': 16, 'scales': [8, 16, 32]}      or all of them in braces
'scales': !!python/tuple [4, 8, 16, 32]         the tag before a list changes nothing
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from prototxt.errors import NetError
from prototxt.recording import viewed_names

if TYPE_CHECKING:
    from prototxt.net import NetLayer

StatedValue: TypeAlias = "float | tuple[float, ...]"

_PAIR = re.compile(
    r"""(?P<quote>['"]?)(?P<name>\w+)(?P=quote)\s*:\s*(!!python/tuple\s*)?(?P<value>\[[^][]*\]|[^][{},\s]+)"""
)
_NEXT_IN_BRACES = re.compile(r"\s*(?:,\s*|$)")
_NEXT_LINE = re.compile(r"[ \t\r]*(?:\n\s*|$)")


def numbers_of(layer: NetLayer) -> dict[str, StatedValue]:
    """The numbers and lists of numbers that a layer's param_str names; NetError for text of another form."""
    whole = layer.param.python_param.param_str
    text, following = whole.strip(), _NEXT_LINE
    if text.startswith("{") and text.endswith("}"):
        text, following = text[1:-1].strip(), _NEXT_IN_BRACES
    found: dict[str, StatedValue] = {}
    place = 0
    while place < len(text):
        pair = _PAIR.match(text, place)
        end = following.match(text, pair.end()) if pair else None
        value = _value(pair["value"]) if pair and end else None
        if pair is None or end is None or value is None:
            raise NetError(
                f"param_str {whole!r} is not understood from {text[place:]!r} on; expected names with numbers, "
                "such as 'feat_stride': 16",
                position=layer.where("python_param", "param_str"),
                layer=layer.name,
                layer_type=layer.type,
            )
        found[pair["name"]] = value
        place = end.end()
    return viewed_names(found, layer.record, "python_param.param_str.")


def _value(text: str) -> StatedValue | None:
    if text.startswith("["):
        inside = text[1:-1].strip().removesuffix(",").rstrip()
        parts = [_number(part.strip()) for part in inside.split(",")] if inside else []
        return None if None in parts else tuple(part for part in parts if part is not None)
    return _number(text)


def _number(text: str) -> float | None:
    """An int where it is written as one; None for anything but a finite decimal number."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?", text):
        return float(text)
    return None
