"""Layers that divide by a measured or stored spread (Caffe: batch_norm, lrn, mvn; Normalize from SSD)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide


def _moments(call: Call) -> tuple[Wide, Wide]:
    """Mean and variance a channel: stored sums over the scale factor (0 counts as 0), or the batch's own."""
    x, p = call.x, call.param.batch_norm_param
    channels = x.shape[1] if x.ndim > 1 else 1
    mean, variance, factor = call.parameters.take([(channels,), (channels,), (1,)])
    stored = p.use_global_stats if p.HasField("use_global_stats") else not call.train
    if stored:
        share = 0.0 if factor[0] == 0 else 1.0 / float(factor[0])
        return wide(mean) * share, wide(variance) * share
    lanes = wide(x.reshape(x.shape[0], channels, -1))
    centre = lanes.mean(axis=(0, 2))
    return centre, ((lanes - centre[:, None]) ** 2).mean(axis=(0, 2))


def _spread(call: Call, variance: Wide) -> Wide:
    """What BatchNorm divides by: the root of variance + eps, or with Synopsys' `add_eps_before_sqrt: false` eps more
    than the root (its batch_norm_layer.cpp).
    """
    p = call.param.batch_norm_param
    if p.HasField("add_eps_before_sqrt") and not p.add_eps_before_sqrt:
        return np.sqrt(variance) + p.eps
    return np.sqrt(variance + p.eps)


def _batch_norm_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    least = float(np.min(_spread(call, _moments(call)[1]), initial=math.inf))
    return [Sensitivity(2, (1 / least if least > 0 else math.inf,))]


@register("BatchNorm", error=_batch_norm_error)
def batch_norm(call: Call) -> list[Array]:
    """(x - mean) / sqrt(variance + eps) a channel; factor and bias are a Scale layer's work.

    Blobs: running sums of means and of variances, and the factor to divide both by. A factor of 0, a layer never
    trained, counts as sums of 0, so y = x / sqrt(eps).
    """
    mean, variance = _moments(call)
    x = call.x
    lanes = wide(x.reshape(x.shape[0], mean.size, -1))
    lanes -= mean[:, None]
    lanes /= _spread(call, variance)[:, None]
    return [narrow(lanes.reshape(x.shape))]


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
    return [Sensitivity(window, (direct * (1.0 + 2.0 * abs(p.beta)),))]


@register("LRN", error=_lrn_error)
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
    call.require(1 <= call.x.ndim <= 4, f"needs a bottom of 1 to 4 axes, it has {call.x.ndim}")
    count = math.prod(call.x.shape[: 1 if call.param.mvn_param.across_channels else 2])
    return wide(call.x.reshape(count, -1))


def _mvn_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    p, lanes = call.param.mvn_param, _lanes(call)
    spread = float(np.min(lanes.std(axis=1), initial=math.inf))
    least = math.sqrt(spread**2 + p.eps) if p.add_eps_before_sqrt else spread + p.eps
    least = least if p.normalize_variance else 1.0
    return [Sensitivity(lanes.shape[1], (1 / least if least else math.inf,))]


@register("MVN", error=_mvn_error)
def mvn(call: Call) -> list[Array]:
    """(x - mean) / (standard deviation + eps) over each channel, or each sample.

    eps is outside the root, but with `add_eps_before_sqrt` (Synopsys' mvn_layer.cpp).
    """
    p, lanes = call.param.mvn_param, _lanes(call)
    lanes -= lanes.mean(axis=1, keepdims=True)
    if p.normalize_variance:
        variance = (lanes**2).mean(axis=1, keepdims=True)
        lanes /= np.sqrt(variance + p.eps) if p.add_eps_before_sqrt else np.sqrt(variance) + p.eps
    return [narrow(lanes.reshape(call.x.shape))]


def _norms(call: Call) -> tuple[Wide, Array]:
    """Norms and factors, both ready to broadcast."""
    p = call.param.norm_param
    call.require(2 <= call.x.ndim <= 4, f"needs a bottom of 2 to 4 axes, it has {call.x.ndim}")
    axes = tuple(range(1, call.x.ndim)) if p.across_spatial else (1,)
    squares = (wide(call.x) ** 2).sum(axis=axes, keepdims=True)
    (factor,) = call.parameters.take([() if p.channel_shared else (call.x.shape[1],)])
    factor = factor.reshape(-1, *(1,) * (call.x.ndim - 2))
    if p.across_spatial and not p.add_eps_before_sqrt:
        return np.sqrt(squares) + p.eps, factor
    return np.sqrt(squares + p.eps), factor


def _normalize_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    norm, factor = _norms(call)
    terms = call.x[0].size if call.param.norm_param.across_spatial else call.x.shape[1]
    least = float(np.min(norm, initial=math.inf))
    return [Sensitivity(terms, (largest(factor) / least if least else math.inf,))]


@register("Normalize", error=_normalize_error)
def normalize(call: Call) -> list[Array]:
    """x · factor / sqrt(sum of squares + eps), over the channels of each pixel or the whole sample (SSD).

    `add_eps_before_sqrt: false` (Synopsys' normalize_layer.cpp) adds eps to the root, over the whole sample only.
    """
    norm, factor = _norms(call)
    return [narrow(wide(call.x) / norm * factor)]
