"""Convolution and Deconvolution over any number of spatial axes (Caffe: conv_layer.cpp, deconv_layer.cpp).

    convolution    y[o] = sum over c, k of W[o, c, k] x[c, stride·p + dilation·k - pad] + b[o]
    deconvolution  its transpose: x[c, p] W[c, o, k] is added at stride·p + dilation·k - pad

Sums run in float64 on blocks of columns and of weights, so memory stays at a few blocks whatever the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from prototxt.caffe_pb2 import LayerParameter
from prototxt.words import format_shape
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, Wide, blocks, narrow, register, wide
from verify.layers.shared.fused import rectified
from verify.layers.shared.window import Window, pad_wide, read_window

BLOCK_VALUES = 1 << 21
"""Column values gathered at once (16 MB): larger is no faster, measured on ResNet-50."""
BLOCK_WEIGHTS = 1 << 22
"""Weights widened to float64 at once (32 MB); all of them would take 0.8 GB for VGG's fc6 as a convolution."""

DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise")
"""Forks' layers for one group a channel; the `group` written in them is ignored, as their code ignores it."""


def _groups(call: Call, channels: int) -> int:
    if call.layer.type not in DEPTHWISE:
        return call.param.convolution_param.group
    call.ignores("a group for each channel", "convolution_param.group")
    return channels


def _outputs(call: Call, channels: int) -> int:
    """`num_output`. ConvolutionDepthwise makes the channels that it gets unless `num_output` is a multiple of them.

    The code of that name's first fork (conv_dw_layer.cpp) doesn't look at `num_output`; Synopsys' makes that many.
    """
    wanted = call.param.convolution_param.num_output
    if call.layer.type == "ConvolutionDepthwise" and (wanted == 0 or wanted % channels):
        return channels
    return wanted


def _learned(call: Call, window: Window, channel: int, *, transposed: bool) -> tuple[Array, Array | None, int]:
    """Weights, bias, groups; weights are outputs × inputs/group × kernel, first two swapped when transposed."""
    p = call.param.convolution_param
    channels = call.x.shape[channel]
    outputs = _outputs(call, channels)
    group = _groups(call, channels)
    call.require(outputs > 0, f"num_output {outputs} is not positive")
    divides = group > 0 and channels % group == 0 and outputs % group == 0
    call.require(divides, f"{channels} channels and num_output {outputs} do not divide into {group} groups")
    first, second = (channels, outputs) if transposed else (outputs, channels)
    shapes: list[tuple[int, ...]] = [(first, second // group, *window.kernel)]
    if p.bias_term:
        shapes.append((outputs,))
    weight, *bias = call.parameters.take(shapes)
    return weight, (bias[0] if bias else None), group


def fold_lead(x: Array, channel: int) -> Array:
    """Axes before the channels as one: samples × channels × spatial."""
    return x.reshape((math.prod(x.shape[:channel]), *x.shape[channel:]))


def _check_pairs(call: Call) -> None:
    bottoms, tops = len(call.bottoms), len(call.layer.tops)
    call.require(bottoms == tops, f"has {bottoms} bottoms and {tops} tops, expected one top each")
    call.same_shapes()


def positions(call: Call, window: Window, channel: int) -> tuple[int, ...]:
    """Sizes of the top behind the channels; refuses a kernel larger than the padded bottom, and a top too large."""
    sizes = call.x.shape[channel + 1 :]
    out = window.slides(sizes)
    small = (
        f"kernel {format_shape(window.extent)} is larger than {format_shape(sizes)} with pad {format_shape(window.pad)}"
    )
    call.require(all(size > 0 for size in out), small)
    call.room((*call.x.shape[: channel + 1], *window.padded(sizes)))
    call.room((*call.x.shape[:channel], call.param.convolution_param.num_output, *out))
    return out


def _conv_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Each top reads the bottom of its own place, and no other."""
    window, channel = read_window(call)
    weight, bias, _ = _learned(call, window, channel, transposed=False)
    rows = weight.reshape(weight.shape[0], -1)
    gain, count = row_norm(rows), len(call.bottoms)
    fan_in = rows.shape[1] + (bias is not None)
    return [Sensitivity(fan_in, tuple(gain * (i == place) for i in range(count))) for place in range(len(tops))]


def _by_item(param: LayerParameter) -> bool:
    return param.convolution_param.axis > 0


@register("Convolution", *DEPTHWISE, bottoms=(1, None), error=_conv_error, by_item=_by_item)
def convolution(call: Call) -> list[Array]:
    """The same weights over each bottom, one top each; output sizes round down."""
    p = call.param.convolution_param
    call.require(p.fusion_type == p.NONE_FUSION, "adds a bottom to its sum (fusion_type)")
    call.require(not p.relu or call.layer.type == "Convolution", "has relu: true, which only Convolution looks at")
    window, channel = read_window(call)
    _check_pairs(call)
    out = positions(call, window, channel)
    weight, bias, group = _learned(call, window, channel, transposed=False)
    shape = (*call.x.shape[:channel], weight.shape[0], *out)
    tops = [convolve(fold_lead(x, channel), weight, bias, window, group).reshape(shape) for x in call.bottoms]
    return [rectified(call, top, "convolution_param") for top in tops]


def convolve(x: Array, weight: Array, bias: Array | None, window: Window, group: int) -> Array:
    """Convolve samples × channels × spatial with outputs × channels/group × kernel."""
    out = window.slides(x.shape[2:])
    y: Array = np.empty((x.shape[0], weight.shape[0], *out), np.float32)
    spread = (1,) * len(out)
    offset = None if bias is None else wide(bias).reshape(-1, *spread)
    if weight.shape[1] == 1 and group > 1:
        _by_channel(x, weight, offset, window, y)
        return y
    if window.is_point(strided=True):
        x, window = window.met(x), window.unstrided()
    ins, outs = x.shape[1] // group, weight.shape[0] // group
    for g, block in itertools.product(range(group), blocks(outs, BLOCK_WEIGHTS // max(1, weight[0].size))):
        part = slice(g * outs + block.start, g * outs + block.stop)
        rows = wide(weight[part].reshape(block.stop - block.start, -1))
        for n in range(x.shape[0]):
            _by_columns(
                x[n, g * ins : (g + 1) * ins], rows, None if offset is None else offset[part], window, y[n, part]
            )
    return y


def _by_columns(x: Array, rows: Wide, offset: Wide | None, window: Window, y: Array) -> None:
    """One sample and group: gather the windows of some output rows as columns, multiply, store."""
    if window.is_point():
        flat, target = x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1)
        for part in blocks(flat.shape[1], BLOCK_VALUES // max(1, x.shape[0])):
            _store(rows @ wide(flat[:, part]), offset, target[:, part])
        return
    spatial = len(window.kernel)
    view = window.view(pad_wide(x, window))
    kernel_first = (0, *range(1 + spatial, 1 + 2 * spatial), *range(1, 1 + spatial))
    view = view.transpose(kernel_first)
    per_row = rows.shape[1] * math.prod(y.shape[2:])
    for part in blocks(y.shape[1], BLOCK_VALUES // max(1, per_row)):
        columns = view[(*(slice(None),) * (1 + spatial), part)]
        product = rows @ columns.reshape(rows.shape[1], -1)
        _store(product.reshape(y[:, part].shape), offset, y[:, part])


def _store(product: Wide, offset: Wide | None, y: Array) -> None:
    """Add the bias and round."""
    if offset is None:
        y[...] = product
    else:
        np.add(product, offset.reshape(-1, *(1,) * (y.ndim - 1)), out=y, casting="same_kind")


def _by_channel(x: Array, weight: Array, offset: Wide | None, window: Window, y: Array) -> None:
    """One input channel a group: a sum of shifted images, all channels at once."""
    repeat = weight.shape[0] // x.shape[1]
    taps = wide(weight.reshape(weight.shape[0], -1))
    for n in range(x.shape[0]):
        padded = pad_wide(x[n], window)
        total: Wide = np.zeros(y[n].shape) if offset is None else np.broadcast_to(offset, y[n].shape).copy()
        for tap, place in zip(taps.T, itertools.product(*map(range, window.kernel)), strict=True):
            shifted = padded[(slice(None), *_shift(window, place, y.shape[2:]))]
            factor = tap.reshape(-1, *(1,) * len(place))
            total += factor * (np.repeat(shifted, repeat, axis=0) if repeat > 1 else shifted)
        y[n] = total


def _shift(window: Window, place: Sequence[int], out: Sequence[int]) -> tuple[slice, ...]:
    """Where, in the padded image, kernel position `place` meets each of `out` positions."""
    spans = zip(place, window.dilation, window.stride, out, strict=True)
    return tuple(slice(k * d, k * d + s * (size - 1) + 1, s) for k, d, s, size in spans)


def _deconv_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    window, channel = read_window(call)
    weight, bias, group = _learned(call, window, channel, transposed=True)
    overlap = math.prod(-(-k // s) for k, s in zip(window.kernel, window.stride, strict=True))
    outs = weight.shape[1]
    rows = weight.reshape(group, -1, outs, math.prod(window.kernel)).swapaxes(1, 2).reshape(group * outs, -1)
    fan_in = weight.shape[0] // group * overlap + (bias is not None)
    count = len(call.bottoms)
    gain = row_norm(rows)
    return [Sensitivity(fan_in, tuple(gain * (i == place) for i in range(count))) for place in range(len(tops))]


@register("Deconvolution", bottoms=(1, None), error=_deconv_error)
def deconvolution(call: Call) -> list[Array]:
    """The transpose of Convolution: weights are inputs × outputs/group × kernel, sizes grow by the stride."""
    call.require(not call.param.convolution_param.relu, "has relu: true, which only Intel's Convolution looks at")
    window, channel = read_window(call)
    _check_pairs(call)
    out = window.spreads(call.x.shape[channel + 1 :])
    call.require(all(size > 0 for size in out), f"pad {format_shape(window.pad)} leaves nothing of the top")
    call.room((*call.x.shape[:channel], call.param.convolution_param.num_output, *out))
    weight, bias, group = _learned(call, window, channel, transposed=True)
    shape = (*call.x.shape[:channel], weight.shape[1] * group, *out)
    return [spread(fold_lead(x, channel), weight, bias, window, group).reshape(shape) for x in call.bottoms]


def spread(x: Array, weight: Array, bias: Array | None, window: Window, group: int) -> Array:
    """The transpose of `convolve`: samples × channels × spatial with channels × outputs/group × kernel."""
    sizes = x.shape[2:]
    canvas_sizes = window.padded(window.spreads(sizes))
    outs = weight.shape[1]
    taps = wide(weight.reshape(group, x.shape[1] // group, outs, -1)).transpose(3, 0, 2, 1)
    result: Array = np.empty((x.shape[0], group * outs, *window.spreads(sizes)), np.float32)
    inner = tuple(slice(p, p + s) for s, p in zip(window.spreads(sizes), window.pad, strict=True))
    for n in range(x.shape[0]):
        flat = wide(x[n]).reshape(group, x.shape[1] // group, -1)
        canvas: Wide = np.zeros((group * outs, *canvas_sizes))
        for tap, place in zip(taps, itertools.product(*map(range, window.kernel)), strict=True):
            product = tap @ flat
            canvas[(slice(None), *_shift(window, place, sizes))] += product.reshape(group * outs, *sizes)
        if bias is not None:
            canvas += wide(bias).reshape(-1, *(1,) * len(sizes))
        result[n] = narrow(canvas[(slice(None), *inner)])
    return result
