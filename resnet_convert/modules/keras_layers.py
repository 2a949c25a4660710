"""Keras' layers as PyTorch modules over N×C×H×W maps, each with its weights' way there and back.

Only layers whose maps are N×H×W×C (`channels_last`, Keras' default) have one. Padding "same" is what TensorFlow does:
the odd pixel comes behind; where both sides are alike it is the convolution's own, else a padding before it.

Imported only by those who have torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prototxt.errors import UnsupportedError

Move = Callable[[Tensor], Tensor]
Shapes = Sequence[tuple[int | None, ...]]


class Weight(NamedTuple):
    """A weight of both: Keras' variable, the module's tensor, and the way of the numbers there and back."""

    variable: Any
    parameter: Tensor
    to_keras: Move
    to_torch: Move


@dataclass
class Mirrored:
    """A layer's module, and its weights."""

    module: nn.Module
    weights: list[Weight] = field(default_factory=list)


class Layer(NamedTuple):
    """What a layer's mirror is made of: the Keras layer, and the shapes of what it reads and gives."""

    keras: Any
    reads: Shapes
    gives: tuple[int | None, ...]

    def refuse(self, what: str) -> UnsupportedError:
        """An error about it."""
        name = f"{self.keras.name} ({type(self.keras).__name__})"
        return UnsupportedError(f"Keras' layer {name} {what}, which has no counterpart in PyTorch here")


class Chain(nn.Sequential):
    """A layer's padding, operator and activation."""


class Multiply(nn.Module):
    """The product of its inputs."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Their product."""
        for other in others:
            first = first * other
        return first


class Add(nn.Module):
    """The sum of its inputs."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Their sum."""
        for other in others:
            first = first + other
        return first


class Concatenate(nn.Module):
    """Its inputs behind each other, as channels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """All channels."""
        return torch.cat(inputs, 1)


class Flatten(nn.Module):
    """The values in Keras' order: rows, columns, channels."""

    def forward(self, x: Tensor) -> Tensor:
        """N×values."""
        return x.flatten(1) if x.ndim != 4 or x.shape[2:].numel() == 1 else x.permute(0, 2, 3, 1).flatten(1)


class AsMap(nn.Module):
    """Values as a map of one pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """N×C×1×1."""
        return x.reshape(*x.shape[:2], 1, 1)


class GlobalAverage(nn.Module):
    """The average of each channel."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """N×C, or N×C×1×1 where the axes are kept."""
        return x.mean((2, 3), keepdim=self.keep)


def mirrored(keras: Any, reads: Shapes, gives: tuple[int | None, ...]) -> Mirrored:
    """The mirror of a layer.

    Raises:
        UnsupportedError: a layer, or a setting of it, that has none.
    """
    layer = Layer(keras, reads, gives)
    make = LAYERS.get(type(keras).__name__)
    if make is None or not type(keras).__module__.startswith("keras."):
        raise layer.refuse("is of a type")
    if getattr(keras, "data_format", "channels_last") != "channels_last":
        raise layer.refuse("has its channels first")
    return make(layer)


def _activation(layer: Layer) -> list[nn.Module]:
    function = getattr(layer.keras, "activation", None)
    name = getattr(function, "__name__", "linear")
    if name == "linear":
        return []
    if name == "softmax":
        return [nn.Softmax(1)]
    if name not in ACTIVATIONS:
        raise layer.refuse(f"has the activation {name}")
    return [ACTIVATIONS[name]()]


def _chain(*modules: nn.Module) -> nn.Module:
    return modules[0] if len(modules) == 1 else Chain(*modules)


def _pads(layer: Layer, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    """Before and behind each axis of a map, for the layer's `padding`."""
    if layer.keras.padding == "valid":
        return [(0, 0), (0, 0)]
    found = []
    for size, span, step, apart in zip(layer.reads[0][1:3], kernel, stride, dilation, strict=True):
        reach = apart * (span - 1) + 1
        if size is None and step > 1:
            raise layer.refuse("pads a map of free size for a stride above 1")
        whole = max(reach - step if size is None or size % step == 0 else reach - size % step, 0)
        found.append((whole // 2, whole - whole // 2))
    return found


def _padding(pads: Sequence[tuple[int, int]], value: float = 0.0) -> tuple[list[nn.Module], tuple[int, int]]:
    """Modules before an operator, and its own padding."""
    (top, bottom), (left, right) = pads
    if (top, left) == (bottom, right):
        return [], (top, left)
    return [nn.ConstantPad2d((left, right, top, bottom), value)], (0, 0)


def _convolution(layer: Layer) -> Mirrored:
    keras = layer.keras
    height, width, depth, features = keras.kernel.shape
    pads, own = _padding(_pads(layer, keras.kernel_size, keras.strides, keras.dilation_rate))
    made = nn.Conv2d(
        depth * keras.groups,
        features,
        (height, width),
        keras.strides,
        own,
        keras.dilation_rate,
        keras.groups,
        keras.use_bias,
    )
    weights = [Weight(keras.kernel, made.weight, lambda x: x.permute(2, 3, 1, 0), lambda x: x.permute(3, 2, 0, 1))]
    return Mirrored(_chain(*pads, made, *_activation(layer)), weights + _bias(keras, made))


def _depthwise(layer: Layer) -> Mirrored:
    keras = layer.keras
    height, width, channels, times = keras.kernel.shape
    pads, own = _padding(_pads(layer, keras.kernel_size, keras.strides, keras.dilation_rate))
    features = channels * times
    made = nn.Conv2d(
        channels, features, (height, width), keras.strides, own, keras.dilation_rate, channels, keras.use_bias
    )

    def to_keras(x: Tensor) -> Tensor:
        return x.reshape(channels, times, height, width).permute(2, 3, 0, 1)

    def to_torch(x: Tensor) -> Tensor:
        return x.permute(2, 3, 0, 1).reshape(features, 1, height, width)

    weights = [Weight(keras.kernel, made.weight, to_keras, to_torch)]
    return Mirrored(_chain(*pads, made, *_activation(layer)), weights + _bias(keras, made))


def _dense(layer: Layer) -> Mirrored:
    keras = layer.keras
    if len(layer.reads[0]) != 2:
        raise layer.refuse("works along an axis of a map")
    values, features = keras.kernel.shape
    made = nn.Linear(values, features, keras.use_bias)
    weights = [Weight(keras.kernel, made.weight, lambda x: x.t(), lambda x: x.t())]
    return Mirrored(_chain(made, *_activation(layer)), weights + _bias(keras, made))


def _same(x: Tensor) -> Tensor:
    return x


def _bias(keras: Any, made: nn.Module) -> list[Weight]:
    return [Weight(keras.bias, made.bias, _same, _same)] if keras.use_bias else []  # type: ignore[arg-type]


def _normalization(layer: Layer) -> Mirrored:
    keras = layer.keras
    axis = keras.axis if isinstance(keras.axis, int) else keras.axis[0]
    if axis not in (-1, len(layer.reads[0]) - 1):
        raise layer.refuse(f"works on axis {axis}")
    if not (keras.scale and keras.center):
        raise layer.refuse("has no scale or no shift")
    kind = nn.BatchNorm2d if len(layer.reads[0]) == 4 else nn.BatchNorm1d
    made = kind(int(keras.gamma.shape[0]), keras.epsilon)
    pairs = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    weights = [Weight(getattr(keras, ours), getattr(made, theirs), _same, _same) for ours, theirs in pairs.items()]
    return Mirrored(made, weights)


def _maximum(layer: Layer) -> Mirrored:
    keras = layer.keras
    pads, own = _padding(_pads(layer, keras.pool_size, keras.strides, (1, 1)), float("-inf"))
    return Mirrored(_chain(*pads, nn.MaxPool2d(keras.pool_size, keras.strides, own)))


def _average(layer: Layer) -> Mirrored:
    keras = layer.keras
    pads, own = _padding(_pads(layer, keras.pool_size, keras.strides, (1, 1)))
    if pads:
        raise layer.refuse("pads more behind than before and averages without the padding")
    return Mirrored(nn.AvgPool2d(keras.pool_size, keras.strides, own, count_include_pad=False))


def _zeros(layer: Layer) -> Mirrored:
    (top, bottom), (left, right) = layer.keras.padding
    return Mirrored(nn.ZeroPad2d((left, right, top, bottom)))


def _rectifier(layer: Layer) -> Mirrored:
    keras = layer.keras
    most, slope = keras.max_value, float(keras.negative_slope)
    if keras.threshold or (most is not None and (slope or float(most) != 6)):
        raise layer.refuse(f"rectifies with threshold {keras.threshold}, slope {slope} and {most} at most")
    return Mirrored(nn.LeakyReLU(slope) if slope else nn.ReLU() if most is None else nn.ReLU6())


def _reshaping(layer: Layer) -> Mirrored:
    before, after = layer.reads[0], layer.gives
    if len(after) == 2:
        return Mirrored(Flatten())
    if len(before) == 2 and after[1:] == (1, 1, before[1]):
        return Mirrored(AsMap())
    if before[1:] == after[1:]:
        return Mirrored(nn.Identity())
    raise layer.refuse(f"makes {after[1:]} of {before[1:]}")


def _joined(layer: Layer) -> Mirrored:
    if layer.keras.axis not in (-1, len(layer.gives) - 1):
        raise layer.refuse(f"joins along axis {layer.keras.axis}")
    return Mirrored(Concatenate())


def _parametric(layer: Layer) -> Mirrored:
    alpha = layer.keras.alpha
    if any(size != 1 for size in alpha.shape[:-1]):
        raise layer.refuse("has a slope for each place")
    made = nn.PReLU(int(alpha.shape[-1]))
    shape = tuple(alpha.shape)
    return Mirrored(made, [Weight(alpha, made.weight, lambda x: x.reshape(shape), lambda x: x.reshape(-1))])


def _activated(layer: Layer) -> Mirrored:
    return Mirrored(_chain(*(_activation(layer) or [nn.Identity()])))


def _softmax(layer: Layer) -> Mirrored:
    if layer.keras.axis not in (-1, len(layer.gives) - 1):
        raise layer.refuse(f"works along axis {layer.keras.axis}")
    return Mirrored(nn.Softmax(1))


def _nothing(layer: Layer) -> Mirrored:
    return Mirrored(nn.Identity())


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}

LAYERS: dict[str, Callable[[Layer], Mirrored]] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "Dense": _dense,
    "BatchNormalization": _normalization,
    "MaxPooling2D": _maximum,
    "AveragePooling2D": _average,
    "GlobalAveragePooling2D": lambda layer: Mirrored(GlobalAverage(layer.keras.keepdims)),
    "ZeroPadding2D": _zeros,
    "ReLU": _rectifier,
    "LeakyReLU": lambda layer: Mirrored(nn.LeakyReLU(float(layer.keras.negative_slope))),
    "PReLU": _parametric,
    "Activation": _activated,
    "Softmax": _softmax,
    "Add": lambda layer: Mirrored(Add()),
    "Multiply": lambda layer: Mirrored(Multiply()),
    "Concatenate": _joined,
    "Flatten": lambda layer: Mirrored(Flatten()),
    "Reshape": _reshaping,
    "Dropout": _nothing,
    "SpatialDropout2D": _nothing,
}
