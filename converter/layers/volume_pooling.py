"""Pooling over frames, rows and columns, or any axes (forks: pool3d_layer.cpp, pooling3d_layer.cpp, NdPooling)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.pooling import LEAST, windows_rounded_down, windows_rounded_up
from converter.layers.shared.fixed import CONSTANT
from converter.layers.volumes import read_kernel, read_shape, section_of
from converter.node import Layer, Node
from prototxt import NetLayer
from prototxt.caffe_pb2 import Pooling3DParameter, PoolingParameter

Method = Literal["MAX", "AVE", "AVE_EXC_PAD"]
Drops = Literal["never", "each", "all"]
_METHODS: dict[int, Method] = {
    Pooling3DParameter.MAX: "MAX",
    Pooling3DParameter.AVE: "AVE",
    Pooling3DParameter.AVE_EXC_PAD: "AVE_EXC_PAD",
    PoolingParameter.AVE_EXC_PAD: "AVE_EXC_PAD",
}


class _VolumePooling(Layer):
    """Windows over all axes behind the channels; an average divides as Pooling's does.

    Attributes:
        drops: whether a last window that starts behind the image is dropped: `each` axis by itself where it is padded,
            `all` as soon as one is.
        exact: whether the source says what an average divides by when a window hangs over the padded image.
    """

    method: Method = "MAX"
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    pad_end: tuple[int, ...] = ()
    global_pooling: bool = False
    rounds_up: bool = True
    drops: Drops = "never"
    exact: bool = True

    def _window(self, shape: Shape) -> tuple[int, ...]:
        return tuple(map(int, shape[2:])) if self.global_pooling else self.kernel

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        shape, axes = inputs[0], len(self.stride)
        require(len(shape) == axes + 2, f"the bottom is {format_shape(shape)}; expected {axes + 2} axes")
        require(not any(map(is_free, shape[2:])), "its windows follow the sizes behind the channels; give them")
        sizes = [self._count(int(shape[2 + axis]), axis, self._window(shape)[axis]) for axis in range(axes)]
        fits = min(sizes) >= 1
        require(fits, f"the kernel {format_shape(self._window(shape))} does not fit the bottom {format_shape(shape)}")
        if not self.exact and self.method != "MAX":
            ends = self._overhang(shape, sizes)
            over = any(end > pad for end, pad in zip(ends, self.pad_end, strict=True))
            require(not over, "a window hangs over the end, and its source does not say what cuDNN divides by there")
        return [(*shape[:2], *sizes)]

    def _count(self, size: int, axis: int, kernel: int) -> int:
        stride, before = self.stride[axis], self.pad[axis]
        rule = windows_rounded_up if self.rounds_up else windows_rounded_down
        windows = rule(size, kernel, stride, before + self.pad_end[axis])
        padded = {"never": False, "each": before > 0, "all": any(self.pad + self.pad_end)}[self.drops]
        return windows - 1 if padded and (windows - 1) * stride >= size + before else windows

    def _overhang(self, shape: Shape, windows: Sequence[int]) -> list[int]:
        """By how much the last window of each axis goes beyond the end; 0 where it ends before."""
        spans = zip(shape[2:], windows, self._window(shape), self.stride, self.pad, strict=True)
        return [max((int(n) - 1) * s + k - p - int(size), 0) for size, n, k, s, p in spans]

    def _ratio(self, node: Node) -> npt.NDArray[np.float32] | None:
        """The whole window's size over what the average divides by; None where both are the same everywhere."""
        divisor = np.ones((), np.float64)
        for axis, k in enumerate(self._window(node.shape)):
            size, end = int(node.shape[2 + axis]), self.pad_end[axis]
            start = np.arange(int(node.outputs[0].shape[2 + axis])) * self.stride[axis] - self.pad[axis]
            inside = self.method == "AVE_EXC_PAD"
            extent = np.minimum(start + k, size if inside else size + end) - (np.maximum(start, 0) if inside else start)
            divisor = divisor[..., None] * extent
        with np.errstate(divide="ignore"):
            ratio = (count(self._window(node.shape)) / divisor).astype(np.float32)
        return None if (ratio == 1).all() else ratio

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str:
        maximum, ends = self.method == "MAX", self._overhang(node.shape, node.outputs[0].shape[2:])
        y = x[0]
        if any(self.pad) or max(ends) > 0:
            pads = g.ints([0, 0, *self.pad, 0, 0, *ends], "pads")
            y = g.op("Pad", y, pads, g.scalar(LEAST if maximum else 0.0, "fill"), mode="constant")
        window = {"kernel_shape": self._window(node.shape), "strides": self.stride}
        y = g.op("MaxPool" if maximum else "AveragePool", y, **window)
        ratio = None if maximum else self._ratio(node)
        return y if ratio is None else g.op("Mul", y, g.constant(ratio[None, None], "ratio"))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        maximum, ends = self.method == "MAX", self._overhang(node.shape, node.outputs[0].shape[2:])
        axes, y = len(self.stride), x[0]
        require(axes <= 3, f"{axes} axes behind the channels; PyTorch pools over at most 3")
        if any(self.pad) or max(ends) > 0:
            sides = tuple(side for pair in zip(self.pad[::-1], ends[::-1], strict=True) for side in pair)
            y = t.let("padded", f"F.pad({y}, {sides}, value={LEAST if maximum else 0.0!r})")
        y = f"F.{'max' if maximum else 'avg'}_pool{axes}d({y}, {self._window(node.shape)}, {self.stride})"
        ratio = None if maximum else self._ratio(node)
        if ratio is None:
            return y
        t.helper("Constant", CONSTANT)
        return f"{y} * {t.module('Constant', tuple(map(int, ratio.shape)), state={'value': ratio})}()"


@register
class Pooling3D(_VolumePooling):
    """Maximum or average over frames, rows and columns; three forks' layers.

    C3D's (pool3d_layer.cpp) has `kernel_size` for rows and columns and `kernel_depth` for frames. Sizes round up, no
    last window is dropped, and only an average takes a pad, of rows and columns. Synopsys' (pooling3d_layer.cpp) has
    sizes, strides and pads of each side for all three, rounds down unless `ceil_mode` is true, and drops a last window
    in the padding of any axis once one is padded. P3D's (pooling3d_layer.cpp) has `kernel_size` or its two sides for
    rows and columns and `kernel_l` for frames, rounds up, and drops as Synopsys' does.
    """

    types = ("Pooling3D",)

    @classmethod
    def read(cls, source: NetLayer) -> Pooling3D:
        section = section_of(source, "pooling3d_param", "pooling_param")
        p: Pooling3DParameter | PoolingParameter = getattr(source.param, section)
        method = _METHODS.get(p.pool)
        if method is None:
            raise unsupported(source, "pool STOCHASTIC; its fork has no code for it", section, "pool")
        if section == "pooling3d_param" and source.dialect == "synopsys":
            made = cls._of_synopsys(source.param.pooling3d_param, method)
        elif section == "pooling3d_param" and source.dialect == "p3d":
            made = cls._of_p3d(source, method)
        else:
            if method == "AVE_EXC_PAD":
                raise fault(source, "pool AVE_EXC_PAD; C3D has MAX and AVE", section, "pool")
            if p.pad and method == "MAX":
                raise fault(source, "a pad with pool MAX; C3D pads averages only", section, "pad")
            pad = (0, p.pad, p.pad)
            made = cls(method, (p.kernel_depth, *[p.kernel_size] * 2), (p.temporal_stride, *[p.stride] * 2), pad, pad)
        for name, values in (("kernel", made.kernel), ("stride", made.stride)):
            if min(values, default=1) < 1:
                raise fault(source, f"the {name} is {format_shape(values)}; expected at least 1 of each", section)
        return made

    @classmethod
    def _of_synopsys(cls, p: Pooling3DParameter, method: Method) -> Pooling3D:
        each: tuple[int, ...] = (p.kernel_d, p.kernel_h, p.kernel_w)
        kernel = (p.kernel_size,) * 3 if p.HasField("kernel_size") else each
        kernel = () if p.global_pooling else kernel
        stride = (p.stride,) * 3 if p.HasField("stride") else (p.stride_d, p.stride_h, p.stride_w)
        before = (p.pad,) * 3 if p.HasField("pad") else (p.pad_d0, p.pad_h0, p.pad_w0)
        behind = (p.pad,) * 3 if p.HasField("pad") else (p.pad_d1, p.pad_h1, p.pad_w1)
        return cls(method, kernel, stride, before, behind, p.global_pooling, p.ceil_mode, "all")

    @classmethod
    def _of_p3d(cls, source: NetLayer, method: Method) -> Pooling3D:
        p, section = source.param.pooling3d_param, "pooling3d_param"
        if method == "AVE_EXC_PAD":
            raise fault(source, "pool AVE_EXC_PAD; P3D has MAX and AVE", section, "pool")
        given = [name for name in ("kernel_size", "kernel_h", "kernel_w") if p.HasField(name)]
        if p.global_pooling and given:
            raise fault(source, "both global_pooling and a kernel size are given; expected one of them", section)
        whole = p.HasField("kernel_l") and given in (["kernel_size"], ["kernel_h", "kernel_w"])
        if not p.global_pooling and not whole:
            raise fault(source, "no kernel; expected kernel_l, and kernel_size or both kernel_h and kernel_w", section)
        sides: dict[str, tuple[int, int]] = {}
        for name in ("pad", "stride"):
            each = [f"{name}_{side}" for side in "hw" if p.HasField(f"{name}_{side}")]
            if each and (p.HasField(name) or len(each) == 1):
                raise fault(source, f"{each[0]}; expected {name}, or both {name}_h and {name}_w", section, each[0])
            both = getattr(p, name)
            sides[name] = (getattr(p, f"{name}_h"), getattr(p, f"{name}_w")) if each else (both, both)
        kernel = (p.kernel_l, *((p.kernel_size,) * 2 if given == ["kernel_size"] else (p.kernel_h, p.kernel_w)))
        stride, pad = (p.stride_l, *sides["stride"]), (p.pad_l, *sides["pad"])
        if p.global_pooling and (any(pad) or stride != (1, 1, 1)):
            raise fault(source, f"global_pooling with pad {pad} and stride {stride}; expected pad 0, stride 1", section)
        if not p.global_pooling and any(a >= k for a, k in zip(pad, kernel, strict=True)):
            message = f"pad {format_shape(pad)} is not below the kernel {format_shape(kernel)}"
            raise fault(source, message, section)
        return cls(method, () if p.global_pooling else kernel, stride, pad, pad, p.global_pooling, True, "all")


@register
class NdPooling(_VolumePooling):
    """Maximum or average over all axes behind the channels (video-caffe: cudnn_ndpooling_layer.cpp).

    Sizes round up; a last window in the padding of its axis is dropped. An average divides by the whole window. What
    it divides by where a window hangs over the padded end, only cuDNN knows: that is refused.
    """

    types = ("NdPooling",)

    @classmethod
    def read(cls, source: NetLayer) -> NdPooling:
        p, section = source.param.pooling_param, "pooling_param"
        if p.pool not in (PoolingParameter.MAX, PoolingParameter.AVE):
            name = PoolingParameter.PoolMethod.Name(p.pool)
            raise fault(source, f"pool {name}; its fork has MAX and AVE", section, "pool")
        kernel = read_kernel(source, section)
        stride = read_shape(source, section, "stride_shape", len(kernel), 1)
        pad = read_shape(source, section, "pad_shape", len(kernel), 0)
        method: Method = "MAX" if p.pool == PoolingParameter.MAX else "AVE"
        own = () if p.global_pooling else kernel
        if any(a >= k for a, k in zip(pad, own, strict=False)):
            message = f"pad_shape {format_shape(pad)} is not below kernel_shape {format_shape(kernel)}"
            raise unsupported(source, message, section, "pad_shape")
        return cls(method, own, stride, pad, pad, p.global_pooling, True, "each", False)
