"""What FlowNet's nets do to images and flows: means that they take away, crops, and the length of a vector a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import (
    UNLIMITED,
    OnnxOps,
    TorchOps,
    fault,
    register,
    require,
    shortest,
    unsupported,
)
from converter.layers.shared.separable import Matrix, onnx_separable, torch_separable
from converter.node import Layer, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import AugmentationParameter, FillerParameter, RandomGeneratorParameter
from prototxt.errors import UnsupportedError

if TYPE_CHECKING:
    from converter.node import Node
    from converter.tensor import Tensor


def _check_image(shape: Shape) -> None:
    require(len(shape) == 4, f"a bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")


@register
class ChannelNorm(Layer):
    """The root of the sum of squares of a place's channels, N×1×H×W (FlowNet2: channel_norm_layer.cpp)."""

    types = ("ChannelNorm",)
    acts_on = "channels"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        _check_image(inputs[0])
        return [(inputs[0][0], 1, *inputs[0][2:])]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        return g.reduce("ReduceL2", x[0], [1])

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        return f"torch.linalg.vector_norm({x[0]}, dim=1, keepdim=True)"


@register
class Mean(Layer):
    """output_scale (input_scale x ± mean_scale value), the values taking turns over the channels (mean_layer.cpp)."""

    types = ("Mean",)
    acts_on = "channels"
    reads_first = True
    bottoms = (1, UNLIMITED)
    tops = (1, UNLIMITED)
    values: tuple[float, ...] = ()
    scales: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def read(cls, source: NetLayer) -> Mean:
        p, section = source.param.mean_param, "mean_param"
        if p.HasField("file"):
            raise unsupported(source, "the mean of a file; expected value", section, "file")
        if not p.HasField("operation") or not p.value:
            raise fault(source, "no operation or no value; Caffe wants both", section)
        sign = -1 if p.operation == p.SUBTRACT else 1
        means = tuple(float(np.float32(sign * p.mean_scale) * np.float32(value)) for value in p.value)
        return cls(means, (shortest(p.input_scale), shortest(p.output_scale)))

    @property
    def untrainable(self) -> str:
        return "its fork has no backward pass for it"

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        for shape in inputs:
            _check_image(shape)
            divides = not is_free(shape[1]) and int(shape[1]) % len(self.values) == 0
            require(divides, f"{shape[1]} channels are no multiple of {len(self.values)} values")
        return list(inputs)

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        made = []
        for name, value in zip(x, node.inputs, strict=True):
            means = np.resize(np.asarray(self.values, np.float32), int(value.shape[1])).reshape(1, -1, 1, 1)
            y = g.op("Mul", name, g.scalar(self.scales[0], "input_scale")) if self.scales[0] != 1 else name
            y = g.op("Add", y, g.constant(means, "means"))
            made.append(g.op("Mul", y, g.scalar(self.scales[1], "output_scale")) if self.scales[1] != 1 else y)
        return made

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("shift_channels", SHIFT_CHANNELS)
        return [f"shift_channels({name}, {self.values!r}, *{self.scales!r})" for name in x]


SHIFT_CHANNELS = '''
def shift_channels(x, values, before, after):
    """Values that take turns over the channels added between two factors."""
    shift = x.new_tensor(values).repeat(x.shape[1] // len(values)).reshape(1, -1, 1, 1)
    return (x * before + shift) * after
'''

RANDOM = tuple(f.name for f in AugmentationParameter.DESCRIPTOR.fields if f.message_type is not None)
"""The fields that say how images are changed at random."""


def _of_chance() -> list[str]:
    """Paths of what only random changes read."""
    inner = [f.name for f in RandomGeneratorParameter.DESCRIPTOR.fields]
    paths = [*RANDOM, *(f"{name}.{each}" for name in RANDOM for each in inner), "max_multiplier", "chromatic_eigvec"]
    return [f"augmentation_param.{path}" for path in paths]


@register
class DataAugmentation(Layer):
    """A mean less than the image, at test time, and the middle of it (FlowNet2: data_augmentation_layer.cpp and .cu).

    With `recompute_mean` three blobs have a count of iterations, the mean image and its mean a channel; after fewer
    iterations than that the mean would go on to change. A mean image of another size counts by its mean a channel. A
    crop is read between pixels, from 0 to 1.05 before the end: even one of the image's size changes its last row and
    column.
    """

    types = ("DataAugmentation",)
    crop: tuple[int, int] | None = None
    iterations: int = 0
    per_pixel: bool = False
    means: tuple[float, ...] = ()
    stored: tuple[Shape, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, source: NetLayer) -> DataAugmentation:
        p, section = source.param.augmentation_param, "augmentation_param"
        crops = p.HasField("crop_height") and p.HasField("crop_width")
        if not crops:
            source.without_effect("no whole crop size is stated", f"{section}.crop_height", f"{section}.crop_width")
        asked = [name for name in RANDOM if p.HasField(name)]
        if crops and asked and p.augment_during_test:
            message = f"augment_during_test with {', '.join(asked)}: images are changed at random"
            raise unsupported(source, message, section, "augment_during_test")
        source.without_effect("nothing is changed at random", f"{section}.augment_during_test", *_of_chance())
        means: tuple[float, ...] = ()
        if p.mean_per_pixel or p.recompute_mean:
            source.without_effect("means a channel count without recompute_mean alone", f"{section}.mean")
        elif len(p.mean) not in (0, 3):
            raise fault(source, f"{len(p.mean)} mean, which the fork leaves out; expected 3 or none", section, "mean")
        else:
            means = tuple(shortest(value) for value in p.mean)
        return cls((p.crop_height, p.crop_width) if crops else None, p.recompute_mean, p.mean_per_pixel, means)

    @property
    def untrainable(self) -> str:
        return "it changes images at random while it is trained"

    def told_by(self, blobs: Sequence[Shape]) -> DataAugmentation:
        return replace(self, stored=tuple(tuple(blob) for blob in blobs))

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        _check_image(x)
        require(not self.means or x[1] == 3, f"{x[1]} channels and 3 means; expected as many")
        if self.crop is None:
            return [x]
        require(not any(map(is_free, x[2:])), "the sizes of an image that is cropped can't be left free")
        fits = all(0 < own <= int(size) for own, size in zip(self.crop, x[2:], strict=True))
        require(fits, f"a crop of {format_shape(self.crop)} does not fit the image, {format_shape(x[2:])}")
        whole = is_free(x[0]) or count(x) <= 1 << 24
        require(whole, f"{format_shape(x)} has more values than 2**24, whose places the fork rounds")
        return [(*x[:2], *self.crop)]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        if not self.iterations:
            return tuple(Parameter(f"unused_{i}", shape) for i, shape in enumerate(self.stored))
        channels, sizes = inputs[0][1], self.crop or inputs[0][2:]
        shapes = self.stored if len(self.stored) == 3 else ((1, 1, 1, 1), (1, channels, *sizes), (1, channels, 1, 1))
        if len(self.stored) == 3:
            require(int(count(shapes[2])) == int(channels), f"a mean of {count(shapes[2])} channels for {channels}")
            fits = len(shapes[1]) == 4 and int(shapes[1][1]) == int(channels)
            require(fits, f"a mean image of {format_shape(shapes[1])} for {channels} channels")
        enough = FillerParameter(type="constant", value=self.iterations)
        names = ("iterations", "mean", "channel_mean")
        return tuple(
            Parameter(name, shape, enough if name == "iterations" else None)
            for name, shape in zip(names, shapes, strict=True)
        )

    def _matrices(self, node: Node) -> tuple[Matrix, Matrix] | None:
        if self.crop is None:
            return None
        rows, columns = (_middle(int(n), size) for n, size in zip(node.shape[2:], self.crop, strict=True))
        return rows, columns

    def _mean(self, node: Node) -> Tensor:
        """Of the three blobs the mean that counts, in a shape that lies along the image."""
        gone = float(node.tensors["iterations"].load().ravel()[0])
        if int(gone) < self.iterations:
            done = f"{gone:g} iterations of recompute_mean {self.iterations}"
            raise UnsupportedError(f"its mean is of {done}, and would change with each image")
        mean = node.tensors["mean"]
        channels = int(node.shape[1])
        if not self.per_pixel:
            return node.tensors["channel_mean"].reshaped((1, channels, 1, 1))
        if tuple(map(int, mean.shape[2:])) == tuple(map(int, node.outputs[0].shape[2:])):
            return mean
        return mean.map(lambda image: image.astype(np.float64).mean(axis=(2, 3)), (1, channels, 1, 1))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        matrices = self._matrices(node)
        y = onnx_separable(g, x[0], *matrices) if matrices else x[0]
        if self.iterations:
            return g.op("Sub", y, g.weight(self._mean(node)))
        if not self.means:
            return y
        return g.op("Sub", y, g.constant(np.asarray(self.means, np.float32).reshape(1, 3, 1, 1), "mean"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        matrices = self._matrices(node)
        y = torch_separable(t, x[0], *matrices) if matrices else x[0]
        if self.iterations:
            mean = self._mean(node)
            t.helper("Minus", MINUS)
            return f"{t.module('Minus', tuple(map(int, mean.shape)), state={'mean': mean})}({y})"
        if not self.means:
            return y
        t.helper("shift_channels", SHIFT_CHANNELS)
        return f"shift_channels({y}, {tuple(-m for m in self.means)!r}, 1, 1)"


def _middle(size: int, crop: int) -> Matrix:
    """A crop's pixels, read between the image's: half a pixel further in where an odd number is cut off."""
    ahead = np.float32(0.5 * size) - np.float32(0.5 * crop)
    places = np.arange(crop, dtype=np.float32) + ahead
    places = np.maximum(np.float32(0), np.minimum(places, np.float32(size) - np.float32(1.05)))
    low = np.floor(places)
    share = places - low
    matrix: Matrix = np.zeros((crop, size + 1), np.float32)
    matrix[np.arange(crop), low.astype(int)] = 1 - share
    matrix[np.arange(crop), low.astype(int) + 1] += share
    return np.ascontiguousarray(matrix[:, :size])


MINUS = '''
class Minus(nn.Module):
    """A fixed mean taken away."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def forward(self, x):
        return x - self.mean
'''
