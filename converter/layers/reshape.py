"""A blob's values under another shape (Caffe: reshape_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from converter.emission import reshape_target
from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, at_least_one, fault, register, require
from converter.layers.rearrange import PixelShuffle
from converter.layers.shaping import Split
from converter.node import REFUSED, Layer
from converter.traits import ActsOn
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


@register
class Reshape(Layer):
    """A new shape for `num_axes` axes from `axis` on; 0 copies, one -1 is inferred (Caffe: reshape_layer.cpp).

    With `pixelshuffler` above 1 it is another layer, PixelShuffle, and the shape says nothing (Synopsys' fork).
    """

    types = ("Reshape",)
    acts_on: ClassVar[ActsOn] = "shape"
    gradient_memory = "joined"
    dims: tuple[int, ...] = ()
    axis: int = 0
    num_axes: int = -1
    shuffle: PixelShuffle | None = None

    @classmethod
    def read(cls, source: NetLayer) -> Reshape:
        p = source.param.reshape_param
        at_least_one(source, "reshape_param", "pixelshuffler")
        if p.pixelshuffler > 1:
            return _Shuffling(shuffle=PixelShuffle(p.pixelshuffler))
        dims = tuple(p.shape.dim)
        if dims.count(-1) > 1:
            raise fault(source, "more than one -1 among the dims; expected at most one", "reshape_param", "shape")
        if any(d < -1 for d in dims):
            raise fault(source, f"dim {min(dims)}; expected -1, 0 or a size", "reshape_param", "shape", "dim")
        if p.num_axes < -1:
            raise fault(source, f"num_axes is {p.num_axes}; expected -1 or more", "reshape_param", "num_axes")
        return cls(dims, p.axis, p.num_axes)

    @property
    def in_place(self) -> str:
        return REFUSED

    @classmethod
    def memory(cls, source: NetLayer) -> Sequence[int]:
        return [0] if source.param.reshape_param.pixelshuffler <= 1 else super().memory(source)

    def _start_end(self, rank: int) -> tuple[int, int]:
        start = self.axis if self.axis >= 0 else rank + self.axis + 1
        require(0 <= start <= rank, f"axis {self.axis} is out of range for a blob of {rank} axes")
        end = rank if self.num_axes == -1 else start + self.num_axes
        require(end <= rank, f"axes {start} to {end - 1} of a blob of {rank} axes")
        return start, end

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        if self.shuffle:
            return self.shuffle.infer(inputs)
        (shape,) = inputs
        start, end = self._start_end(len(shape))
        middle: list[int] = []
        for i, dim in enumerate(self.dims):
            require(dim != 0 or start + i < len(shape), f"dim {i} is 0, but the bottom has no axis {start + i} to copy")
            middle.append(shape[start + i] if dim == 0 else dim)
        head, tail = shape[:start], shape[end:]
        total = count(shape)
        if -1 in self.dims:
            known = count((*head, *(d for d in middle if d != -1), *tail))
            require(known != 0 and int(total) % int(known) == 0, f"{total} values can't fill rows of {known}")
            middle[self.dims.index(-1)] = _quotient(total, known, shape, (*head, *middle, *tail))
        after = (*head, *middle, *tail)
        require(
            int(count(after)) == int(total),
            f"{format_shape(shape)} has {total} values, the new shape {format_shape(after)} {count(after)}",
        )
        return [after]

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        if self.shuffle:
            return self.shuffle.onnx(g, node, *x)
        return g.reshape(x[0], node.shape, node.outputs[0].shape)

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        if self.shuffle:
            return self.shuffle.torch(t, node, *x)
        start, end = self._start_end(len(node.shape))
        out = node.outputs[0].shape
        kept = set(range(start)) | {start + i for i, d in enumerate(self.dims) if d == 0}
        behind = len(out) - (len(node.shape) - end)
        dims = []
        for i in range(len(out)):
            if i in kept:
                dims.append(f"{x[0]}.shape[{i}]")
            elif i >= behind:
                dims.append(f"{x[0]}.shape[{i - behind + end}]")
            else:
                dims.append(str(self.dims[i - start]))
        return f"{x[0]}.reshape({', '.join(dims) or '()'})"


class _Shuffling(Reshape):
    """With `pixelshuffler`: values move, over the map and the channels."""

    acts_on = "map"


def _quotient(total: int, known: int, before: Shape, after: Sequence[int]) -> int:
    """`total / known` with the free dimensions that both hold cancelled, so that what is fixed stays fixed."""
    kept = [str(d) for d in after if is_free(d)]
    rest: list[int] = []
    for dim in before:
        if is_free(dim) and str(dim) in kept:
            kept.remove(str(dim))
        else:
            rest.append(dim)
    if kept:
        return total // known
    fixed = count(int(d) for d in after if not is_free(d) and d != -1)
    return count(rest) // fixed


def same_numbers(before: Shape, after: Shape) -> Layer:
    """The layer that gives the numbers of a blob another shape of as many values."""
    if list(map(str, before)) == list(map(str, after)):
        return Split(1)
    target = reshape_target(before, after)
    if after and not any(map(is_free, after)):
        target[0] = -1  # The batch, which a PyTorch module leaves free.
    return Reshape(tuple(target))
