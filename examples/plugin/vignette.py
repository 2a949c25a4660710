"""A plugin: the layer `Vignette`, made up for this example, which darkens an image towards its corners.

y = gain * x * (1 - strength * d)        gain: learned, one a channel
                                         d: distance from the centre as a share of the corner's, or its square
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from resnet_convert.plugin import (
    Array,
    Call,
    Layer,
    NetLayer,
    Node,
    OnnxOps,
    Parameter,
    Sensitivity,
    Shape,
    TorchOps,
    check,
    is_free,
    register,
    require,
    shortest,
)

SECTION = {"strength": 0.5, "falloff": ("LINEAR", "SQUARE")}
SQUARE = 1


@register
@dataclass(frozen=True)
class Vignette(Layer):
    """Pixels lose up to `strength` of their value towards the corners; a learned gain a channel."""

    types = ("Vignette",)
    sections: ClassVar = {"vignette_param": SECTION}
    strength: float = 0.5
    square: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> Vignette:
        section = source.section("vignette_param")
        return cls(shortest(section.strength), section.falloff == SQUARE)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        (shape,) = inputs
        require(len(shape) == 4, f"the bottom has {len(shape)} axes; expected 4 (N×C×H×W)")
        require(not any(map(is_free, shape[1:])), "only the batch can be left free: the mask has the image's size")
        return [shape]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        return (Parameter("gain", (inputs[0][1],)),)

    def mask(self, height: int, width: int) -> Any:
        """The factor of each pixel, 1×H×W."""
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        distance = np.sqrt((x**2 + y**2) / 2)
        return (1 - self.strength * (distance**2 if self.square else distance)).astype(np.float32)[None]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        gain = g.unsqueeze(g.weight(node.tensors["gain"]), [1, 2])
        return g.op("Mul", g.op("Mul", x[0], gain), g.constant(self.mask(*node.shape[2:]), "mask"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Vignette", MODULE)
        state = {"gain": node.tensors["gain"], "mask": self.mask(*node.shape[2:])}
        return f"{t.module('Vignette', *map(int, node.shape[1:]), state=state)}({x[0]})"


MODULE = '''
class Vignette(nn.Module):
    """Darkens an image towards its corners; a learned gain a channel."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.register_buffer("mask", torch.ones(1, height, width))

    def forward(self, x):
        return x * self.gain[:, None, None] * self.mask
'''


def gains(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """How far an error of the bottom can grow: by the largest gain."""
    (gain,) = call.parameters.take([(call.x.shape[1],)])
    return [Sensitivity(2, (float(np.abs(gain).max()),))]


@check("Vignette", error=gains)
def vignette(call: Call) -> list[Array]:
    """The same once more, pixel by pixel and from the formula, so that a slip above does not pass."""
    section = call.layer.section("vignette_param")
    (gain,) = call.parameters.take([(call.x.shape[1],)])
    top = np.empty(call.x.shape)
    rows, columns = call.x.shape[2:]
    for i, j in np.ndindex(rows, columns):
        y, x = 2 * i / (rows - 1) - 1, 2 * j / (columns - 1) - 1
        share = (x * x + y * y) / 2
        falloff = share if section.falloff == SQUARE else share**0.5
        top[:, :, i, j] = call.x[:, :, i, j] * gain * (1 - section.strength * falloff)
    return [top.astype(np.float32)]
