"""BN, batch normalisation as forks had it before BatchNorm came: a factor and a summand of its own, and no Scale layer.

    blobs                             fork                    top at test time
    slope, bias, mean, variance       yjxiong's, PSPNet's     slope * (x - mean) / sqrt(variance + eps) + bias
    the same, the last 1 / std        yjxiong's for cuDNN 4   slope * (x - mean) * last + bias
    scale, shift, mean, variance      Chenglong Chen's        as the first, with an eps of 1e-10 (caffe-windows), but
                                                              with the batch's m and v unless moving_average is true
    the same                          SegStereo's             the same, but m and v if use_history_in_test is false
    scale, shift; bn_mode INFERENCE   SegNet's, DeconvNet's   scale * x + shift
    scale, shift; bn_mode LEARN       the same                scale * (x - m) / sqrt(v + 1e-9) + shift, of the batch

The number of stored blobs tells SegNet's from the others'; without weights the written fields do (`prototxt.dialects`).
Nothing in a file shows the cuDNN 4 form, so it has to be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar

from converter.graph import Shape, format_shape
from converter.layers.arithmetic import Scale
from converter.layers.base import OnnxOps, TorchOps, fault, filler, register, require, shortest
from converter.layers.batch_norm import BatchNorm
from converter.node import Layer, Parameter
from converter.traits import KeptStatistics
from prototxt import NetLayer
from prototxt.caffe_pb2 import BNParameter, FillerParameter, LayerParameter

if TYPE_CHECKING:
    from converter.node import Node

_ONE = FillerParameter(type="constant", value=1)
SEGNET_EPS = 1e-9


class _Form(Layer):
    """One meaning of a BN layer, which knows the others until the stored blobs decide.

    Attributes:
        forms: by the number of blobs.
        blob_axes: of each stored blob: 2 for 1×C, 4 for 1×C×1×1, 1 for C.
        affine: fillers of the factor and the summand.
    """

    reads_first = True
    acts_on = "channels"
    forms: Mapping[int, _Form] = field(default_factory=dict, repr=False, compare=False)
    blob_axes: int = field(default=4, repr=False)
    affine: tuple[FillerParameter | None, FillerParameter | None] = field(default=(None, None), repr=False)

    @property
    def untrainable(self) -> str:
        return "how this fork's statistics move in training is not known here"

    def told_by(self, blobs: Sequence[Shape]) -> _Form:
        return replace(self.forms.get(len(blobs), self), forms=self.forms, blob_axes=len(blobs[0]))

    def make_plain(self, param: LayerParameter) -> None:
        """Nothing: no layer of BVLC's does the same."""

    def stored(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of a blob, which holds a value a channel."""
        channels = inputs[0][1]
        return (channels,) if self.blob_axes == 1 else (1, channels, *[1] * (self.blob_axes - 2))


def _check_image(shape: Shape) -> None:
    require(len(shape) == 4, f"the bottom is {format_shape(shape)}; expected 4 axes (N×C×H×W)")


class StoredStatistics(_Form, BatchNorm):
    """Four blobs, of which mean and variance may count for nothing. Forks for films have it of five axes (P3D, ECO).

    Attributes:
        inverse: the last blob is the inverse standard deviation, in which `eps_inside` is contained already.
        set_aside_by: the field that has it normalise by the batch at hand; empty where what is stored counts.
    """

    inverse: bool = False
    eps_inside: float = 0.0
    set_aside_by: str = ""

    @property
    def caution(self) -> str:
        if not self.set_aside_by:
            return self.doubt
        by = f"normalises by the batch given, not by what is stored: {self.set_aside_by} is"
        if self.set_aside_by == "moving_average":
            return f"{by} not true, as Chenglong Chen's Caffe wants it (--dialect BN=segstereo for another reading)"
        return f"{by} false"

    @property
    def batch_field(self) -> tuple[str, ...] | None:
        return ("bn_param", self.set_aside_by) if self.set_aside_by else None

    @property
    def statistics(self) -> Sequence[KeptStatistics]:
        if self.inverse:
            return (KeptStatistics(spread="inverse_std", eps=self.eps_inside, inverse=True),)
        return (KeptStatistics(eps=self.eps),)

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        require(2 <= len(inputs[0]) <= 5, f"the bottom is {format_shape(inputs[0])}; expected 2 to 5 axes")
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        shape = self.stored(inputs)
        return (
            Parameter("gamma", shape, self.affine[0]),
            Parameter("beta", shape, self.affine[1]),
            Parameter("mean", shape),
            Parameter("inverse_std" if self.inverse else "variance", shape),
        )


class BatchStatistics(_Form, BatchNorm):
    """Two blobs, and the mean and variance of the batch at hand, at test time too; a second and third top have them."""

    @property
    def batch_field(self) -> tuple[str, ...] | None:
        return ()

    @property
    def statistics(self) -> Sequence[KeptStatistics]:
        return ()

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        _check_image(inputs[0])
        a_channel = (1, inputs[0][1], 1, 1)
        return [inputs[0], a_channel, a_channel]

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        shape = self.stored(inputs)
        return (Parameter("gamma", shape, self.affine[0]), Parameter("beta", shape, self.affine[1]))

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> str | list[str]:
        y = super().onnx(g, node, *x)
        if len(node.outputs) == 1:
            return y
        axes = [0, 2, 3]
        mean = g.reduce("ReduceMean", x[0], axes)
        off = g.op("Sub", x[0], mean)
        return [str(y), mean, g.reduce("ReduceMean", g.op("Mul", off, off), axes)][: len(node.outputs)]

    def torch(self, t: TorchOps, node: Node, *x: str) -> str | list[str]:
        moments = (f"{x[0]}.mean((0, 2, 3), keepdim=True)", f"{x[0]}.var((0, 2, 3), correction=0, keepdim=True)")
        y = super().torch(t, node, *x)
        return y if len(node.outputs) == 1 else [str(y), *moments[: len(node.outputs) - 1]]


class FoldedStatistics(_Form, Scale):
    """Two blobs, in which mean and variance are contained: a factor and a summand a channel."""

    axis_fields: ClassVar[tuple[str, ...]] = ()
    bias_term: bool = True

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        _check_image(inputs[0])
        return list(inputs)

    def parameters(self, inputs: Sequence[Shape]) -> tuple[Parameter, ...]:
        shape = self.stored(inputs)
        return (Parameter("weight", shape, self.affine[0]), Parameter("bias", shape, self.affine[1]))


_OF_CHEN = ("caffe_windows", "segstereo", "segnet")
"""Dialects whose four blobs are read by the fields of Chenglong Chen's fork, which are SegNet's and more."""


def _set_aside_by(source: NetLayer) -> str:
    """The field that has four blobs' mean and variance count for nothing; empty where they count."""
    p = source.param.bn_param
    averages = p.moving_average  # asked for in any case: in SegStereo's fork it says nothing
    if source.dialect == "segstereo":
        return "" if p.use_history_in_test else "use_history_in_test"
    if p.HasField("moving_average") or source.dialect == "caffe_windows":
        return "" if averages else "moving_average"
    of_another = p.HasField("eps") or p.HasField("bn_mode")  # which Chenglong Chen's has not
    return "moving_average" if source.dialect == "segnet" and not of_another else ""


def _eps_field(source: NetLayer) -> str:
    """Of four blobs: PSPNet's `eps`, or `var_eps` of the forks whose fields are those of SegNet's."""
    p = source.param.bn_param
    if not p.HasField("eps"):
        return "var_eps" if source.dialect in _OF_CHEN else "eps"
    if p.HasField("var_eps"):
        raise fault(source, "eps and var_eps, which are of different forks", "bn_param", "var_eps")
    return "eps"


@register
class BN(_Form):
    """Batch normalisation of forks with a factor and a summand inside; the stored blobs tell which form it is.

    A second and third top are the mean and variance of the batch (two blobs, bn_mode LEARN; DeconvNet's fork).
    Four blobs' statistics are ignored for those of the batch unless `moving_average` is true (Chenglong Chen's Caffe
    for Windows), or where `use_history_in_test` is false (SegStereo's fork, which follows it);
    `frozen`, `momentum` and Synopsys' `icnet` say nothing that the blobs don't.
    """

    types = ("BN",)
    tops = (1, 3)
    read_as = (StoredStatistics, BatchStatistics, FoldedStatistics)
    keeps_statistics = True

    @classmethod
    def read(cls, source: NetLayer) -> _Form:
        p, section = source.param.bn_param, "bn_param"
        name = _eps_field(source)
        eps = shortest(getattr(p, name))
        if eps < 0:
            raise fault(source, f"{name} is {eps:g}; expected 0 or more", section, name)
        factor = filler(p, "scale_filler") or filler(p, "slope_filler") or _ONE
        affine = (factor, filler(p, "shift_filler") or filler(p, "bias_filler"))
        aside = _set_aside_by(source)
        inverse = source.dialect == "cudnn4" and not aside
        four = StoredStatistics(eps, not aside, affine=affine, set_aside_by=aside)
        if inverse:
            four = replace(four, eps=0.0, inverse=True, eps_inside=eps)
        two: _Form = BatchStatistics(SEGNET_EPS, False, affine=affine)
        if p.bn_mode == BNParameter.INFERENCE:
            two = FoldedStatistics(affine=affine)
        forms = {2: two, 4: four}
        return replace(forms[2 if source.dialect == "segnet" else 4], forms=forms)
