"""Where the pixels of a blob lie on an earlier one, as the coord_map of RCF's layers says (coords.hpp).

Deconvolution   y = s x + (k - 1) / 2 - pad       k: what the dilated kernel covers
Convolution, Pooling                               the inverse of that
AutoCrop        y = x - what it cuts off
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from converter.layers.base import unsupported
from prototxt import NetLayer
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import NetError

KEEPS_PLACES = frozenset(
    "AbsVal BNLL Concat Dropout ELU Eltwise Exp LRN Log MVN PReLU Power ReLU Sigmoid Slice Softmax Split TanH Threshold"
    "".split()
)
"""The types whose coord_map is the identity; those that are in no table here have none."""


class Line(NamedTuple):
    """y = step · x + start."""

    step: Fraction
    start: Fraction

    def after(self, other: Line) -> Line:
        """This of what the other gives."""
        return Line(self.step * other.step, self.step * other.start + self.start)

    def inverse(self) -> Line:
        """x of y."""
        return Line(1 / self.step, -self.start / self.step)


SAME = Line(Fraction(1), Fraction(0))


def cut_off(source: NetLayer) -> tuple[int, int]:
    """Rows above and columns left of the piece of a layer's first bottom that lies on its second (auto_crop_layer.cpp).

    The two are followed back, by the first bottoms, to the first blob of the first one's path that the second's meets.

    Raises:
        NetError: no such blob, or the two do not lie on each other pixel by pixel.
        UnsupportedError: a layer in between of which Caffe does not know where its pixels lie.
    """
    makers = source.neighbours.once(_makers)
    return _cut_off(source, source.bottoms[0], source.bottoms[1], makers, frozenset())


def _makers(layers: Sequence[LayerParameter]) -> dict[str, LayerParameter]:
    """Blob -> the layer that first writes it; those in place come later and are passed over."""
    found: dict[str, LayerParameter] = {}
    for layer in layers:
        for top in layer.top:
            found.setdefault(top, layer)
    return found


def _path(blob: str, makers: Mapping[str, LayerParameter]) -> list[str]:
    """The blob and what it was made of, by the first bottoms, the first of all last."""
    path = [blob]
    while blob in makers and makers[blob].bottom:
        blob = makers[blob].bottom[0]
        if blob in path:  # a layer that reads what it writes, and that nobody wrote before it
            break
        path.append(blob)
    return path


def _cut_off(
    source: NetLayer, first: str, second: str, makers: Mapping[str, LayerParameter], within: frozenset[str]
) -> tuple[int, int]:
    paths = _path(first, makers), _path(second, makers)
    meeting = next((blob for blob in paths[1] if blob in paths[0]), None)
    if meeting is None:
        raise _refused(source, f"{first!r} and {second!r} come from no common blob")
    found = []
    for axis, what in enumerate(("rows", "columns")):
        lines = [SAME, SAME]
        for place, path in enumerate(paths):
            for blob in path[: path.index(meeting)]:
                lines[place] = lines[place].after(_line(source, makers[blob], axis, makers, within))
        step, start = lines[1].after(lines[0].inverse())
        if step != 1:
            raise _refused(source, f"{what} of {first!r} are {step} times as far apart as those of {second!r}")
        if start > 0 or start.denominator != 1:
            raise _refused(source, f"{-start} {what} would be cut off; expected a whole number from 0 on")
        found.append(int(-start))
    return found[0], found[1]


def _line(
    source: NetLayer, layer: LayerParameter, axis: int, makers: Mapping[str, LayerParameter], within: frozenset[str]
) -> Line:
    """What one layer does to the places along one axis."""
    if layer.type in KEEPS_PLACES:
        return SAME
    if layer.type == "AutoCrop" and len(layer.bottom) == 2 and layer.name not in within:
        cut = _cut_off(source, layer.bottom[0], layer.bottom[1], makers, within | {layer.name})
        return Line(Fraction(1), Fraction(-cut[axis]))
    if layer.type in ("Convolution", "Deconvolution"):
        p = layer.convolution_param
        sizes = [
            _of_axis(single, pair, several, axis, default)
            for single, pair, several, default in (
                (not p.kernel_size, (p.kernel_h, p.kernel_w), p.kernel_size, 0),
                (p.HasField("stride_h") or p.HasField("stride_w"), (p.stride_h, p.stride_w), p.stride, 1),
                (p.HasField("pad_h") or p.HasField("pad_w"), (p.pad_h, p.pad_w), p.pad, 0),
                (False, (1, 1), p.dilation, 1),
            )
        ]
        line = _filter((sizes[0] - 1) * sizes[3] + 1, sizes[1], sizes[2])
        return line if layer.type == "Deconvolution" else line.inverse()
    if layer.type == "Pooling" and not layer.pooling_param.global_pooling:
        q = layer.pooling_param
        size = q.kernel_size if q.HasField("kernel_size") else (q.kernel_h, q.kernel_w)[axis]
        stride = (q.stride_h, q.stride_w)[axis] if q.HasField("stride_h") else q.stride
        pad = (q.pad_h, q.pad_w)[axis] if q.HasField("pad_h") else q.pad
        return _filter(size, stride, pad).inverse()
    between = f"layer {layer.name!r} ({layer.type}) between its bottoms"
    raise unsupported(source, f"{between}, which does not say where pixels lie")


def _of_axis(paired: bool, pair: tuple[int, int], several: Sequence[int], axis: int, default: int) -> int:
    """A size of a convolution along an axis: by its name there, one for both, or one for each."""
    if paired:
        return pair[axis]
    return several[min(axis, len(several) - 1)] if several else default


def _filter(size: int, stride: int, pad: int) -> Line:
    return Line(Fraction(max(stride, 1)), Fraction(size - 1, 2) - pad)


def _refused(source: NetLayer, message: str) -> NetError:
    return NetError(message, position=source.position, layer=source.name, layer_type=source.type)
