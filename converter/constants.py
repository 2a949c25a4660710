"""What an operator makes of constants, computed as it is recorded instead of every time that the model runs.

A net of fixed sizes knows more than its weights: where its prior boxes lie, how many rows a head has, what the shape of
a map is. Only operators whose result is the same to the last bit wherever it is computed are here: those that move
values or compare them, and those that IEEE 754 rounds. Learned weights are no constants in this sense: they are read
when they are written, and stay what the net's owner knows them as.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROOM = 1 << 18
"""Bytes up to which a result may be larger than all it is made of; from there on the operator is the shorter form."""

_TYPES: Mapping[int, npt.DTypeLike] = {1: np.float32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""By TensorProto's numbers, as Cast is given them."""


def computed(type: str, inputs: Sequence[Array], attributes: Mapping[str, Any]) -> Array | None:
    """The operator's one result; None where it is not computed here, or would take more room than it is worth."""
    rule = _RULES.get(type)
    if rule is None:
        return None
    with np.errstate(all="ignore"):  # what the model would have computed: an infinity is one there, too
        result = rule(*inputs, **attributes)
    if result is None or result.nbytes > max(ROOM, sum(x.nbytes for x in inputs)):
        return None
    return np.ascontiguousarray(result).reshape(result.shape)  # numpy makes a vector of a contiguous scalar


def _divided(x: Array, by: Array) -> Array | None:
    """Of whole numbers ONNX leaves the rounding of negative ones to the runtime."""
    return np.divide(x, by) if x.dtype.kind == "f" else None


def _reshaped(x: Array, target: Array) -> Array:
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(target)])


def _sliced(x: Array, starts: Array, stops: Array, axes: Array, steps: Array | None = None) -> Array:
    cuts = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        cuts[axis] = slice(int(starts[i]), int(stops[i]), 1 if steps is None else int(steps[i]))
    return x[tuple(cuts)]


def _padded(x: Array, pads: Array, value: Array | None = None, mode: str = "constant") -> Array | None:
    if mode != "constant" or pads.min(initial=0) < 0:
        return None
    fill = 0 if value is None else value
    return np.pad(x, pads.reshape(2, -1).T, constant_values=fill)


_RULES: Mapping[str, Callable[..., Array | None]] = {
    "Abs": np.abs,
    "Add": np.add,
    "Cast": lambda x, to: x.astype(_TYPES[to]),
    "Concat": lambda *x, axis: np.concatenate(x, axis),
    "Div": _divided,
    "Expand": lambda x, size: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(size))),
    "Floor": np.floor,
    "Gather": lambda x, places, axis: np.take(x, places, axis),
    "GreaterOrEqual": np.greater_equal,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Pad": _padded,
    "Range": lambda start, stop, step: np.arange(start, stop, step, dtype=start.dtype),
    "Reshape": _reshaped,
    "Sign": np.sign,
    "Slice": _sliced,
    "Squeeze": lambda x, axes: x.squeeze(tuple(axes)),
    "Sub": np.subtract,
    "Transpose": lambda x, perm: x.transpose(perm),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)),
}
