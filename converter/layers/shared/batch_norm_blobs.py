"""What a BatchNorm stores, and in what order: BVLC's three blobs, or NVIDIA's and Intel's with scale and bias inside.

    blobs                                   whose
    mean, variance, factor                  BVLC's; Intel's engine CAFFE
    mean, variance, factor, scale, bias     NVIDIA's from 0.16 on; Intel's engines MKL2017 and MKLDNN
    mean, variance, factor, scale           these, with bias_term: false
    scale, bias, mean, variance, factor     NVIDIA's 0.15, on which DIGITS trained
    scale, bias                             Intel's MKL2017 until November 2016: the batch's own statistics
    scale                                   the same with bias_term: false

NVIDIA's swaps the fourth into the second when the last blob holds one value (net.cpp), and so does this. The stored
blobs decide; without them what the net states does.
"""

from __future__ import annotations

from collections.abc import Sequence

from converter.graph import Shape, count
from prototxt import NetLayer
from prototxt.errors import NetError

Roles = tuple[str, ...]

STATISTICS: Roles = ("mean", "variance", "scale_factor")
AFFINE: Roles = ("gamma", "beta")
INSIDE: Roles = STATISTICS + AFFINE
INSIDE_BEFORE: Roles = AFFINE + STATISTICS
NVIDIA = ("nvidia", "nvidia15")
LEAST_EPS = 1e-5
"""NVIDIA's from 0.16 on adds no less (batch_norm_layer.cpp; 0.16.1 1e-4), 0.15 on a GPU (cudnn_batch_norm_layer.cu)."""


def stated_roles(source: NetLayer) -> Roles:
    """The blobs as the net alone has them, where there are none in a file."""
    p, fork = source.param.batch_norm_param, source.dialect
    if fork in NVIDIA:
        inside = p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler")
        return (INSIDE if fork == "nvidia" else INSIDE_BEFORE) if inside else STATISTICS
    given = any(p.HasField(name) for name in ("use_weight_bias", "bias_term", "filler", "bias_filler"))
    if not given or not p.use_weight_bias:
        return STATISTICS
    return INSIDE if p.bias_term else (*STATISTICS, "gamma")


def stored_roles(shapes: Sequence[Shape], fork: str, stated: Roles) -> Roles:
    """The blobs as their number and the place of the one-value blob tell them; `stated` where they don't.

    Raises:
        NetError: three blobs where scale and bias are asked for, or five of one value each.
    """
    single = [i for i, shape in enumerate(shapes) if shape and count(shape) == 1]
    if len(shapes) == 5:
        if single == [4]:
            return INSIDE_BEFORE
        if len(single) == 5 and fork not in (*NVIDIA, "intel"):
            raise NetError(
                "its five blobs hold one value each, so nothing tells mean, variance, factor, scale, bias "
                "(--dialect BatchNorm=nvidia or =intel) from scale, bias, mean, variance, factor (=nvidia15)"
            )
        return INSIDE_BEFORE if len(single) == 5 and fork == "nvidia15" else INSIDE
    if fork in NVIDIA and "gamma" in stated:
        raise NetError(
            f"scale_bias: true (or a scale_filler) asks for five blobs; the file has {len(shapes)}, "
            "mean, variance and factor where there are three"
        )
    if len(shapes) == 4 and 2 in single:
        return (*STATISTICS, "gamma")
    if 0 < len(shapes) < 3 and fork == "intel":
        return AFFINE[: len(shapes)]
    return STATISTICS


def blob_shape(role: str, channels: Shape, axes: int) -> Shape:
    """The stored shape of one: a value a channel, but for the factor; with 4 axes 1×C×1×1, as cuDNN takes it."""
    values = (1,) if role == "scale_factor" else channels
    return values if axes == 1 else (1, *values, 1, 1)


def blob_axes(shape: Shape) -> int:
    """Whether a blob has cuDNN's four axes or one; the old form of all blobs, 1×1×1×C, counts as one."""
    return 4 if len(shape) == 4 and shape[1] == count(shape) else 1


def doubt(shapes: Sequence[Shape], roles: Roles, fork: str, eps: float) -> str:
    """What the user should know of blobs that could be read otherwise; empty for nothing."""
    if len(shapes) != 5:
        return ""
    if max(map(count, shapes)) == 1:
        return f"holds one value in each of its five blobs: they are read as {', '.join(roles)}"
    if roles == INSIDE and fork != "nvidia" and len(shapes[0]) == 4 and shapes[0][1] > 1:
        return "has blobs of NVIDIA's cuDNN form: they are read as 0.16 does, where 0.14 had scale and bias first"
    if roles == INSIDE_BEFORE and fork not in NVIDIA and eps < LEAST_EPS:
        return f"has eps {eps:g}, which NVIDIA's Caffe raises to {LEAST_EPS:g} on a GPU (--dialect BatchNorm=nvidia15)"
    return ""
