"""Division of each channel by a spread that is stored, or measured over the batch (Caffe: batch_norm_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, rounded, wide
from verify.layers.shared.fused import rectified
from verify.layers.shared.rounding import centred_and_scaled

FLOOR = 1e-5
"""NVIDIA's batch_norm_layer.cpp, from 0.16 on, takes no smaller eps."""

THREE = ("mean", "variance", "factor")
NVIDIA_16 = (*THREE, "scale", "bias")
NVIDIA_15 = ("scale", "bias", *THREE)


def _is_nvidia(call: Call) -> bool:
    return call.layer.dialect.startswith("nvidia")


def _order(call: Call) -> tuple[str, ...]:
    """Which blob is which.

    Five with scale and bias inside: NVIDIA's net.cpp tells its two orders by the last blob, which has one value in that
    of 0.15; its 0.16 and Intel's mkldnn_batch_norm_layer.cpp write the other one. Four: the same without a bias
    (Intel's bias_term). Two or one: Intel's mkl_batch_norm_layer.cpp before it kept statistics.
    """
    blobs, fork, p = call.parameters.blobs, call.layer.dialect, call.param.batch_norm_param
    sizes = [math.prod(blob.shape) if blob is not None and blob.stored else 0 for blob in blobs]
    inside = p.scale_bias or p.HasField("scale_filler") or p.HasField("bias_filler")
    call.require(
        len(blobs) in (0, 5) or not (_is_nvidia(call) and inside),
        f"has {len(blobs)} blobs, but scale_bias or a filler for it asks for 5",
    )
    if len(blobs) == 5:
        known = fork != "bvlc" or set(sizes) != {1}
        call.require(known, "has 5 blobs of one value each; which is which can be told by a dialect only")
        last = fork == "nvidia15" if set(sizes) == {1} else sizes[4] == 1
        return NVIDIA_15 if last else NVIDIA_16
    if len(blobs) == 4 and sizes[2] == 1:
        return NVIDIA_16[:4]
    return NVIDIA_15[: len(blobs)] if fork == "intel" and len(blobs) in (1, 2) else THREE


def _learned(call: Call) -> dict[str, Wide]:
    """The blobs by what they are, with one axis each; cuDNN's are stored as 1×C×1×1."""
    order = _order(call)
    channels = call.x.shape[1] if call.x.ndim > 1 else 1
    shapes: list[tuple[int, ...]] = []
    for index, name in enumerate(order):
        values = 1 if name == "factor" else channels
        blob = call.parameters.blobs[index] if index < len(call.parameters.blobs) else None
        cudnn = blob is not None and blob.shape == (1, values, 1, 1)
        shapes.append((1, values, 1, 1) if cudnn else (values,))
    return {name: wide(blob.ravel()) for name, blob in zip(order, call.parameters.take(shapes), strict=True)}


def _uses_stored(call: Call) -> bool:
    """NVIDIA's layer goes by the phase alone."""
    p = call.param.batch_norm_param
    return p.use_global_stats if p.HasField("use_global_stats") and not _is_nvidia(call) else not call.train


def _moments(call: Call, learned: Mapping[str, Wide]) -> tuple[Wide, Wide]:
    """Mean and variance a channel: stored sums over the scale factor, or the batch's own.

    A factor of 0 counts as sums of 0, but with scale and bias inside as 1: NVIDIA's does not look at the factor, which
    is 1 or 0 in its files. Intel's does.
    """
    x = call.x
    if "mean" in learned and _uses_stored(call):
        call.ignores("stored statistics are those of no batch", "batch_norm_param.stats_batch_size")
        factor = float(learned["factor"][0])
        zero = 1.0 if "scale" in learned and call.layer.dialect != "intel" else 0.0
        share = zero if factor == 0 else 1.0 / factor
        return learned["mean"] * share, learned["variance"] * share
    if "mean" not in learned:
        call.ignores("nothing is stored", "batch_norm_param.use_global_stats")
    call.require(call.param.batch_norm_param.stats_batch_size == 0, "normalises parts of a batch (stats_batch_size)")
    lanes = wide(x.reshape(x.shape[0], x.shape[1] if x.ndim > 1 else 1, -1))
    centre = lanes.mean(axis=(0, 2))
    return centre, ((lanes - centre[:, None]) ** 2).mean(axis=(0, 2))


def _spread(call: Call, variance: Wide) -> Wide:
    """What BatchNorm divides by: the root of variance + eps, or with Synopsys' `add_eps_before_sqrt: false` eps more
    than the root (its batch_norm_layer.cpp).
    """
    p = call.param.batch_norm_param
    if p.HasField("add_eps_before_sqrt") and not p.add_eps_before_sqrt:
        return np.sqrt(variance) + p.eps
    return np.sqrt(variance + (max(p.eps, FLOOR) if _is_nvidia(call) else p.eps))


def _batch_norm_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    learned = _learned(call)
    spread = _spread(call, _moments(call, learned)[1])
    factor = np.abs(learned.get("scale", np.ones(1)))
    share = factor / spread
    most = float(np.max(share, initial=0.0))
    if "mean" in learned and _uses_stored(call):
        return [Sensitivity(2, (most if math.isfinite(most) else math.inf,))]
    lanes = np.moveaxis(call.x.reshape(call.x.shape[0], spread.size, -1), 1, 0).reshape(spread.size, -1)
    gain, own = centred_and_scaled(wide(lanes), spread)
    return [Sensitivity(2, (most if math.isfinite(gain) else gain,), own * largest(factor))]


@register("BatchNorm", error=_batch_norm_error, keeps_shape=True)
def batch_norm(call: Call) -> list[Array]:
    """(x - mean) / sqrt(variance + eps) a channel; factor and bias are a Scale layer's work, or stored inside.

    Blobs: running sums of means and of variances, and the factor to divide both by. A factor of 0, a layer never
    trained, counts as sums of 0, so y = x / sqrt(eps).
    """
    x, learned = call.x, _learned(call)
    mean, variance = _moments(call, learned)
    lanes = np.subtract(x.reshape(x.shape[0], mean.size, -1), mean[:, None], dtype=np.float64)
    spread = _spread(call, variance)[:, None]
    if "scale" not in learned and "bias" not in learned:
        top = rounded(np.divide, lanes, spread, lanes.shape).reshape(x.shape)
        return [rectified(call, top, "batch_norm_param", slope=False)]
    lanes /= spread
    if "scale" in learned:
        lanes *= learned["scale"][:, None]
    if "bias" in learned:
        lanes += learned["bias"][:, None]
    return [rectified(call, narrow(lanes.reshape(x.shape)), "batch_norm_param", slope=False)]
