"""Layers that divide by a measured or stored spread (Caffe: batch_norm, lrn, mvn)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, rounded, wide
from verify.layers.shared.fused import rectified
from verify.layers.shared.rounding import centred_and_scaled, of_sum

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


def _lrn_size(call: Call) -> int:
    size = call.param.lrn_param.local_size
    call.require(size % 2 == 1, f"local_size {size} is not odd")
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    return size


def _lrn_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p = call.param.lrn_param
    window = p.local_size if p.norm_region == p.ACROSS_CHANNELS else p.local_size**2
    base = p.k if p.norm_region == p.ACROSS_CHANNELS else 1.0
    direct = float(abs(base) ** -p.beta) if base else math.inf
    own = _running_sum_error(call) if p.norm_region == p.ACROSS_CHANNELS else 0.0
    return [Sensitivity(window, (direct * (1.0 + 2.0 * abs(p.beta)),), own)]


def _running_sum_error(call: Call) -> float:
    """Caffe, and onnxruntime, add the next channel's square to a sum and take the last one's off.

    So the rounding of the largest sum of a pixel stays in all that follow, and where it is as large as one of them
    (k and the sum itself), nothing can be said of that.
    """
    p = call.param.lrn_param
    squares = wide(call.x) ** 2
    share = p.alpha / p.local_size * _window_sum(squares, 1, p.local_size // 2)
    base = np.abs(p.k + share)
    off = of_sum(2 * call.x.shape[1] + p.local_size) * np.abs(share).max(axis=1, keepdims=True, initial=0.0)
    if bool(np.any((base < 2 * off) & (call.x != 0))):
        return math.inf
    grown = np.abs(wide(call.x)) * base**-p.beta * abs(p.beta) * 2 * off / base
    return largest(grown)


@register("LRN", error=_lrn_error, keeps_shape=True)
def lrn(call: Call) -> list[Array]:
    """x / (k + alpha · mean of squares nearby) ** beta.

    ACROSS_CHANNELS: nearby are `local_size` channels. WITHIN_CHANNEL: `local_size`² pixels, always divided by all of
    them, zeros outside the image included, and k is 1 whatever was given.
    """
    p = call.param.lrn_param
    size = _lrn_size(call)
    half = size // 2
    squares = wide(call.x) ** 2
    if p.norm_region == p.ACROSS_CHANNELS:
        near = _window_sum(squares, 1, half) / size
        base = p.k + p.alpha * near
    else:
        call.ignores("k is 1 within a channel", "lrn_param.k")
        near = _window_sum(_window_sum(squares, 2, half), 3, half) / size**2
        base = 1.0 + p.alpha * near
    return [narrow(wide(call.x) * base**-p.beta)]


def _window_sum(x: Wide, axis: int, half: int) -> Wide:
    """Sum over 2 half + 1 neighbours along `axis`, zeros outside."""
    lanes = np.moveaxis(x, axis, 0)
    total = lanes.copy()
    for shift in range(1, min(half, len(lanes) - 1) + 1):
        total[:-shift] += lanes[shift:]
        total[shift:] += lanes[:-shift]
    return np.moveaxis(total, 0, axis)


def _lanes(call: Call) -> Wide:
    """Rows over which MVN takes mean and spread: a sample's channel, or the whole sample."""
    call.require(call.x.ndim <= 4, f"needs a bottom of at most 4 axes, it has {call.x.ndim}")
    count = math.prod(call.x.shape[: 1 if call.param.mvn_param.across_channels else 2])
    return wide(call.x.reshape(count, -1))


def _mvn_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p, lanes = call.param.mvn_param, _lanes(call)
    deviation = lanes.std(axis=1)
    spread = np.sqrt(deviation**2 + p.eps) if p.add_eps_before_sqrt else deviation + p.eps
    gain, own = centred_and_scaled(lanes, spread if p.normalize_variance else None)
    return [Sensitivity(1, (gain,), own)]


@register("MVN", error=_mvn_error)
def mvn(call: Call) -> list[Array]:
    """(x - mean) / (standard deviation + eps) over each channel, or each sample.

    eps is outside the root, but with `add_eps_before_sqrt` (Synopsys' mvn_layer.cpp). The top is N×C×H×W, axes that the
    bottom lacks being 1, as it is shaped by num(), channels(), height() and width().
    """
    p, lanes = call.param.mvn_param, _lanes(call)
    lanes -= lanes.mean(axis=1, keepdims=True)
    if p.normalize_variance:
        variance = (lanes**2).mean(axis=1, keepdims=True)
        lanes /= np.sqrt(variance + p.eps) if p.add_eps_before_sqrt else np.sqrt(variance) + p.eps
    else:
        call.ignores("only the mean is taken off", "mvn_param.eps", "mvn_param.add_eps_before_sqrt")
    return [narrow(lanes.reshape((*call.x.shape, 1, 1, 1, 1)[:4]))]
