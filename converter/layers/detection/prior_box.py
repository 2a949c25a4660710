"""Prior boxes, which detections are offsets to (SSD's fork: prior_box_layer.cpp, and what other forks made of it)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.shared.fixed import Fixed
from converter.node import Layer
from prototxt import NetLayer
from prototxt.caffe_pb2 import PriorBoxParameter

if TYPE_CHECKING:
    from converter.node import Node
    from converter.tensor import Array

SECTION = "prior_box_param"
f32 = np.float32
TWICE = "textboxes1"
"""The fork that has each box a second time though no field says it."""


class Prior(NamedTuple):
    """One box at a place: its size and how far its centre lies beside the place's, in pixels.

    `inset` is the share of the image that is taken off each side.
    """

    width: float
    height: float
    right: float = 0.0
    down: float = 0.0
    inset: float = 0.0


class Priors(Layer):
    """Boxes around every place of a grid, and their variances: 1×2×(4 · boxes).

    Corners x0 y0 x1 y1 as shares of the image; row by row, the boxes of a place together. Each box stands once for each
    of the `offsets`, which say where in its place the centre is, down and across. The bottoms give only their sizes, so
    the top is a constant.
    """

    bottoms = (2, 2)
    priors: tuple[Prior, ...] = ()
    clip: bool = False
    variance: tuple[float, ...] = (0.1,)
    image: tuple[int, int] = (0, 0)
    step: tuple[float, float] = (0.0, 0.0)
    offsets: tuple[tuple[float, float], ...] = ((0.5, 0.5),)
    yx_order: bool = False

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for i, shape in enumerate(inputs):
            require(len(shape) == 4, f"bottom {i} is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        free = any(map(is_free, (*inputs[0][2:], *inputs[1][2:])))
        require(not free, "the sizes of the image and of the features can't be left free: the boxes follow them")
        places = int(inputs[0][2]) * int(inputs[0][3])
        return [(1, 2, places * len(self.priors) * len(self.offsets) * 4)]

    def tabulated(self, inputs: Sequence[Shape], tops: Sequence[Shape]) -> Sequence[Shape]:
        return tops

    def boxes(self, features: Shape, picture: Shape) -> npt.NDArray[np.float32]:
        """Corners and variances, rounded to float32 where SSD's own variables are of that type."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._boxes(features, picture)

    def _boxes(self, features: Shape, picture: Shape) -> npt.NDArray[np.float32]:
        rows, columns = int(features[2]), int(features[3])
        height, width = self.image if all(self.image) else (int(picture[2]), int(picture[3]))
        down, across = self.step if all(self.step) else (height / rows, width / columns)
        priors = np.asarray(self.priors, np.float64)[:, None, :]
        half, beside, inset = priors[..., :2].astype(f32).astype(np.float64) / 2, priors[..., 2:4], priors[..., 4:]
        offsets = np.asarray(self.offsets, f32)
        centre = np.empty((rows, columns, len(self.priors), len(offsets), 2), f32)
        centre[..., 0] = ((np.arange(columns, dtype=f32)[:, None] + offsets[:, 1]) * f32(across))[None, :, None]
        centre[..., 1] = ((np.arange(rows, dtype=f32)[:, None] + offsets[:, 0]) * f32(down))[:, None, None]
        middle = (centre + beside.astype(f32)).astype(np.float64)
        low, high = (middle - half) / (width, height) + inset, (middle + half) / (width, height) - inset
        axes = [1, 0] if self.yx_order else [0, 1]
        corners = np.concatenate([low[..., axes], high[..., axes]], axis=-1).astype(f32)
        if self.clip:
            corners = corners.clip(0, 1)
        variances = np.resize(np.asarray(self.variance, f32), corners.size)
        return np.stack([corners.ravel(), variances])[None]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.constant(self.boxes(*(v.shape for v in node.inputs)), "boxes")

    def known(self, node: Node, inputs: Sequence[Array | None]) -> Array:
        return self.boxes(*(v.shape for v in node.inputs))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return Fixed(self.known(node, ())).torch(t, node)


@register
class PriorBox(Priors):
    """The boxes that detections are offsets to, and their variances: 1×2×(4 · boxes) (SSD: prior_box_layer.cpp).

    At each place, for each min_size: its square, the square of sqrt(min · max) where there is a max_size, then one box
    for each aspect ratio, of min_size's area: 1 and ratios already seen are left out, `flip` adds the inverse of each.
    SSD keeps the sizes as whole numbers: 450.6 counts as 450; Intel's fork has kept fractions since September 2017.

    TextBoxes++ (`denser_prior_boxes`) puts behind each box the same one at the lower edge of its place; so does
    TextBoxes without a word, which keeps fractions of sizes and clips unless told otherwise. Synopsys' fork
    (`tf`) has the box of sqrt(min · max) last, and takes 0.05 of the image off each side of a square of 60; `yx_order`
    has y before x; `box_width` and `box_height` list the boxes. OpenCV lists them in `width` and `height`, and places
    for each box in `offset_h` and `offset_w`; it keeps fractions of sizes, and clips unless told otherwise. FaceBoxes'
    squares are a pixel smaller, and those of 32 and 64 stand 16 and 4 times at each place.
    """

    types = ("PriorBox",)

    @classmethod
    def read(cls, source: NetLayer) -> PriorBox:
        p = source.param.prior_box_param
        by_opencv = bool(len(p.width) or len(p.height) or len(p.offset_h) or len(p.offset_w))
        dense = p.faceboxes or source.dialect == "faceboxes"
        twice = source.dialect == TWICE
        if dense and p.yx_order:
            raise unsupported(source, "yx_order, which FaceBoxes' squares do not follow", SECTION, "yx_order")
        if len(p.width) or len(p.height):
            priors = _opencv_boxes(source, p)
        elif len(p.box_width) or len(p.box_height):
            priors = listed_boxes(source, "box_width", "box_height")
        else:
            whole = not (by_opencv or twice or source.dialect == "intel")
            priors = _sized_boxes(source, p, whole=whole, dense=dense)
        return cls(
            priors,
            p.clip or ((by_opencv or twice) and not p.HasField("clip")),
            variance_of(source),
            image_of(source),
            step_of(source),
            _offsets(source, p),
            p.yx_order,
        )


@register
class PriorBoxClustered(Priors):
    """Prior boxes of listed `width` and `height`: 1×2×(4 · boxes) (Intel's fork: prior_box_clustered_layer.cpp).

    They keep their fractions, where SSD's PriorBox keeps whole pixels, and stand at each place in the order listed.
    """

    types = ("PriorBoxClustered",)

    @classmethod
    def read(cls, source: NetLayer) -> PriorBoxClustered:
        p = source.param.prior_box_param
        priors = listed_boxes(source, "width", "height")
        offsets = ((p.offset, p.offset),)
        return cls(priors, p.clip, variance_of(source), image_of(source), step_of(source), offsets)


def listed_boxes(source: NetLayer, across: str, down: str) -> tuple[Prior, ...]:
    """Boxes whose widths and heights two fields list."""
    p = source.param.prior_box_param
    widths, heights = getattr(p, across), getattr(p, down)
    for name, values in ((across, widths), (down, heights)):
        if not values or not all(0 < size < math.inf for size in values):
            raise fault(source, f"{name} must be given, and be above 0", SECTION, name)
    if len(widths) != len(heights):
        raise fault(source, f"{len(widths)} {across}, {len(heights)} {down}; expected as many of both", SECTION, down)
    return tuple(Prior(w, h) for w, h in zip(widths, heights, strict=True))


def _opencv_boxes(source: NetLayer, p: PriorBoxParameter) -> tuple[Prior, ...]:
    for name in ("min_size", "max_size", "aspect_ratio"):
        if len(getattr(p, name)):
            raise fault(source, f"{name} beside width and height; expected one or the other", SECTION, name)
    return listed_boxes(source, "width", "height")


def _sized_boxes(source: NetLayer, p: PriorBoxParameter, *, whole: bool, dense: bool) -> tuple[Prior, ...]:
    """Boxes at one place by min_size, max_size and aspect_ratio; `whole` for sizes without fractions."""
    if not p.min_size or not all(0 < size < math.inf for size in p.min_size):
        raise fault(source, "min_size must be given, and be above 0", SECTION, "min_size")
    if not all(0 < ratio < math.inf for ratio in p.aspect_ratio):
        raise fault(source, "aspect_ratio must be above 0", SECTION, "aspect_ratio")
    if len(p.max_size) not in (0, len(p.min_size)):
        message = f"{len(p.max_size)} max_size for {len(p.min_size)} min_size; expected one for each"
        raise fault(source, message, SECTION, "max_size")
    for least, most in zip(p.min_size, p.max_size, strict=False):
        if not least < most < math.inf:
            raise fault(source, f"max_size {most:g} is not above min_size {least:g}", SECTION, "max_size")
    ratios = _ratios(p)
    priors: list[Prior] = []
    for i, given in enumerate(p.min_size):
        least = float(int(given)) if whole else given
        squares = _dense_squares(least) if dense else [Prior(least, least, inset=0.05 * (p.tf and least == 60))]
        larger = []
        if p.max_size:
            side = math.sqrt(least * (int(p.max_size[i]) if whole else p.max_size[i]))
            larger = [Prior(side, side)]
        others = [Prior(least * math.sqrt(r), least / math.sqrt(r)) for r in ratios]
        priors += [*squares, *others, *larger] if p.tf else [*squares, *larger, *others]
    if dense:
        room = (21 if len(p.min_size) == 3 else len(p.min_size) * (1 + len(ratios))) + len(p.max_size)
        if room != len(priors):
            message = f"{len(priors)} boxes at each place, where FaceBoxes makes room for {room}"
            raise fault(source, message, SECTION, "min_size")
    return tuple(priors)


def _dense_squares(size: float) -> list[Prior]:
    """FaceBoxes' squares at one place: 4 by 4 of 32, 2 by 2 of 64, a quarter of their size apart; one of any other."""
    count = {32: 4, 64: 2}.get(int(size), 1)
    shifts = [size / 4 * (i - count // 2) for i in range(count)]
    return [Prior(size - 1, size - 1, right, down) for down in shifts for right in shifts]


def _ratios(p: PriorBoxParameter) -> tuple[float, ...]:
    seen, flip = [1.0], p.flip
    for ratio in p.aspect_ratio:
        if all(abs(ratio - other) >= 1e-6 for other in seen):
            seen += [ratio, float(np.float32(1.0 / ratio))] if flip else [ratio]
    return tuple(r for r in seen if abs(r - 1.0) >= 1e-6)


def _offsets(source: NetLayer, p: PriorBoxParameter) -> tuple[tuple[float, float], ...]:
    """Where in its place a box stands, down and across, for each time that it does."""
    if not (len(p.offset_h) or len(p.offset_w)):
        lower = ((1.0, p.offset),) if p.denser_prior_boxes or source.dialect == TWICE else ()
        return ((p.offset, p.offset), *lower)
    if p.HasField("offset"):
        raise fault(source, "offset beside offset_h and offset_w; expected one or the others", SECTION, "offset")
    if len(p.offset_h) != len(p.offset_w) or len(p.offset_h) > 2:
        message = f"{len(p.offset_h)} offset_h, {len(p.offset_w)} offset_w; expected as many of both, 1 or 2"
        raise fault(source, message, SECTION, "offset_w" if len(p.offset_w) else "offset_h")
    if p.denser_prior_boxes:
        raise unsupported(source, "denser_prior_boxes beside offset_h, of another fork", SECTION, "denser_prior_boxes")
    return tuple(zip(p.offset_h, p.offset_w, strict=True))


def variance_of(source: NetLayer) -> tuple[float, ...]:
    """One variance for all four numbers of a box, or one for each."""
    variance = tuple(source.param.prior_box_param.variance)
    if len(variance) not in (0, 1, 4) or not all(0 < v < math.inf for v in variance):
        raise fault(source, "variance must be 1 or 4 numbers above 0", SECTION, "variance")
    return variance or (float(np.float32(0.1)),)


def image_of(source: NetLayer) -> tuple[int, int]:
    """Height and width of the image as the layer states them, 0 where it does not."""
    height, width = _both_or_each(source, "img_size", "img_h", "img_w")
    return int(height), int(width)


def step_of(source: NetLayer) -> tuple[float, float]:
    """Pixels from place to place, down and across, 0 where the layer does not state them."""
    return _both_or_each(source, "step", "step_h", "step_w")


def _both_or_each(source: NetLayer, both: str, *each: str) -> tuple[float, float]:
    """Height and width of what one field gives for both, or two fields give each; 0 where none does."""
    p = source.param.prior_box_param
    given = [name for name in (both, *each) if p.HasField(name)]
    for name in given:
        if getattr(p, name) <= 0:
            raise fault(source, f"{name} is {getattr(p, name):g}; expected a number above 0", SECTION, name)
    if both in given and len(given) > 1:
        raise fault(source, f"both {both} and {given[1]} are given; expected one of them", SECTION, given[1])
    if len(given) == 1 and given[0] != both:
        missing = each[0] if given[0] == each[1] else each[1]
        raise fault(source, f"{given[0]} without {missing}; expected both", SECTION, given[0])
    first, second = (both, both) if both in given else each
    return getattr(p, first), getattr(p, second)
