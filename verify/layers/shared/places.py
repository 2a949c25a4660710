"""On which pixels of an earlier blob those of a later one lie, for layers that align two blobs (RCF's coords.hpp).

Pixel i of a blob is at `first + i * apart` of the pixels of what it was made of:

    Convolution, Pooling   the middle of pixel 0's window is at (k - 1) / 2 - pad, the next one a stride further
    Deconvolution          pixel (k - 1) / 2 - pad is that middle, and so many pixels make up one of the bottom's
    AutoCrop               pixel 0 is one that stood further in
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from prototxt.caffe_pb2 import ConvolutionParameter, LayerParameter, PoolingParameter
from verify.layers.registry import Call

NEURONS = (
    "AbsVal", "BNLL", "Dropout", "ELU", "Exp", "Log", "PReLU", "Power", "ReLU", "Sigmoid", "TanH", "Threshold"
)  # fmt: skip
POINTWISE = (*NEURONS, "Concat", "Eltwise", "LRN", "MVN", "Slice", "Softmax", "Split")
"""Types whose pixels lie where their bottom's do."""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a blob lie along one axis."""

    first: Fraction = Fraction(0)
    apart: Fraction = Fraction(1)

    def from_on(self, pixel: Fraction, apart: Fraction) -> Grid:
        """The grid that begins at this one's `pixel` and takes each `apart`-th of its pixels from there on."""
        return Grid(self.first + pixel * self.apart, self.apart * apart)


def offsets(call: Call) -> tuple[int, int]:
    """The row and column of the first bottom on which pixel 0, 0 of the second lies."""
    return _Aligner(call).offsets(*call.layer.bottoms)


def _first_writers(layers: Sequence[LayerParameter]) -> dict[str, LayerParameter]:
    writers: dict[str, LayerParameter] = {}
    for layer in reversed(layers):
        writers.update(dict.fromkeys(layer.top, layer))
    return writers


class _Aligner:
    """The net as one layer sees it; `open` holds the names of layers whose offset is being looked for."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.writers = call.layer.neighbours.once(_first_writers)
        self.open: set[str] = {call.layer.name}

    def offsets(self, first: str, second: str) -> tuple[int, int]:
        """As `offsets`, of two blobs of the net."""
        lines = self._line_of(first), self._line_of(second)
        shared = [blob for blob in lines[1] if blob in lines[0]]
        self.call.require(bool(shared), f"{first!r} and {second!r} have no blob in common that they come from")
        grids = [self._grids(line[: line.index(shared[0])]) for line in lines]
        result = []
        for mine, wanted in zip(*grids, strict=True):
            self.call.require(mine.apart == wanted.apart, f"pixels of {first!r} and {second!r} differ in distance")
            offset = (wanted.first - mine.first) / mine.apart
            whole = offset.denominator == 1 and offset >= 0
            self.call.require(whole, f"{second!r} begins {offset} pixels into {first!r}, not a whole number from 0 on")
            result.append(int(offset))
        return result[0], result[1]

    def _line_of(self, blob: str) -> list[str]:
        """The blob, the first bottom of what wrote it, that one's, and so on."""
        line: list[str] = []
        while blob not in line:
            line.append(blob)
            writer = self.writers.get(blob)
            if writer is None or not writer.bottom:
                break
            blob = writer.bottom[0]
        return line

    def _grids(self, line: Sequence[str]) -> tuple[Grid, Grid]:
        """Rows and columns of the first blob of a line, in pixels of what its last one was made of."""
        rows, columns = Grid(), Grid()
        for blob in reversed(line):
            layer = self.writers[blob]
            rows, columns = self._through(layer, rows, 0), self._through(layer, columns, 1)
        return rows, columns

    def _through(self, layer: LayerParameter, grid: Grid, axis: int) -> Grid:
        if layer.type in POINTWISE:
            return grid
        if layer.type == "AutoCrop":
            return grid.from_on(Fraction(self._offset_of(layer)[axis]), Fraction(1))
        if layer.type == "Pooling":
            self.call.require(not layer.pooling_param.global_pooling, f"{layer.name} pools all there is")
            middle, stride = _pooling_window(layer.pooling_param, axis)
            return grid.from_on(middle, stride)
        known = layer.type in ("Convolution", "Deconvolution")
        self.call.require(known, f"{layer.name} ({layer.type}) does not say where its pixels lie")
        middle, stride = _convolution_window(layer.convolution_param, axis)
        if layer.type == "Convolution":
            return grid.from_on(middle, stride)
        return grid.from_on(-middle / stride, 1 / stride)

    def _offset_of(self, layer: LayerParameter) -> tuple[int, int]:
        self.call.require(layer.name not in self.open and len(layer.bottom) == 2, f"{layer.name} aligns no two blobs")
        self.open.add(layer.name)
        found = self.offsets(layer.bottom[0], layer.bottom[1])
        self.open.remove(layer.name)
        return found


def _convolution_window(p: ConvolutionParameter, axis: int) -> tuple[Fraction, Fraction]:
    """The middle of pixel 0's window and the stride."""
    kernel = _both(p.kernel_size, 0)[axis] if p.kernel_size else (p.kernel_h, p.kernel_w)[axis]
    stride = _both(p.stride, 1)[axis] if p.stride or not (p.stride_h or p.stride_w) else (p.stride_h, p.stride_w)[axis]
    pad = _both(p.pad, 0)[axis] if p.pad else (p.pad_h, p.pad_w)[axis]
    reach = (kernel - 1) * _both(p.dilation, 1)[axis]
    return Fraction(reach, 2) - pad, Fraction(stride or 1)


def _both(values: Sequence[int], default: int) -> tuple[int, int]:
    given = list(values) or [default]
    return given[0], given[-1]


def _pooling_window(p: PoolingParameter, axis: int) -> tuple[Fraction, Fraction]:
    kernel = (p.kernel_h, p.kernel_w)[axis] if p.HasField("kernel_h") else p.kernel_size
    stride = (p.stride_h, p.stride_w)[axis] if p.HasField("stride_h") else p.stride
    pad = (p.pad_h, p.pad_w)[axis] if p.HasField("pad_h") else p.pad
    return Fraction(kernel - 1, 2) - pad, Fraction(stride or 1)
