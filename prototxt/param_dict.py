"""A Python layer's `param_str` where the layer evaluates it as Python: a dict of literals, never run as code."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from prototxt.errors import NetError
from prototxt.recording import viewed_names

if TYPE_CHECKING:
    from prototxt.net import NetLayer


def dict_of(layer: NetLayer) -> dict[str, object]:
    """The parameters by name; NetError for what is no dict of literals."""
    text = layer.param.python_param.param_str.strip()
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        value = None
    if isinstance(value, dict):
        said: dict[str, object] = {str(name): found for name, found in value.items()}
        return viewed_names(said, layer.record, "python_param.param_str.")
    raise NetError(
        f"param_str {text!r} is no dict of Python; expected one such as {{'pad_t': 1}}",
        position=layer.where("python_param", "param_str"),
        layer=layer.name,
        layer_type=layer.type,
    )
