"""Matrix products and table look-ups (Caffe: inner_product_layer.cpp, embed_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import Array, Call, Feeding, Sensitivity, Wide, blocks, jumps, narrow, register, wide
from verify.layers.shared.fused import rectified

BLOCK_VALUES = 1 << 22
"""Weight values widened to float64 at once (32 MB)."""
LEAST = 1e-30
"""A sum of squares from which on float32 rounds it no more than others."""


def row_norm(rows: Array) -> float:
    """Largest Euclidean norm among the rows: what independent errors of the inputs grow by in a sum.

    In float32 where it has room for the squares: a bound can do without the last digits.
    """
    most = float(np.max(rows[:, None] @ rows[:, :, None], initial=0.0))
    if not LEAST < most < math.inf:
        most = float(np.max(np.einsum("ij,ij->i", rows, rows, dtype=np.float64), initial=0.0))
    return math.sqrt(most)


def _unit_rows(rows: Array) -> Array:
    """Rows over sqrt(sum of squares + 1e-6), as happynear's inner_product_layer.cpp makes them in the blob itself.

    It takes a row to be as many values as there are inputs, whichever way round the matrix lies.
    """
    lengths = np.sqrt((wide(rows) ** 2).sum(axis=1, keepdims=True) + 1e-6)
    return narrow(wide(rows) / lengths)


def _matrix(call: Call) -> tuple[Array, Array | None, int]:
    """Weights as outputs × inputs, bias, and the axis from which the bottom is flattened."""
    p = call.param.inner_product_param
    axis = call.axis(p.axis)
    outputs, inputs = p.num_output, math.prod(call.x.shape[axis:])
    shapes: list[tuple[int, ...]] = [(inputs, outputs) if p.transpose else (outputs, inputs)]
    if p.bias_term:
        shapes.append((outputs,))
    weight, *bias = call.parameters.take(shapes)
    if p.normalize:
        weight = _unit_rows(weight.reshape(outputs, inputs)).reshape(shapes[0])
    return (weight.T if p.transpose else weight), (bias[0] if bias else None), axis


def _of_bottoms(call: Call) -> tuple[Array, Array | None, int]:
    """The same where the second bottom is the weights, and a third the bias (OpenVINO's toolbox for Caffe)."""
    p = call.param.inner_product_param
    unread = ("num_output", "normalize", "weight_filler", "bias_filler")
    call.ignores("the bottoms are its weights", *(f"inner_product_param.{name}" for name in unread))
    call.require(not p.bias_term or len(call.bottoms) == 3, "reads a bias that it does not have; bias_term: false")
    axis, given = call.axis(p.axis), call.bottoms[1]
    inputs, outputs = math.prod(call.x.shape[axis:]), given.shape[0] if given.ndim else 1
    seen = f"the second bottom is {format_shape(given.shape)}, expected outputs × {inputs}"
    call.require(1 <= given.ndim <= 4 and given.size == outputs * inputs, seen)
    weight = given.reshape(inputs, outputs).T if p.transpose else given.reshape(outputs, inputs)
    bias = call.bottoms[2] if len(call.bottoms) == 3 else None
    if bias is not None:
        call.require(bias.size == outputs, f"the third bottom has {bias.size} values for {outputs} outputs")
    return weight, bias.reshape(-1) if bias is not None and p.bias_term else None, axis


def inner_product_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Of `product`, with the layer's own matrix or that of its bottoms."""
    if len(call.bottoms) == 1:
        weight, bias, _ = _matrix(call)
        return product_error(weight, bias)
    weight, bias, _ = _of_bottoms(call)
    (of_x,) = product_error(weight, bias)
    growth = row_norm(call.x.reshape(-1, weight.shape[1]))
    gains = (*of_x.gains, growth, float(bias is not None))
    return [Sensitivity(of_x.fan_in, gains[: len(call.bottoms)])]


def product_error(weight: Array, bias: Array | None) -> list[Sensitivity]:
    """How errors grow in `product`."""
    return [Sensitivity(weight.shape[1] + (bias is not None), (row_norm(weight),))]


def multiplied(call: Call, others: Sequence[Array]) -> list[Array]:
    """The top of the layer's bottom, and of what it reads in other runs."""
    tops = product((call.x, *others), *_matrix(call))
    return [rectified(call, top, "inner_product_param") for top in tops]


def product(bottoms: Sequence[Array], weight: Array, bias: Array | None, axis: int) -> list[Array]:
    """Bottoms of one shape, each flattened from `axis` on, times weights of outputs × inputs, plus bias."""
    x = np.concatenate([wide(bottom.reshape(-1, weight.shape[1])) for bottom in bottoms])
    out: Wide = np.empty((x.shape[0], weight.shape[0]))
    for part in blocks(weight.shape[0], BLOCK_VALUES // max(1, weight.shape[1])):
        out[:, part] = x @ wide(weight[part]).T
    if bias is not None:
        out += bias
    shape = (*bottoms[0].shape[:axis], weight.shape[0])
    return [narrow(each.reshape(shape)) for each in np.split(out, len(bottoms))]


@register(
    "InnerProduct",
    bottoms=(1, 3),
    error=inner_product_error,
    scores=lambda layer: layer.param.inner_product_param.num_output,
    beside=multiplied,
)
def inner_product(call: Call) -> list[Array]:
    """x flattened from `axis` on, times the weights, plus bias; the top keeps the axes before `axis`."""
    if len(call.bottoms) > 1:
        return product((call.x,), *_of_bottoms(call))
    return multiplied(call, ())


def _rows(feeding: Feeding) -> Array:
    """Indices into the table."""
    return feeding.whole(feeding.layer.param.embed_param.input_dim)


@register("Embed", error=jumps, feeds={0: _rows})
def embed(call: Call) -> list[Array]:
    """Row x of a table of `input_dim` rows, plus bias; indices are float blobs, truncated to integers.

    In bottom-up-attention's fork the row lies along the bottom's last axis where that has one value.
    """
    p = call.param.embed_param
    shapes: list[tuple[int, ...]] = [(p.input_dim, p.num_output)]
    if p.bias_term:
        shapes.append((p.num_output,))
    table, *bias = call.parameters.take(shapes)
    index = call.x.astype(np.int64)
    call.require(bool(np.all((index >= 0) & (index < p.input_dim))), f"an index is not within 0 and {p.input_dim - 1}")
    rows = table[index]
    if call.layer.dialect == "bottom_up_attention":
        call.require(index.ndim > 0, "a bottom without axes")
        if index.shape[-1] == 1:
            rows = rows.reshape(*index.shape[:-1], p.num_output)
    return [narrow(wide(rows) + bias[0]) if bias else rows]
