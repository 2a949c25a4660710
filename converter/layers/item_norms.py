"""Normalisation by an item's own mean and deviation, of all its values or of groups of channels (forks' layers).

    layer          over                      blobs                    source
    InstanceNorm   a channel                 none                     instance_norm_layer.cpp, eps 1e-4
    GroupNorm      a group of channels       none, or two a channel   group_norm_layer.cpp of four forks
    LayerNorm      the item                  none, or two a value     layer_norm_layer.cpp (Synopsys')

All divide by sqrt(variance + eps), the variance being that over all values, not one less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, filler, register, require, shortest
from converter.node import Layer, Parameter
from prototxt import NetLayer
from prototxt.caffe_pb2 import FillerParameter
from prototxt.errors import NetError

if TYPE_CHECKING:
    from converter.node import Node

_ONE = FillerParameter(type="constant", value=1)
_ZERO = FillerParameter(type="constant", value=0)


class _ItemNorm(Layer):
    """What the three share; with `affine` the result times a learned factor, plus a learned summand."""

    eps: float = 1e-5
    affine: bool = False
    fillers: tuple[FillerParameter | None, FillerParameter | None] = field(default=(_ONE, _ZERO), repr=False)

    def _apart(self, shape: Shape) -> Shape:
        """The bottom with what is normalised together as its last axis."""
        raise NotImplementedError

    def _learned(self, shape: Shape) -> Shape:
        """The shape of a blob."""
        raise NotImplementedError

    def _beside(self, shape: Shape) -> Shape:
        """That which lines the blobs up with the bottom."""
        return self._learned(shape)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        if not self.affine:
            return ()
        shape = self._learned(inputs[0])
        return Parameter("weight", shape, self.fillers[0]), Parameter("bias", shape, self.fillers[1])

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        apart = self._apart(node.shape)
        axis = len(apart) - 1
        y = g.op("Reshape", x[0], g.ints([0, *map(int, apart[1:-1]), -1], "shape"))
        y = g.op("Sub", y, g.reduce("ReduceMean", y, [axis]))
        variance = g.reduce("ReduceMean", g.op("Mul", y, y), [axis])
        y = g.op("Div", y, g.op("Sqrt", g.op("Add", variance, g.scalar(self.eps, "eps"))))
        y = g.op("Reshape", y, g.op("Shape", x[0])) if any(map(is_free, node.shape)) else g.reshape(y, (), node.shape)
        if not self.affine:
            return y
        shape = self._beside(node.shape)
        y = g.op("Mul", y, g.weight(node.tensors["weight"].reshaped(shape)))
        return g.op("Add", y, g.weight(node.tensors["bias"].reshaped(shape)))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("ItemNorm", ITEM_NORM)
        apart = tuple(map(int, self._apart(node.shape)[1:-1]))
        keywords: dict[str, Any] = {}
        state = {}
        if self.affine:
            shape = tuple(map(int, self._beside(node.shape)))
            state = {name: node.tensors[name].reshaped(shape) for name in ("weight", "bias")}
            keywords["affine"] = shape
        return f"{t.module('ItemNorm', apart, self.eps, state=dict(state), **keywords)}({x[0]})"

    def torch_in_training(self, t: TorchOps, node: Node, *x: str) -> str:
        if not self.affine:
            return self.torch(t, node, *x)
        stored = tuple(map(int, self._learned(node.shape)))
        t.helper("ItemNorm", ITEM_NORM)
        apart, beside = tuple(map(int, self._apart(node.shape)[1:-1])), tuple(map(int, self._beside(node.shape)))
        keywords: dict[str, Any] = {"affine": stored}
        if beside != stored:
            keywords["beside"] = beside
        return f"{t.module('ItemNorm', apart, self.eps, state=dict(node.tensors), **keywords)}({x[0]})"


@register
class InstanceNorm(_ItemNorm):
    """Each channel of an item less its mean, over its deviation; eps is 1e-4 (forks: instance_norm_layer.cpp)."""

    types = ("InstanceNorm",)

    @classmethod
    def read(cls, source: NetLayer) -> InstanceNorm:
        return cls(1e-4)

    def told_by(self, blobs: Sequence[Shape]) -> InstanceNorm:
        raise NetError(f"it has {len(blobs)} blobs; the InstanceNorm whose source is known has none")

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) == 4, f"the bottom is {format_shape(inputs[0])}; expected 4 axes (N×C×H×W)")
        return list(inputs)

    def _apart(self, shape: Shape) -> Shape:
        return (shape[0], shape[1], count(shape[2:]))


@register
class GroupNorm(_ItemNorm):
    """Each group of channels of an item less its mean, over its deviation (forks: group_norm_layer.cpp).

    The number of groups is `group_num` (32 where none is given), `group_ratio` or, in hujie's fork, `group`. That one
    has a factor and a summand for each channel as blobs, the others have none.
    """

    types = ("GroupNorm",)
    groups: int = 32

    @classmethod
    def read(cls, source: NetLayer) -> GroupNorm:
        p, section = source.param.group_norm_param, "group_norm_param"
        given = [name for name in ("group_num", "group_ratio", "group") if p.HasField(name)]
        if len(given) > 1:
            message = f"both {given[0]} and {given[1]}, of two forks; expected one of them"
            raise fault(source, message, section, given[1])
        name = given[0] if given else "group_num"
        groups = getattr(p, name)
        if groups < 1:
            raise fault(source, f"{name} is {groups}; expected at least 1", section, name)
        fillers = (filler(p, "scale_filler"), filler(p, "bias_filler"))
        return cls(shortest(p.eps), name == "group", fillers, groups)

    def told_by(self, blobs: Sequence[Shape]) -> GroupNorm:
        if len(blobs) not in (0, 2):
            raise NetError(f"it has {len(blobs)} blobs; expected a factor and a summand, or none")
        return replace(self, affine=len(blobs) == 2)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        require(len(shape) >= 2, f"the bottom is {format_shape(shape)}; expected channels as its second axis")
        fits = not is_free(shape[1]) and int(shape[1]) % self.groups == 0
        require(fits, f"{shape[1]} channels are no multiple of the {self.groups} groups")
        return list(inputs)

    def _apart(self, shape: Shape) -> Shape:
        return (shape[0], self.groups, count(shape[1:]) // self.groups)

    def _learned(self, shape: Shape) -> Shape:
        return (1, shape[1], 1, 1)

    def _beside(self, shape: Shape) -> Shape:
        return (shape[1], *[1] * (len(shape) - 2))


@register
class LayerNorm(_ItemNorm):
    """An item less its mean, over its deviation, times a factor and plus a summand of each value.

    Synopsys' fork (layer_norm_layer.cpp) has those unless `elementwise_affine` is false; fengyang0317's never does.
    """

    types = ("LayerNorm",)

    @classmethod
    def read(cls, source: NetLayer) -> LayerNorm:
        p = source.param.layer_norm_param
        return cls(shortest(p.eps), p.elementwise_affine)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(len(inputs[0]) >= 2, f"the bottom is {format_shape(inputs[0])}; expected an axis of items and more")
        return list(inputs)

    def _apart(self, shape: Shape) -> Shape:
        return (shape[0], count(shape[1:]))

    def _learned(self, shape: Shape) -> Shape:
        return tuple(shape[1:])


ITEM_NORM = '''
class ItemNorm(nn.Module):
    """Parts of each item less their mean, over sqrt(variance + eps), and perhaps a factor and a summand.

    `parts` are how many there are in an item; `affine` is the shape of factor and summand, `beside` that in which they
    stand beside the input where it is another.
    """

    def __init__(self, parts, eps, affine=None, beside=None):
        super().__init__()
        self.parts, self.eps, self.beside = parts, eps, beside or affine
        self.weight = nn.Parameter(torch.ones(affine)) if affine else None
        self.bias = nn.Parameter(torch.zeros(affine)) if affine else None

    def forward(self, x):
        apart = x.reshape(len(x), *self.parts, -1)
        centred = apart - apart.mean(-1, keepdim=True)
        y = centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()
        y = y.view_as(x)
        return y if self.weight is None else y * self.weight.view(self.beside) + self.bias.view(self.beside)
'''
