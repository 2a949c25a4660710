"""Convolution and Deconvolution over any number of spatial axes (Caffe: conv_layer.cpp, deconv_layer.cpp).

    convolution    y[o] = sum over c, k of W[o, c, k] x[c, stride·p + dilation·k - pad] + b[o]
    deconvolution  its transpose: x[c, p] W[c, o, k] is added at stride·p + dilation·k - pad

Sums run in float64 on blocks of columns and of weights, so memory stays at a few blocks whatever the image. Convolution
is linear: where several runs of a net give it inputs near each other, a top is that of the first, before it is rounded,
and the convolved difference. The difference is so much smaller that float32 will do for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape
from verify.layers.inner_product import row_norm
from verify.layers.registry import Array, Call, Sensitivity, Wide, blocks, narrow, register, wide
from verify.layers.shared.fused import rectified
from verify.layers.shared.window import Window, pad, read_window

BLOCK_VALUES = 1 << 19
"""Column values gathered at once (4 MB): smaller ones cost more calls, larger ones leave the processor's cache."""
BLOCK_WEIGHTS = 1 << 22
"""Weights widened to float64 at once (32 MB); all of them would take 0.8 GB for VGG's fc6 as a convolution."""

BLOCK_IMAGE = 1 << 16
"""Values of a top made at once where each channel is convolved alone: their sum stays in the processor's cache."""

NEAR = 2.0**-6
"""Share of an input's largest value by which another may differ from it for the difference to be convolved in float32:
what that rounds is as much smaller than what a convolution in float32 rounds."""

_Float = TypeVar("_Float", bound=np.floating[Any])
_CHANNELS = ((slice(None), slice(None)),)
"""All that are read, and all that are made."""

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


def as_stored(weight: Array) -> Array:
    """The weights themselves."""
    return weight


def conv_error(call: Call, tops: Sequence[Array], use: Callable[[Array], Array] = as_stored) -> list[Sensitivity]:
    """Each top reads the bottom of its own place, and no other; `use` gives the weights as they are used."""
    window, channel = read_window(call)
    stored, bias, _ = _learned(call, window, channel, transposed=False)
    rows = use(stored).reshape(stored.shape[0], -1)
    gain, count = row_norm(rows), len(call.bottoms)
    fan_in = rows.shape[1] + (bias is not None)
    return [Sensitivity(fan_in, tuple(gain * (i == place) for i in range(count))) for place in range(len(tops))]


def _beside(call: Call, others: Sequence[Array]) -> list[Array]:
    return convolved(call, [call.x, *others], at_once=True)


@register("Convolution", *DEPTHWISE, bottoms=(1, None), error=conv_error, beside=_beside)
def convolution(call: Call) -> list[Array]:
    """The same weights over each bottom, one top each; output sizes round down."""
    return convolved(call, call.bottoms, at_once=False)


def convolved(
    call: Call, bottoms: Sequence[Array], use: Callable[[Array], Array] = as_stored, *, at_once: bool
) -> list[Array]:
    """The tops of a layer of convolution.

    Args:
        call: the layer at work.
        bottoms: what it reads, here or in other runs of the net.
        use: gives the weights as they are used.
        at_once: whether the bottoms are of several runs, and may be near each other.
    """
    p = call.param.convolution_param
    call.require(p.fusion_type == p.NONE_FUSION, "adds a bottom to its sum (fusion_type)")
    call.require(not p.relu or call.layer.type == "Convolution", "has relu: true, which only Convolution looks at")
    window, channel = read_window(call)
    _check_pairs(call)
    out = positions(call, window, channel)
    stored, bias, group = _learned(call, window, channel, transposed=False)
    weight = use(stored)
    shape = (*call.x.shape[:channel], weight.shape[0], *out)
    inputs = [fold_lead(x, channel) for x in bottoms]
    if at_once:
        tops = convolve_beside(inputs, weight, bias, window, group)
    else:
        tops = [convolve(x, weight, bias, window, group) for x in inputs]
    return [rectified(call, top.reshape(shape), "convolution_param") for top in tops]


def convolve(x: Array, weight: Array, bias: Array | None, window: Window, group: int) -> Array:
    """Convolve samples × channels × spatial with outputs × channels/group × kernel."""
    (y,) = convolve_beside([x], weight, bias, window, group)
    return y


def convolve_beside(
    inputs: Sequence[Array], weight: Array, bias: Array | None, window: Window, group: int
) -> list[Array]:
    """`convolve` of inputs of one shape; of those near the first, what they differ from it by."""
    shape = (len(inputs[0]), len(weight), *window.slides(inputs[0].shape[2:]))
    tops: list[Array] = [np.empty(shape, np.float32) for _ in inputs]
    if window.is_point(strided=True):
        inputs, window = [window.met(x) for x in inputs], window.unstrided()
    near, moves = _near(inputs)
    apart = [place for place in range(len(inputs)) if place not in near]
    by_channel = weight.shape[1] == 1 and group > 1
    slide, parts = (_by_channel, _CHANNELS) if by_channel else (_by_columns, _parts(inputs[0].shape[1], weight, group))
    for read, made in parts:
        taps = _Taps(weight[made], None if bias is None else bias[made])
        for n, place in itertools.product(range(shape[0]), apart):
            x, y = inputs[place][n, read], tops[place][n, made]
            if near and place == 0:
                slide(x, taps, window, y, moves[n, read], [tops[other][n, made] for other in near])
            else:
                slide(x, taps, window, y)
    for place in near:
        if not math.isfinite(float(tops[place].sum())):  # float32 may lack the room for what float64 adds up
            tops[place] = convolve(inputs[place], weight, bias, window, group)
    return tops


def _parts(channels: int, weight: Array, group: int) -> Iterator[tuple[slice, slice]]:
    """Which channels are read, and which are made of them, with so many weights at a time as BLOCK_WEIGHTS allows."""
    ins, outs = channels // group, len(weight) // group
    for g, block in itertools.product(range(group), blocks(outs, BLOCK_WEIGHTS // max(1, weight[0].size))):
        yield slice(g * ins, (g + 1) * ins), slice(g * outs + block.start, g * outs + block.stop)


def _near(inputs: Sequence[Array]) -> tuple[list[int], Array]:
    """The places of the inputs that are near the first, and their differences from it, along a new axis 2."""
    first, *others = inputs
    if not others or not first.size:
        return [], first
    moves: Array = np.empty((*first.shape[:2], len(others), *first.shape[2:]), np.float32)
    near = []
    with np.errstate(all="ignore"):
        limit = NEAR * float(max(first.max(), -first.min()))
        for place, other in enumerate(others):
            move = np.subtract(other, first, out=moves[:, :, place])
            if limit < math.inf and max(move.max(), -move.min()) <= limit:
                near.append(place)
    return [place + 1 for place in near], moves if len(near) == len(others) else moves[:, :, near]


class _Taps:
    """Weights of some outputs, each output's in a row, in float32 and in float64; and their bias."""

    def __init__(self, weight: Array, bias: Array | None) -> None:
        self.stored = weight.reshape(len(weight), -1)
        self.rows = wide(self.stored)
        self.offset = None if bias is None else wide(bias)[:, None]


def _by_columns(
    x: Array, taps: _Taps, window: Window, y: Array, moves: Array | None = None, beside: Sequence[Array] = ()
) -> None:
    """One sample and group: gather the windows of some output rows as columns, multiply, store.

    Args:
        x: channels × spatial.
        taps: the weights.
        window: what slides over x.
        y: the top.
        moves: how far other inputs are from x: channels × inputs × spatial.
        beside: their tops.
    """
    flat = window.is_point()
    targets = [top.reshape(len(top), -1) if flat else top for top in (y, *beside)]
    view = _windows(x, window, np.float64)
    moved = None if moves is None else _windows(moves, window, np.float32)
    sizes, terms = targets[0].shape[1:], taps.rows.shape[1]
    for part in blocks(sizes[0], BLOCK_VALUES // max(1, terms * math.prod(sizes[1:]))):
        some: tuple[Any, ...] = (..., part, *(slice(None),) * (len(sizes) - 1))
        product = taps.rows @ view[some].reshape(terms, -1).astype(np.float64, copy=False)
        if taps.offset is not None:
            product += taps.offset
        shape = targets[0][some].shape
        targets[0][some] = product.reshape(shape)
        if moved is not None:
            changes = np.split(taps.stored @ moved[some].reshape(terms, -1), len(beside), axis=1)
            for target, change in zip(targets[1:], changes, strict=True):
                np.add(product.reshape(shape), change.reshape(shape), out=target[some], casting="same_kind")


def _windows(x: Array, window: Window, kind: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Channels (× inputs) × spatial as channels × kernel (× inputs) × positions; these flat where a window is a value,
    and then in float32.
    """
    axes = len(window.kernel)
    if window.is_point():
        return x.reshape(*x.shape[: x.ndim - axes], -1)
    view = window.view(pad(x, window, kind))
    inputs, places = range(1, x.ndim - axes), range(x.ndim - axes, x.ndim)
    return view.transpose(0, *range(x.ndim, x.ndim + axes), *inputs, *places)


def _by_channel(
    x: Array, taps: _Taps, window: Window, y: Array, moves: Array | None = None, beside: Sequence[Array] = ()
) -> None:
    """One sample, one input channel a group: a sum of shifted images; arguments as of `_by_columns`."""
    repeat, sizes = len(y) // len(x), y.shape[1:]
    for read in blocks(len(x), BLOCK_IMAGE // max(1, repeat * math.prod(sizes))):
        made = slice(read.start * repeat, read.stop * repeat)
        total = _shifted(x[read], taps.rows[made], window, sizes)
        if taps.offset is not None:
            total += taps.offset[made].reshape(-1, *(1,) * len(sizes))
        y[made] = total
        for place, other in enumerate(beside):
            assert moves is not None
            change = _shifted(moves[read, place], taps.stored[made], window, sizes)
            np.add(total, change, out=other[made], casting="same_kind")


def _shifted(x: Array, taps: npt.NDArray[_Float], window: Window, out: Sequence[int]) -> npt.NDArray[_Float]:
    """Each channel under the taps of one output or of several, in the numbers that those are."""
    repeat = len(taps) // len(x)
    padded = pad(x if repeat == 1 else np.repeat(x, repeat, axis=0), window, taps.dtype.type)
    total: npt.NDArray[_Float] = np.zeros((len(taps), *out), taps.dtype)
    product = np.empty_like(total)
    for tap, place in zip(taps.T, itertools.product(*map(range, window.kernel)), strict=True):
        shifted = padded[(slice(None), *_shift(window, place, out))]
        total += np.multiply(shifted, tap.reshape(-1, *(1,) * len(out)), out=product)
    return total


def _shift(window: Window, place: Sequence[int], out: Sequence[int]) -> tuple[slice, ...]:
    """Where, in the padded image, kernel position `place` meets each of `out` positions."""
    spans = zip(place, window.dilation, window.stride, out, strict=True)
    return tuple(slice(k * d, k * d + s * (size - 1) + 1, s) for k, d, s, size in spans)


def deconv_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Each top reads the bottom of its own place; as many windows lie over a value as the kernel has strides."""
    window, channel = read_window(call)
    weight, bias, group = _learned(call, window, channel, transposed=True)
    overlap = math.prod(-(-k // s) for k, s in zip(window.kernel, window.stride, strict=True))
    outs = weight.shape[1]
    rows = weight.reshape(group, -1, outs, math.prod(window.kernel)).swapaxes(1, 2).reshape(group * outs, -1)
    fan_in = weight.shape[0] // group * overlap + (bias is not None)
    count = len(call.bottoms)
    gain = row_norm(rows)
    return [Sensitivity(fan_in, tuple(gain * (i == place) for i in range(count))) for place in range(len(tops))]


@register("Deconvolution", bottoms=(1, None), error=deconv_error)
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
