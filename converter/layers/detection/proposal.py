"""Regions that may hold an object, of a region proposal network's scores and offsets (Faster R-CNN, its C++ ports).

At each place of the features stand the same anchors: for each ratio r, a base square is given the width
round(sqrt(area / r)) and r times that as height, rounded too; then it is scaled about its centre. Corners are pixels
that belong to the box, so a box from 0 to 15 is 16 wide. Offsets move an anchor's centre by shares of its size and
scale that by their exponential; the box is clipped to the image. Of the best-scored boxes, one stays that overlaps
none before it by more than a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from converter.graph import FreeDim, Shape, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require, shortest, unsupported
from converter.layers.detection.proposal_boxes import REGION_PROPOSALS, anchors_of, decoded, fitting, suppressed
from converter.layers.shared.sizes import FLOAT
from converter.node import Layer
from prototxt import NetLayer
from prototxt.param_str import StatedValue, numbers_of

if TYPE_CHECKING:
    from converter.node import Node

_LOWEST = float(np.finfo(np.float32).min)


class RegionProposals(Layer):
    """What the forks have in common; equal scores keep the order of rows, columns, anchors.

    The bottoms are scores 1×2A×H×W (background for each of A anchors, then object), offsets 1×4A×H×W, and the image's
    height, width and scale. How many regions are found is known only when the net runs, so that axis is free.

    Attributes:
        ratios, scales, base_size, feat_stride: of the anchors.
        min_size: in pixels of the unscaled image; a smaller box does not count.
        pre_nms_topn, post_nms_topn: how many boxes take part in the suppression and how many come out; None for all.
        nms_thresh: share that boxes may overlap.
    """

    bottoms = (3, 3)
    tops = (1, 2)
    drops_small: ClassVar[bool] = True

    ratios: tuple[float, ...] = (0.5, 1, 2)
    scales: tuple[float, ...] = (8, 16, 32)
    base_size: float = 16
    feat_stride: float = 16
    min_size: float = 16
    pre_nms_topn: int | None = 6000
    post_nms_topn: int | None = 300
    nms_thresh: float = 0.7
    found: str = "found"

    def anchors(self) -> npt.NDArray[Any]:
        """Corners of the anchors at the first place, A×4, in the type in which the fork adds to them."""
        raise NotImplementedError

    def score_shape(self, found: int) -> Shape:
        """Shape of the second top."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        scores, offsets, image = inputs
        count = len(self.ratios) * len(self.scales)
        for name, shape, channels in (("first", scores, 2 * count), ("second", offsets, 4 * count)):
            fits = len(shape) == 4 and not is_free(shape[1]) and int(shape[1]) == channels
            wanted = f"1×{channels}×H×W for {count} anchors"
            require(fits, f"the {name} bottom is {format_shape(shape)}; expected {wanted}")
            single = not is_free(shape[0]) and int(shape[0]) == 1
            require(single, f"the {name} bottom is {format_shape(shape)}; regions are proposed for one image at a time")
        sizes = f"the first bottom is {format_shape(scores)}, the second {format_shape(offsets)}"
        require(tuple(map(int, scores[2:])) == tuple(map(int, offsets[2:])), f"{sizes}; expected the same H and W")
        fits = len(image) == 2 and not any(map(is_free, image)) and int(image[0]) == 1 and int(image[1]) >= 3
        require(fits, f"the third bottom is {format_shape(image)}; expected 1×3 or more: height, width, scale")
        most = count * int(scores[2]) * int(scores[3])
        found = FreeDim(min(most, self.pre_nms_topn or most, self.post_nms_topn or most), self.found)
        return [(found, 5), self.score_shape(found)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        shape, image = node.inputs[0].shape, node.inputs[2].shape
        boxes = decoded(g, x, shape, self.anchors(), self.feat_stride)
        sides = [3, 2] if self._own_scales(image) else [2, 2]
        boxes, fit = fitting(g, boxes, g.reshape(x[2], image, (image[1],)), self.min_size, sides)
        best, order = self._ranked(g, x[0], shape, fit)
        boxes = g.op("Gather", boxes, order, axis=0)
        eligible = g.op("Greater", best, g.scalar(_LOWEST, "lowest")) if self.drops_small else None
        kept = suppressed(g, boxes, eligible, self._ranks(shape), self.nms_thresh, self.post_nms_topn)
        rows = g.op("Pad", g.op("Gather", boxes, kept, axis=0), g.ints([0, 1, 0, 0], "pads"), g.scalar(0.0))
        if len(node.outputs) == 1:
            return [rows]
        scores = g.op("Gather", best, kept, axis=0)
        return [rows, g.unsqueeze(scores, [1]) if len(self.score_shape(1)) == 2 else scores]

    def _own_scales(self, image: Shape) -> bool:
        """Whether the image's third and fourth number are scales of height and width."""
        return False

    def _ranks(self, shape: Shape) -> int | None:
        """How many boxes take part in the suppression; None where the size of the features decides."""
        count = len(self.ratios) * len(self.scales) * shape[2] * shape[3]
        if is_free(count):
            return None
        return min(int(count), self.pre_nms_topn or int(count))

    def _ranked(self, g: OnnxOps, scores: str, shape: Shape, fit: str) -> tuple[str, str]:
        """The best scores in falling order, and the boxes that have them."""
        count = len(self.ratios) * len(self.scales)
        objects = g.op("Transpose", g.slice(scores, 1, count, 2 * count), perm=[0, 2, 3, 1])
        flat = g.op("Reshape", objects, g.ints([-1], "shape"))
        if self.drops_small:
            flat = g.op("Where", fit, flat, g.scalar(_LOWEST, "lowest"))
        else:
            flat = g.op("Mul", flat, g.op("Cast", fit, to=FLOAT))
        ranks = self._ranks(shape)
        if ranks is not None:
            take = g.ints([ranks], "ranks")
        else:
            take = g.op("Shape", flat)
            take = g.op("Min", take, g.ints([self.pre_nms_topn], "before")) if self.pre_nms_topn else take
        best, order = g.multi("TopK", flat, take, outputs=2, axis=0)
        return best, order

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("pixel_overlaps", REGION_PROPOSALS["pixel_overlaps"])
        t.helper("RegionProposals", REGION_PROPOSALS["RegionProposals"])
        anchors = self.anchors()
        words = {
            "stride": self.feat_stride,
            "least": self.min_size,
            "before": self.pre_nms_topn,
            "after": self.post_nms_topn,
            "limit": self.nms_thresh,
            "drop_small": self.drops_small or None,
            "own_scales": self._own_scales(node.inputs[2].shape) or None,
        }
        given = {name: value for name, value in words.items() if value is not None}
        propose = t.module("RegionProposals", len(anchors), state={"anchors": anchors}, **given)
        regions = t.let("regions", f"{propose}({', '.join(x)})")
        scores = f"{regions}[1]" if len(self.score_shape(1)) == 1 else f"{regions}[1][:, None]"
        return [f"{regions}[0]", scores][: len(node.outputs)]


@register
class ProposalLayer(RegionProposals):
    """Faster R-CNN's own layer (py-faster-rcnn, R-FCN, PVANet: rpn/proposal_layer.py).

    `param_str` says the stride, in most forks scales and ratios too. How many boxes count, how much they may overlap
    and how small they may be stands in the user's configuration, not in the net: taken are py-faster-rcnn's defaults
    for testing, unless param_str has `pre_nms_topN`, `post_nms_topN`, `nms_thresh` or `min_size`, as one fork allows.
    Boxes below the least size are dropped. Overlaps are compared as on the GPU, the default there: equal to the limit
    is no overlap. The second top is found×1.
    """

    types = ("Python rpn.proposal_layer.ProposalLayer",)
    tabulates = True

    @classmethod
    def read(cls, source: NetLayer) -> ProposalLayer:
        said = numbers_of(source)
        known = {name: kind for kind, names in _KINDS.items() for name in names}
        for name, value in said.items():
            if name not in known:
                raise _refused(source, f"param_str has {name!r}; known are {', '.join(known)}", other=True)
            if not _fits(value, known[name]):
                raise _refused(source, f"param_str says {name} {_words(value)}; expected {known[name]}")
        if "feat_stride" not in said:
            raise _refused(source, "param_str has no 'feat_stride', the step between two places in pixels")
        return cls(
            _several(said, "ratios", cls.ratios),
            _several(said, "scales", cls.scales),
            _one(said, "base_size", cls.base_size),
            _one(said, "feat_stride", cls.feat_stride),
            _one(said, "min_size", cls.min_size),
            _count(said, "pre_nms_topN", cls.pre_nms_topn),
            _count(said, "post_nms_topN", cls.post_nms_topn),
            _one(said, "nms_thresh", cls.nms_thresh),
            _name_of(source),
        )

    def anchors(self) -> npt.NDArray[Any]:
        exact = anchors_of(self.ratios, self.scales, self.base_size, np.float64, np.round)
        single = exact.astype(np.float32)
        return single if np.array_equal(single, exact) else exact

    def score_shape(self, found: int) -> Shape:
        return (found, 1)


@register
class Proposal(RegionProposals):
    """The C++ port for deployment (PVANet, OpenVINO's training toolbox, mini-caffe: proposal_layer.cpp).

    The net says everything. Unlike in Python, boxes below the least size keep their place with a score of 0 and come
    out when too few others are left; halves are rounded away from 0; where the third bottom has a fourth number, the
    third scales the least height and the fourth the least width. Boxes less than a pixel apart overlap a little, as in
    mini-caffe and Python; PVANet has them apart, which only boxes a few pixels wide could show. The second top is a
    list.
    """

    types = ("Proposal",)
    tabulates = True
    drops_small = False

    @classmethod
    def read(cls, source: NetLayer) -> Proposal:
        p, section = source.param.proposal_param, "proposal_param"
        for name, value in (("ratio", tuple(p.ratio)), ("scale", tuple(p.scale))):
            if not _fits(value, _NUMBERS):
                raise fault(source, f"{name} is {_words(value)}; expected {_NUMBERS}", section, name)
        at_least_one(source, section, "feat_stride", "base_size", "pre_nms_topn", "post_nms_topn")
        if not 0 <= p.nms_thresh <= 1:
            raise fault(source, f"nms_thresh is {p.nms_thresh:g}; expected {_SHARE}", section, "nms_thresh")
        return cls(
            tuple(map(shortest, p.ratio)),
            tuple(map(shortest, p.scale)),
            p.base_size,
            p.feat_stride,
            p.min_size,
            p.pre_nms_topn,
            p.post_nms_topn,
            shortest(p.nms_thresh),
            _name_of(source),
        )

    def anchors(self) -> npt.NDArray[Any]:
        return anchors_of(self.ratios, self.scales, self.base_size, np.float32, lambda size: np.floor(size + 0.5))

    def score_shape(self, found: int) -> Shape:
        return (found,)

    def _own_scales(self, image: Shape) -> bool:
        return int(image[1]) > 3


_NUMBERS, _NUMBER, _COUNT, _SHARE = "numbers above 0", "a number above 0", "a whole number", "a share from 0 to 1"
_KINDS = {
    _NUMBERS: ("scales", "ratios"),
    _NUMBER: ("feat_stride", "base_size", "min_size"),
    _COUNT: ("pre_nms_topN", "post_nms_topN"),
    _SHARE: ("nms_thresh",),
}


def _fits(value: StatedValue, kind: str) -> bool:
    if isinstance(value, tuple):
        return kind == _NUMBERS and len(value) > 0 and all(0 < v < 1 << 24 for v in value)
    if kind == _COUNT:
        return isinstance(value, int)
    return 0 <= value <= 1 if kind == _SHARE else kind == _NUMBER and 0 < value < 1 << 24


def _words(value: StatedValue) -> str:
    return f"[{', '.join(f'{v:g}' for v in value)}]" if isinstance(value, tuple) else f"{value:g}"


def _refused(source: NetLayer, message: str, *, other: bool = False) -> Exception:
    place = "python_param", "param_str"
    return unsupported(source, message, *place) if other else fault(source, message, *place)


def _several(said: Mapping[str, StatedValue], name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = said.get(name, default)
    return value if isinstance(value, tuple) else (value,)


def _one(said: Mapping[str, StatedValue], name: str, default: float) -> float:
    value = said.get(name, default)
    return default if isinstance(value, tuple) else value


def _count(said: Mapping[str, StatedValue], name: str, default: int | None) -> int | None:
    """py-faster-rcnn takes all boxes where the count is not above 0."""
    value = said.get(name, default)
    return int(value) if isinstance(value, (int, float)) and value > 0 else None


def _name_of(source: NetLayer) -> str:
    return re.sub(r"\W", "_", f"regions_of_{source.name}")
