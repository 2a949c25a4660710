"""Convolution with weights of each place's own, from local_layer.cpp of happynear's and other forks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, narrow, register, wide


def _blobs(call: Call) -> tuple[Array, Array | None, tuple[int, int]]:
    """Weights as outputs × channels × kernel rows × kernel columns × height × width, biases, the top's size."""
    p = call.param.local_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(min(p.num_output, p.kernel_size, p.stride) > 0, "has a num_output, kernel_size or stride of 0")
    channels, *sizes = call.x.shape[1:]
    call.require(min(sizes) >= p.kernel_size, f"has a kernel of {p.kernel_size} for a bottom of {sizes}")
    height, width = ((n + 2 * p.pad - p.kernel_size) // p.stride + 1 for n in sizes)
    call.room((len(call.x), p.num_output, height, width))
    shapes: list[tuple[int, ...]] = [(p.num_output, 1, channels * p.kernel_size**2, height * width)]
    shapes += [(1, 1, p.num_output, height * width)] * p.bias_term
    weight, *bias = call.parameters.take(shapes)
    split = weight.reshape(p.num_output, channels, p.kernel_size, p.kernel_size, height, width)
    return split, (bias[0].reshape(p.num_output, height, width) if bias else None), (height, width)


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    weight, bias, _ = _blobs(call)
    gain = float(np.abs(wide(weight)).sum(axis=(1, 2, 3)).max(initial=0.0))
    return [Sensitivity(weight[0, ..., 0, 0].size + (bias is not None), (gain,))]


@register("Local", error=_error)
def local(call: Call) -> list[Array]:
    """y[m, i, j] = sum over c, h, w of W[m, c, h, w, i, j] x[c, s i + h - pad, s j + w - pad] + b[m, i, j]."""
    p = call.param.local_param
    weight, bias, (height, width) = _blobs(call)
    padded = np.pad(wide(call.x), ((0, 0), (0, 0), (p.pad, p.pad), (p.pad, p.pad)))
    y = np.zeros((len(call.x), p.num_output, height, width))
    for c, h, w in np.ndindex(*weight.shape[1:4]):
        seen = padded[
            :, c, h : h + (height - 1) * p.stride + 1 : p.stride, w : w + (width - 1) * p.stride + 1 : p.stride
        ]
        y += seen[:, None] * weight[:, c, h, w]
    return [narrow(y if bias is None else y + bias)]
