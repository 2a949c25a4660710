"""BN, batch normalisation as forks had it before BatchNorm came.

Facts from the sources of SegNet's fork (two blobs), of yjxiong's and PSPNet's (four), of Chenglong Chen's Caffe for
Windows and SegStereo's (four, with SegNet's fields) and of Synopsys' (both), all named bn_layer.cpp, and from
yjxiong's change log: with cuDNN 4 the fourth blob was a running 1 / sqrt(variance + eps).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide

SEGNET_EPS = 1e-9


def _stored(call: Call, channels: int) -> list[Wide]:
    """The blobs, a value a channel, whatever ones their stored shapes have (1×C or 1×C×1×1)."""
    shapes = [
        b.shape if b is not None and math.prod(b.shape) == channels else (1, channels) for b in call.parameters.blobs
    ]
    call.require(len(shapes) in (0, 2, 4), f"has {len(shapes)} blobs, expected 4, or SegNet's 2")
    return [wide(blob.ravel()) for blob in call.parameters.take(shapes or [(1, channels)] * 4)]


def _of_batch(call: Call) -> list[Wide]:
    axes = tuple(axis for axis in range(call.x.ndim) if axis != 1)
    return [wide(call.x).mean(axis=axes), wide(call.x).var(axis=axes)]


def _eps(call: Call) -> float:
    """What four blobs' variance is enlarged by: 1e-5 by default, and 1e-10 where SegNet's fields are in use."""
    p = call.param.bn_param
    call.require(not (p.HasField("eps") and p.HasField("var_eps")), "has eps and var_eps, of different forks")
    if not p.HasField("eps") and call.layer.dialect in ("caffe_windows", "segnet", "segstereo"):
        return float(p.var_eps)
    return float(p.eps)


def _knows_history(call: Call) -> bool:
    """Whether the mean and variance that four blobs hold are used at all."""
    p = call.param.bn_param
    if call.layer.dialect == "segstereo":
        call.ignores("its fork has it for nothing", "bn_param.moving_average")
        return bool(p.use_history_in_test)
    chens = call.layer.dialect == "caffe_windows"
    if call.layer.dialect == "segnet":  # four blobs, so not SegNet's; whose fields say neither bn_mode nor eps
        chens = not (p.HasField("bn_mode") or p.HasField("eps"))
    return bool(p.moving_average) if chens or p.HasField("moving_average") else True


def _terms(call: Call) -> tuple[Wide, Wide]:
    """Factor and summand a channel."""
    p = call.param.bn_param
    call.require(2 <= call.x.ndim <= 5, f"needs a bottom of 2 to 5 axes, it has {call.x.ndim}")
    slope, bias, *stored = _stored(call, call.x.shape[1])
    if not stored:
        call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
        unused = ("moving_average", "use_history_in_test", "var_eps", "eps")
        call.ignores("two blobs hold no statistics", *(f"bn_param.{name}" for name in unused))
        if p.bn_mode == p.INFERENCE:
            return slope, bias
    call.ignores("four blobs outweigh it", "bn_param.bn_mode")
    eps = _eps(call)
    if not stored or (call.train and not p.frozen) or not _knows_history(call):
        mean, variance = _of_batch(call)
        factor = slope / np.sqrt(variance + (eps if stored else SEGNET_EPS))
    elif call.layer.dialect == "cudnn4":
        mean, factor = stored[0], slope * stored[1]
    else:
        mean, factor = stored[0], slope / np.sqrt(stored[1] + eps)
    return factor, bias - factor * mean


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """The batch's variance follows a change of x by 2 · |x - mean| of it, and is a sum of squares."""
    factor, _ = _terms(call)
    values = call.x.size // max(1, call.x.shape[1])
    moments = [Sensitivity(values, (1.0,)), Sensitivity(2 * values, (2 * _farthest(call),))] if len(tops) > 1 else []
    return [Sensitivity(4, (largest(factor),)), *moments[: len(tops) - 1]]


def _farthest(call: Call) -> float:
    """The largest distance of a value from its channel's mean."""
    return largest(wide(call.x) - _of_batch(call)[0].reshape(1, -1, 1, 1))


@register("BN", error=_error)
def bn(call: Call) -> list[Array]:
    """slope · (x - mean) / sqrt(variance + eps) + bias.

    Four blobs, in the order slope, bias, mean, variance, nothing divided by a factor; `frozen` uses the stored ones in
    training too, a `moving_average` that is not true (Chen) and `use_history_in_test: false` (SegStereo) never. As
    `cudnn4` the fourth is the inverse standard deviation. Two blobs, scale and shift, are SegNet's: with bn_mode
    INFERENCE mean and variance have been folded into them, and with LEARN they are the batch's own in either phase, and
    eps is 1e-9; with LEARN alone a second and third top are mean and variance (HyeonwooNoh's fork; with INFERENCE they
    would never be written).
    """
    factor, summand = _terms(call)
    channel = (-1, *[1] * (call.x.ndim - 2))
    top = narrow(wide(call.x) * factor.reshape(channel) + summand.reshape(channel))
    more = len(call.layer.tops) - 1
    if not more:
        return [top]
    learns = len(call.parameters.blobs) == 2 and call.param.bn_param.bn_mode == call.param.bn_param.LEARN
    call.require(learns, "has tops for mean and variance, which two blobs and bn_mode LEARN alone fill")
    return [top, *(narrow(moment.reshape(1, -1, 1, 1)) for moment in _of_batch(call)[:more])]
