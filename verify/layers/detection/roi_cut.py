"""A box cut out of a map, and boxes moved by offsets (CNN_tabletennis: its Python layers in cut_roi_layer)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from prototxt.words import format_shape, listed
from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, narrow, register, wide


@register("Python cut_roi_layer.layer.CutROILayer", error=lambda call, tops: _cut_error(tops))
def cut_roi(call: Call) -> list[Array]:
    """Of each image the largest value, and the box x0 y0 x1 y1 of what exceeds half of it, ends behind the last.

    Rows and columns are told apart by their largest value in channel 0; of several runs the box goes from the start of
    the last one to its end. Where nothing exceeds, the fork leaves the box of the run before, at first zeros.
    """
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    peaks = call.x.max(axis=(1, 2, 3))
    box = np.zeros((len(peaks), 4), np.float32)
    for n, peak in enumerate(peaks):
        half = peak / np.float32(2)
        for place, largest in ((0, call.x[n, 0].max(axis=0)), (1, call.x[n, 0].max(axis=1))):
            above = np.concatenate([[False], largest > half, [False]])
            starts, ends = (np.flatnonzero(np.diff(above.astype(np.int8)) == sign) for sign in (1, -1))
            if len(starts):
                box[n, place], box[n, place + 2] = starts[-1], ends[-1]
    return [box, peaks]


def _cut_error(tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(1, (UNBOUNDED,)), Sensitivity(1, (1.0,))][: len(tops)]


def _moved_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Corners follow the box's by 1, its size by the offsets and their exponentials."""
    box, offset = wide(call.bottoms[0]), wide(call.bottoms[1])
    if not offset.size:
        return [Sensitivity(4, (1.0, 1.0))]
    move, growth = np.abs(offset[:, [0, 1]]).max(), np.exp(offset[:, [2, 3]]).max()
    size = np.abs(box[:, 2:4] - box[:, :2] + 1).max()
    return [Sensitivity(4, (1 + float(move + growth), float(size * math.hypot(1.0, growth / 2))))]


@register("Python cut_roi_layer.bbox_transform_inv_layer.BBoxTransformInvLayer", bottoms=2, error=_moved_error)
def moved_boxes(call: Call) -> list[Array]:
    """Boxes x0 y0 x1 y1 with their centre moved by shares of their size, and their size scaled by an exponential.

    A box includes its far corner, so one from 3 to 5 is 3 wide; the corners that come out are centre ± half the size.
    """
    box, offset = map(wide, call.bottoms)
    fits = box.shape == offset.shape and box.ndim == 2 and box.shape[1] == 4
    shapes = listed([format_shape(bottom.shape) for bottom in call.bottoms])
    call.require(fits, f"has bottoms of {shapes}, expected N×4 both")
    size = box[:, 2:] - box[:, :2] + 1
    centre = offset[:, :2] * size + box[:, :2] + size / 2
    half = np.exp(offset[:, 2:]) * size / 2
    moved: npt.NDArray[np.float64] = np.concatenate([centre - half, centre + half], axis=1)
    return [narrow(moved)]
