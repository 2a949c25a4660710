"""Layers that enlarge or shrink images: interpolation, repeated pixels, and pooling undone by its mask.

All are forks' layers. Facts from the sources of DeepLab v2 and Synopsys' fork (interp_layer.cpp, interp.cpp), of
SegNet (upsample_layer.cpp with a mask), of the YOLO v3 forks (upsample_layer.cpp with a scale) and of Synopsys' fork
(upsample_darknet_layer.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.words import format_shape
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, Wide, narrow, register, wide
from verify.layers.unpooling import places, put_back


def _interp_size(call: Call, rows: int, columns: int) -> tuple[int, int]:
    """Size of the top, for a bottom of rows × columns after its crop.

    The first that is given: a second bottom; shrink or zoom alone; height and width; shrink and then zoom; full zoom.
    OpenVINO multiplies the size where DeepLab zooms the steps between pixels.
    """
    p = call.param.interp_param
    zoom, shrink = p.HasField("zoom_factor"), p.HasField("shrink_factor")
    factors = {"zoom": p.zoom_factor, "shrink": p.shrink_factor, "full_zoom": p.full_zoom_factor}
    for name, factor in factors.items():
        call.require(factor >= 1, f"{name}_factor {factor} is not positive")
    by_blob = p.use_blob_size
    if len(call.bottoms) == 2:
        sizes = zoom or shrink or p.HasField("height") or p.HasField("width")
        call.require(not sizes, "takes its size from the second bottom, and cannot have one of its own")
        call.require(call.bottoms[1].ndim == 4, f"the second bottom has {call.bottoms[1].ndim} axes, expected 4")
        return call.bottoms[1].shape[2], call.bottoms[1].shape[3]
    call.require(not by_blob, "use_blob_size needs a second bottom")
    if zoom != shrink:
        call.ignores("one factor alone goes before", "interp_param.height", "interp_param.width")
    if zoom == shrink and p.HasField("height") and p.HasField("width"):
        return p.height, p.width
    if not zoom and not shrink:
        call.require(p.HasField("full_zoom_factor"), "says neither height and width nor a factor")
        return rows * p.full_zoom_factor, columns * p.full_zoom_factor
    if zoom and not shrink and call.layer.dialect == "openvino":
        return rows * p.zoom_factor, columns * p.zoom_factor
    small = [(size - 1) // p.shrink_factor + 1 for size in (rows, columns)]
    return small[0] + (small[0] - 1) * (p.zoom_factor - 1), small[1] + (small[1] - 1) * (p.zoom_factor - 1)


def between(lanes: Wide, count: int) -> Wide:
    """The first axis sampled at `count` even steps from its first value to its last, in straight lines between."""
    size = lanes.shape[0]
    if size == count:
        return lanes
    where = np.arange(count) * ((size - 1) / (count - 1)) if count > 1 else np.zeros(1)
    low = np.minimum(where.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = (where - low).reshape(-1, *(1,) * (lanes.ndim - 1))
    mixed: Wide = (1.0 - share) * lanes[low] + share * lanes[high]
    return mixed


def _interp_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Positions are float32 too: off by 2 · size · u, and the value by that times a step, up to twice the largest."""
    terms = 4 + max(call.x.shape[2:]) ** 2 // 4
    return [Sensitivity(terms, (1.0, 0.0)[: len(call.bottoms)])]


@register("Interp", bottoms=(1, 2), error=_interp_error)
def interp(call: Call) -> list[Array]:
    """Bilinear, corners on corners: row i of the top lies at i (rows - 1) / (top rows - 1), and a lone row at 0.

    `pad_beg` and `pad_end`, 0 or below, cut that many rows and columns off before.
    """
    p = call.param.interp_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(max(p.pad_beg, p.pad_end) <= 0, f"pad_beg {p.pad_beg} and pad_end {p.pad_end} can only crop")
    ends = [size + p.pad_end for size in call.x.shape[2:]]
    x = call.x[:, :, -p.pad_beg : max(ends[0], 0), -p.pad_beg : max(ends[1], 0)]
    call.require(min(x.shape[2:]) > 0, f"pad_beg {p.pad_beg} and pad_end {p.pad_end} leave nothing")
    size = _interp_size(call, x.shape[2], x.shape[3])
    call.require(min(size) > 0, f"a top of {format_shape(size)} is not positive")
    call.room((*x.shape[:2], *size))
    y = wide(x)
    for axis, count in zip((2, 3), size, strict=True):
        y = np.moveaxis(between(np.moveaxis(y, axis, 0), count), 0, axis)
    return [narrow(y)]


def _repeat(call: Call, factor: int) -> Array:
    """Each pixel `factor` times down and across."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(factor > 0, f"factor {factor} is not positive")
    call.room((*call.x.shape, factor, factor))
    return np.repeat(np.repeat(call.x, factor, axis=2), factor, axis=3)


@register("UpsampleDarknet")
def upsample_darknet(call: Call) -> list[Array]:
    """Each pixel `stride` times down and across (Synopsys' fork: upsample_darknet_layer.cpp)."""
    return [_repeat(call, call.param.upsample_darknet_param.stride)]


def _unpooled_size(call: Call) -> tuple[int, int]:
    """Rows and columns of a top that undoes pooling; `pad_out_h` takes a row off, where the pooling rounded up."""
    p = call.param.upsample_param
    if p.HasField("upsample_h") and p.HasField("upsample_w"):
        call.require(min(p.upsample_h, p.upsample_w) > 1, "upsample_h and upsample_w must be above 1")
        factors = ("scale", "scale_h", "scale_w", "pad_out_h", "pad_out_w")
        call.ignores("upsample_h and upsample_w are the size", *(f"upsample_param.{name}" for name in factors))
        return p.upsample_h, p.upsample_w
    both, either = p.HasField("scale_h") and p.HasField("scale_w"), p.HasField("scale_h") or p.HasField("scale_w")
    call.require(both or not either, "needs scale_h and scale_w together")
    call.require(not (both and p.HasField("scale")), "has scale, and scale_h and scale_w")
    scales = (p.scale_h, p.scale_w) if both else (_whole_scale(call), _whole_scale(call))
    call.require(min(scales) > 1, f"scale {scales[0]}×{scales[1]} is not above 1")
    drops = (p.pad_out_h, p.pad_out_w)
    for scale, drop in zip(scales, drops, strict=True):
        call.require(scale == 2 or not drop, f"pad_out needs scale 2, it is {scale}")
    return call.x.shape[2] * scales[0] - drops[0], call.x.shape[3] * scales[1] - drops[1]


def _whole_scale(call: Call) -> int:
    """The schema's default is that of the forks with a mask; those without have 1."""
    p = call.param.upsample_param
    scale = p.scale if len(call.bottoms) == 2 or p.HasField("scale") else 1.0
    call.require(math.isfinite(scale) and scale == int(scale), f"scale {scale:g} is not a whole number")
    return int(scale)


def _upsample_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.upsample_param
    if any(p.HasField(name) for name in _OF_YOLOV5) and p.mode == p.BILINEAR:
        return _interp_error(call, tops)
    return [Sensitivity(1, (1.0, UNBOUNDED)[: len(call.bottoms)])]


_OF_YOLOV5 = ("height", "width", "height_scale", "width_scale", "mode")


def _grown(call: Call) -> Array:
    """To `height` × `width` where both are stated, else by the two scales; in straight lines, corners on corners.

    NEAREST takes for pixel i of a side the one at i · old / new, rounded down.
    """
    p = call.param.upsample_param
    call.require(call.x.ndim == 4 and len(call.bottoms) == 1, "needs one bottom of 4 axes")
    old = call.x.shape[2:]
    if p.HasField("height") and p.HasField("width"):
        call.ignores("the size is stated", "upsample_param.height_scale", "upsample_param.width_scale")
        call.require(min(p.height, p.width) > 1, f"a size of {p.height}×{p.width} is below 2×2")
        new = p.height, p.width
    else:
        call.require(p.HasField("height_scale") and p.HasField("width_scale"), "states no size")
        call.ignores("it takes both", "upsample_param.height", "upsample_param.width")
        call.require(min(p.height_scale, p.width_scale) > 1, "has a scale below 2")
        new = old[0] * p.height_scale, old[1] * p.width_scale
    call.room((*call.x.shape[:2], *new))
    if p.mode == p.NEAREST:
        rows, columns = (np.arange(count) * size // count for size, count in zip(old, new, strict=True))
        return call.x[:, :, rows][..., columns]
    y = wide(call.x)
    for axis, count in zip((2, 3), new, strict=True):
        y = np.moveaxis(between(np.moveaxis(y, axis, 0), count), 0, axis)
    return narrow(y)


@register("Upsample", bottoms=(1, 2), error=_upsample_error, feeds={1: places})
def upsample(call: Call) -> list[Array]:
    """Two forks' layers of one name: with a mask as second bottom max pooling undone, without one pixels repeated.

    The first is SegNet's, and its size is `upsample_h` × `upsample_w`, else the bottom's times `scale` (2 unless said)
    or `scale_h` and `scale_w`. The second is that of the YOLO v3 forks and knows only `scale`, 1 unless said; inisis'
    also takes bottoms of 3 axes (`dims_num`), of which the last grows. Wulingtian's for YOLOv5 knows neither.
    """
    if any(call.param.upsample_param.HasField(name) for name in _OF_YOLOV5):
        return [_grown(call)]
    if len(call.bottoms) == 2:
        call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
        call.same_shapes()
        return [put_back(call, *_unpooled_size(call))]
    p = call.param.upsample_param
    fields = ("scale_h", "scale_w", "upsample_h", "upsample_w", "pad_out_h", "pad_out_w")
    foreign = [name for name in fields if p.HasField(name)]
    call.require(not foreign, f"has {', '.join(foreign)}, which needs a mask as second bottom")
    if p.dims_num == 3:
        call.require(call.x.ndim == 3 and _whole_scale(call) > 0, "needs a bottom of 3 axes and a scale above 0")
        return [np.repeat(call.x, _whole_scale(call), axis=2)]
    return [_repeat(call, _whole_scale(call))]
