"""Where the pixels of blobs lie on each other, as FCN's branch of Caffe has it in its layers' coord_map (coords.hpp).

    Deconvolution          y = s x + (k - 1) / 2 - pad       k: what the dilated kernel covers, with DeepLab's holes too
    Convolution, Pooling   the inverse of that
    Crop, AutoCrop         y = x - what it cuts off

A layer maps the pixels of its first bottom to those of its top. The Crop of that branch, which RCF calls AutoCrop,
has no fields: it cuts its first bottom to where the second lies on it. Both are followed back to a blob that they come
from; what lies before that blob falls out of the result, so here all go back to where their ways begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.errors import NetError, UnsupportedError

if TYPE_CHECKING:
    from prototxt.net import NetLayer

KEEPS_PLACES = frozenset(
    "AbsVal BNLL Concat Dropout ELU Eltwise Exp LRN Log MVN PReLU Power ReLU Sigmoid Slice Softmax Split TanH Threshold"
    "".split()
)
"""The types whose coord_map is the identity; those that are in no table here have none."""


class Line(NamedTuple):
    """y = step · x + start."""

    step: Fraction = Fraction(1)
    start: Fraction = Fraction(0)

    def after(self, other: Line) -> Line:
        """This of what the other gives."""
        return Line(self.step * other.step, self.step * other.start + self.start)

    def inverse(self) -> Line:
        """x of y."""
        return Line(1 / self.step, -self.start / self.step)


class BlobPlace(NamedTuple):
    """Where a blob's pixels are.

    Attributes:
        origin: the blob at the beginning of its way, by the first bottoms.
        rows, columns: from the origin's pixels to the blob's.
        lost: the layer that made the origin, in words, where it says nothing of its pixels.
        enlarged: whether a Deconvolution on the way makes more pixels of it.
    """

    origin: str
    rows: Line = Line()
    columns: Line = Line()
    lost: str = ""
    enlarged: bool = False

    def through(self, rows: Line, columns: Line, *, enlarged: bool) -> BlobPlace:
        """The place of what a layer makes of the blob."""
        return self._replace(
            rows=rows.after(self.rows), columns=columns.after(self.columns), enlarged=enlarged or self.enlarged
        )


def cut_off(layer: NetLayer) -> tuple[int, int]:
    """Rows above and columns left of the piece of a layer's first bottom that lies on its second (crop_layer.cpp).

    Raises:
        NetError: the two have no origin in common, or do not lie on each other pixel by pixel.
        UnsupportedError: a layer in between of which Caffe does not know where its pixels lie.
    """
    places = layer.neighbours.once(_lined_up if crops_line_up(layer) else _as_stated)
    first, second = (places.get(blob, BlobPlace(blob)) for blob in layer.bottoms[:2])
    if first.origin != second.origin:
        lost = first.lost or second.lost
        if lost:
            raise _about(layer, UnsupportedError(f"{lost} between its bottoms, which says no places of pixels"))
        raise _about(layer, NetError("{!r} and {!r} come from no common blob".format(*layer.bottoms)))
    found = []
    for what, line in zip(("rows", "columns"), _from_to(first, second), strict=True):
        if line.step != 1:
            apart = f"are {line.step} times as far apart as those of"
            raise _about(layer, NetError(f"{what} of {layer.bottoms[0]!r} {apart} {layer.bottoms[1]!r}"))
        if line.start > 0 or line.start.denominator != 1:
            message = f"{-line.start} {what} would be cut off; expected a whole number from 0 on"
            raise _about(layer, NetError(message))
        found.append(int(-line.start))
    return found[0], found[1]


def _about(layer: NetLayer, error: NetError) -> NetError:
    error.position, error.layer, error.layer_type = layer.position, layer.name, layer.type
    return error


class CropReading(NamedTuple):
    """How the Crops of a net are to be read that state nothing.

    Attributes:
        evidence: in words, what shows them to be of FCN's branch; empty for nothing.
        would_differ: whether they would cut elsewhere there.
    """

    evidence: str
    would_differ: bool


def read_crops(layers: Sequence[LayerParameter]) -> CropReading:
    """BVLC's Crop begins at 0 where nothing is stated; a net of FCN's branch has whole offsets throughout.

    That alone shows little: it shows FCN's where a Deconvolution enlarges what is cut, as in all nets of that kind.
    A Scale in the net shows that it is not: that layer is younger than FCN's branch, and what has it and Crop is BVLC's
    or follows it, as DeeperCut's fork does, whose crops line up by chance.
    """
    places = _lined_up(layers)
    silent = [layer for layer in layers if states_no_cut(layer)]
    cuts = [_seen_cut(places, layer) for layer in silent]
    would_differ = None not in cuts and any(any(cut or ()) for cut in cuts)
    younger = any(layer.type == "Scale" for layer in layers)
    if not would_differ or younger or not any(_is_enlarged(places, layer) for layer in silent):
        return CropReading("", would_differ)
    layer, (rows, columns) = next((layer, cut) for layer, cut in zip(silent, cuts, strict=True) if cut and any(cut))
    given = f"{rows} and {columns} for {layer.bottom[0]!r} and {layer.bottom[1]!r}"
    return CropReading(f"no offsets are stated, and the layers before give whole ones throughout: {given}", True)


def crops_line_up(layer: NetLayer) -> bool:
    """Whether the Crops of a layer's net that state nothing are those of FCN's branch: all are, or none."""
    silent = layer.neighbours.once(_first_silent)
    return silent is not None and layer.replaced(param=silent).dialect == "fcn"


def _first_silent(layers: Sequence[LayerParameter]) -> LayerParameter | None:
    return next(filter(states_no_cut, layers), None)


def state_cuts(net: NetParameter) -> list[str]:
    """Make each AutoCrop of a net in today's form BVLC's Crop with the offsets that the layers give; what was done."""
    places = _lined_up(net.layer)
    notes = []
    for layer in net.layer:
        cut = _seen_cut(places, layer) if layer.type == "AutoCrop" else None
        if cut is not None:
            layer.type = "Crop"
            layer.crop_param.offset[:] = cut
            notes.append(f"layer {layer.name!r}: the layers before give its offsets, {cut[0]} and {cut[1]}")
    return notes


def states_no_cut(layer: LayerParameter) -> bool:
    """Whether it is a Crop without its section."""
    return layer.type == "Crop" and not layer.HasField("crop_param")


def _lined_up(layers: Sequence[LayerParameter]) -> dict[str, BlobPlace]:
    return _places(layers, lined_up=True)


def _as_stated(layers: Sequence[LayerParameter]) -> dict[str, BlobPlace]:
    return _places(layers, lined_up=False)


def _places(layers: Sequence[LayerParameter], *, lined_up: bool) -> dict[str, BlobPlace]:
    """Blob -> place, as the layer that first writes it gives it: those in place come later and are passed over."""
    places: dict[str, BlobPlace] = {}
    for layer in layers:
        before = places.get(layer.bottom[0], BlobPlace(layer.bottom[0])) if layer.bottom else None
        lines = _lines(layer, places, lined_up=lined_up)
        for top in layer.top:
            if top in places:
                continue
            if before is None:
                places[top] = BlobPlace(top)
            elif lines is None:
                places[top] = BlobPlace(top, lost=f"layer {layer.name!r} ({layer.type})")
            else:
                places[top] = before.through(*lines, enlarged=_enlarges(layer))
    return places


def _seen_cut(places: Mapping[str, BlobPlace], layer: LayerParameter) -> tuple[int, int] | None:
    """What FCN's branch would cut off for a layer's bottoms; None where it would stop."""
    if len(layer.bottom) != 2 or any(blob not in places for blob in layer.bottom):
        return None
    first, second = (places[blob] for blob in layer.bottom)
    if first.origin != second.origin:
        return None
    lines = _from_to(first, second)
    if any(line.step != 1 or line.start > 0 or line.start.denominator != 1 for line in lines):
        return None
    return int(-lines[0].start), int(-lines[1].start)


def _is_enlarged(places: Mapping[str, BlobPlace], layer: LayerParameter) -> bool:
    """Whether a Deconvolution enlarges what one of a layer's bottoms is made of."""
    return any(blob in places and places[blob].enlarged for blob in layer.bottom)


def _from_to(first: BlobPlace, second: BlobPlace) -> tuple[Line, Line]:
    """From the pixels of one blob to those of another of the same origin, rows and columns."""
    return second.rows.after(first.rows.inverse()), second.columns.after(first.columns.inverse())


def _lines(layer: LayerParameter, places: Mapping[str, BlobPlace], *, lined_up: bool) -> tuple[Line, Line] | None:
    """What a layer does to the places along both axes; None for one that does not say."""
    if layer.type in KEEPS_PLACES:
        return Line(), Line()
    if layer.type in ("Convolution", "Deconvolution"):
        lines = _convolution(layer, 0), _convolution(layer, 1)
        return lines if layer.type == "Deconvolution" else (lines[0].inverse(), lines[1].inverse())
    if layer.type == "Pooling" and not layer.pooling_param.global_pooling:
        return _pooling(layer, 0).inverse(), _pooling(layer, 1).inverse()
    cut = _cut(layer, places, lined_up=lined_up)
    return None if cut is None else (Line(start=Fraction(-cut[0])), Line(start=Fraction(-cut[1])))


def _cut(layer: LayerParameter, places: Mapping[str, BlobPlace], *, lined_up: bool) -> tuple[int, int] | None:
    """What a cropping layer cuts off."""
    if layer.type == "AutoCrop" or (lined_up and states_no_cut(layer)):
        return _seen_cut(places, layer)
    if layer.type != "Crop" or layer.crop_param.axis != 2:
        return None
    offset = list(layer.crop_param.offset) or [0]
    return offset[0], offset[-1]


def _enlarges(layer: LayerParameter) -> bool:
    return layer.type == "Deconvolution" and _convolution(layer, 0).step > 1


def _convolution(layer: LayerParameter, axis: int) -> Line:
    p = layer.convolution_param
    holes = p.HasField("hole") or p.HasField("hole_h") or p.HasField("hole_w")
    kernel, stride, pad, dilation = (
        _of_axis(paired, pair, several, axis, default)
        for paired, pair, several, default in (
            (not p.kernel_size, (p.kernel_h, p.kernel_w), p.kernel_size, 0),
            (p.HasField("stride_h") or p.HasField("stride_w"), (p.stride_h, p.stride_w), p.stride, 1),
            (p.HasField("pad_h") or p.HasField("pad_w"), (p.pad_h, p.pad_w), p.pad, 0),
            (p.HasField("hole_h") or p.HasField("hole_w"), (p.hole_h, p.hole_w), [p.hole] if holes else p.dilation, 1),
        )
    )
    return _filter((kernel - 1) * dilation + 1, stride, pad)


def _pooling(layer: LayerParameter, axis: int) -> Line:
    p = layer.pooling_param
    size = p.kernel_size if p.HasField("kernel_size") else (p.kernel_h, p.kernel_w)[axis]
    stride = (p.stride_h, p.stride_w)[axis] if p.HasField("stride_h") else p.stride
    pad = (p.pad_h, p.pad_w)[axis] if p.HasField("pad_h") else p.pad
    return _filter(size, stride, pad)


def _of_axis(paired: bool, pair: tuple[int, int], several: Sequence[int], axis: int, default: int) -> int:
    """A size of a convolution along an axis: by its name there, one for both, or one for each."""
    if paired:
        return pair[axis]
    return several[min(axis, len(several) - 1)] if several else default


def _filter(size: int, stride: int, pad: int) -> Line:
    return Line(Fraction(max(stride, 1)), Fraction(size - 1, 2) - pad)
