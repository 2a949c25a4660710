"""On which pixels of an earlier blob those of a later one lie, for layers that align two blobs (coords.hpp).

Pixel i of a blob is at `first + i * apart` of the pixels of what it was made of:

    Convolution, Pooling   the middle of pixel 0's window is at (k - 1) / 2 - pad, the next one a stride further
    Deconvolution          pixel (k - 1) / 2 - pad is that middle, and so many pixels make up one of the bottom's
    Crop, AutoCrop         pixel 0 is one that stood further in

Of longjon's branch of Caffe, in which FCN was made, and of what came of it: HED's, RCF's, CRF-RNN's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from prototxt.caffe_pb2 import ConvolutionParameter, LayerParameter, PoolingParameter
from prototxt.coordinates import crops_line_up
from verify.layers.registry import Array, Call

NEURONS = (
    "AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log", "PReLU", "Power", "ReLU", "Sigmoid", "TanH", "Threshold"
)  # fmt: skip
POINTWISE = (*NEURONS, "Concat", "Eltwise", "LRN", "MVN", "Slice", "Softmax", "Split")
"""Types whose pixels lie where their bottom's do."""


@dataclass(frozen=True)
class PixelGrid:
    """Where the pixels of a blob lie along one axis, in those of another."""

    first: Fraction = Fraction(0)
    apart: Fraction = Fraction(1)

    def on(self, pixel: Fraction, apart: Fraction) -> PixelGrid:
        """The same in the pixels of what that other was made of, where its own begin at `pixel` and lie `apart`."""
        return PixelGrid(pixel + self.first * apart, self.apart * apart)


def cut_to_second(call: Call) -> Array:
    """Of the first bottom what lies on the second: its height and width, from where its first pixel is on."""
    for bottom in call.bottoms:
        call.require(bottom.ndim == 4, f"needs bottoms of 4 axes, one has {bottom.ndim}")
    try:
        net = call.layer.neighbours.once(_FcnNet if crops_line_up(call.layer) else _Net)
        above, left = net.offsets_of(call.layer.bottoms, call.layer.tops[0])
    except _ApartError as apart:
        raise call.fail(str(apart)) from None
    rows, columns = call.bottoms[1].shape[2:]
    fits = above + rows <= call.x.shape[2] and left + columns <= call.x.shape[3]
    call.require(fits, f"{rows}×{columns} from {above}, {left} on leave {call.x.shape[2]}×{call.x.shape[3]}")
    return np.ascontiguousarray(call.x[:, :, above : above + rows, left : left + columns])


class _ApartError(Exception):
    """Why two blobs cannot be aligned."""


class _Net:
    """The layers of a net, and what was found out of those that align two blobs."""

    silent_align = False
    """Whether a Crop that states nothing aligns, or begins at 0."""

    def __init__(self, layers: Sequence[LayerParameter]) -> None:
        self._layers = layers
        self._writer: dict[str, int] = {}
        for index in reversed(range(len(layers))):  # the first that writes a blob; those after it work in place
            self._writer.update(dict.fromkeys(layers[index].top, index))
        self._known: dict[str, tuple[int, int]] = {}

    def offsets_of(self, bottoms: Sequence[str], top: str) -> tuple[int, int]:
        """The row and column of the first bottom on which pixel 0, 0 of the second lies; kept by the top's name.

        Raises:
            _ApartError: nowhere, or on no pixel of it.
        """
        if top not in self._known:
            self._known[top] = self._aligned(*bottoms)
        return self._known[top]

    def _aligned(self, first: str, second: str) -> tuple[int, int]:
        blobs, grids = [first, second], [(PixelGrid(), PixelGrid()), (PixelGrid(), PixelGrid())]
        while blobs[0] != blobs[1]:  # one step back from the blob that was written later
            places = [self._writer.get(blob, -1) for blob in blobs]
            side = 0 if places[0] > places[1] else 1
            layer = self._layers[places[side]] if places[side] >= 0 else None
            if layer is None or not layer.bottom or self._writer.get(layer.bottom[0], -1) >= places[side]:
                raise _ApartError(f"{first!r} and {second!r} have no blob in common that they come from")
            rows, columns = (grid.on(*self._step(layer, axis)) for axis, grid in enumerate(grids[side]))
            grids[side], blobs[side] = (rows, columns), layer.bottom[0]
        result = []
        for mine, wanted in zip(*grids, strict=True):
            if mine.apart != wanted.apart:
                raise _ApartError(f"pixels of {first!r} and {second!r} differ in distance")
            offset = (wanted.first - mine.first) / mine.apart
            if offset.denominator != 1 or offset < 0:
                raise _ApartError(f"{second!r} begins {offset} pixels into {first!r}, not a whole number from 0 on")
            result.append(int(offset))
        return result[0], result[1]

    def _step(self, layer: LayerParameter, axis: int) -> tuple[Fraction, Fraction]:
        """Where pixel 0 of a layer's top lies on its bottom, and how far its pixels are apart there."""
        if layer.type in POINTWISE:
            return Fraction(0), Fraction(1)
        if layer.type in ("AutoCrop", "Crop"):
            return Fraction(self._cut(layer)[axis]), Fraction(1)
        if layer.type == "Pooling":
            if layer.pooling_param.global_pooling:
                raise _ApartError(f"{layer.name} pools all there is")
            return _pooling_window(layer.pooling_param, axis)
        if layer.type not in ("Convolution", "Deconvolution"):
            raise _ApartError(f"{layer.name} ({layer.type}) does not say where its pixels lie")
        middle, stride = _convolution_window(layer.convolution_param, axis)
        return (middle, stride) if layer.type == "Convolution" else (-middle / stride, 1 / stride)

    def _cut(self, layer: LayerParameter) -> tuple[int, int]:
        """Rows and columns that a layer cuts off before the first that it keeps."""
        if layer.type == "AutoCrop" or (self.silent_align and not layer.HasField("crop_param")):
            return self.offsets_of(layer.bottom, layer.top[0])
        if layer.crop_param.axis != 2:
            raise _ApartError(f"{layer.name} cuts from axis {layer.crop_param.axis} on")
        return _both(layer.crop_param.offset, 0)


class _FcnNet(_Net):
    """One whose Crops are those of FCN's branch."""

    silent_align = True


def _convolution_window(p: ConvolutionParameter, axis: int) -> tuple[Fraction, Fraction]:
    """The middle of pixel 0's window and the stride."""
    kernel = _both(p.kernel_size, 0)[axis] if p.kernel_size else (p.kernel_h, p.kernel_w)[axis]
    stride = _both(p.stride, 1)[axis] if p.stride or not (p.stride_h or p.stride_w) else (p.stride_h, p.stride_w)[axis]
    pad = _both(p.pad, 0)[axis] if p.pad else (p.pad_h, p.pad_w)[axis]
    holes = (p.hole_h, p.hole_w) if p.HasField("hole_h") else (p.hole, p.hole)
    reach = (kernel - 1) * (_both(p.dilation, 1) if p.dilation else holes)[axis]
    return Fraction(reach, 2) - pad, Fraction(stride or 1)


def _both(values: Sequence[int], default: int) -> tuple[int, int]:
    given = list(values) or [default]
    return given[0], given[-1]


def _pooling_window(p: PoolingParameter, axis: int) -> tuple[Fraction, Fraction]:
    kernel = (p.kernel_h, p.kernel_w)[axis] if p.HasField("kernel_h") else p.kernel_size
    stride = (p.stride_h, p.stride_w)[axis] if p.HasField("stride_h") else p.stride
    pad = (p.pad_h, p.pad_w)[axis] if p.HasField("pad_h") else p.pad
    return Fraction(kernel - 1, 2) - pad, Fraction(stride or 1)
