"""Pooling over a pyramid of windows (Caffe: spp_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, register, require, unsupported
from converter.layers.pooling import DRAWN, Pooling, PoolMethod
from converter.node import Layer, Node, Value
from prototxt import NetLayer
from prototxt.caffe_pb2 import SPPParameter


@register
class SPP(Layer):
    """Pooling into 1, 2×2, 4×4 … bins, each level flattened, one behind the other (Caffe: spp_layer.cpp).

    A level's kernel is the image's size over the bins, rounded up, and its stride; the padding shares out what is too
    much. So a level fits only where that padding is smaller than the kernel. A pyramid of height 1 isn't flattened.
    """

    types = ("SPP",)
    pyramid_height: int = 1
    method: PoolMethod = "MAX"

    @classmethod
    def read(cls, source: NetLayer) -> SPP:
        p = source.param.spp_param
        at_least_one(source, "spp_param", "pyramid_height")
        if p.pyramid_height > 12:
            message = f"pyramid_height is {p.pyramid_height}; expected at most 12"
            raise unsupported(source, message, "spp_param", "pyramid_height")
        methods: dict[int, PoolMethod] = {SPPParameter.MAX: "MAX", SPPParameter.AVE: "AVE"}
        return cls(p.pyramid_height, methods.get(p.pool, "STOCHASTIC"))

    @property
    def untrainable(self) -> str:
        return DRAWN if self.method == "STOCHASTIC" else ""

    def _levels(self, shape: Shape) -> list[Pooling]:
        require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")
        require(
            not any(map(is_free, shape[1:])), "the image's size and channels can't be left free: the bins follow it"
        )
        levels = []
        for bins in (2**level for level in range(self.pyramid_height)):
            kernel = tuple(-(-int(size) // bins) for size in shape[2:])
            pads = tuple((k * bins - int(size) + 1) // 2 for k, size in zip(kernel, shape[2:], strict=True))
            fits = all(p < k for p, k in zip(pads, kernel, strict=True))
            require(fits, f"{bins}×{bins} bins do not fit the image of {format_shape(shape[2:])}")
            padded = self.method == "STOCHASTIC" and any(pads)
            require(not padded, f"STOCHASTIC into {bins}×{bins} bins needs padding; expected MAX or AVE")
            pair = (kernel[0], kernel[1])
            levels.append(Pooling(self.method, pair, pair, (pads[0], pads[1]), (pads[0], pads[1])))
        return levels

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape = inputs[0]
        tops = [level.infer([shape])[0] for level in self._levels(shape)]
        return tops if self.pyramid_height == 1 else [(shape[0], sum(count(top[1:]) for top in tops))]

    def _pooled(self, node: Node) -> list[tuple[Pooling, Node]]:
        levels = self._levels(node.shape)
        tops = [Value("", level.infer([node.shape])[0], "") for level in levels]
        return [(level, Node(level, node.inputs, [top])) for level, top in zip(levels, tops, strict=True)]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        parts = [level.onnx(g, at, x[0])[0] for level, at in self._pooled(node)]
        if self.pyramid_height == 1:
            return parts[0]
        return g.op("Concat", *(g.op("Flatten", part, axis=1) for part in parts), axis=1)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        parts = [level.torch(t, at, x[0])[0] for level, at in self._pooled(node)]
        if self.pyramid_height == 1:
            return parts[0]
        return f"torch.cat([{', '.join(f'({part}).flatten(1)' for part in parts)}], dim=1)"
