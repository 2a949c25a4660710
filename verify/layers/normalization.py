"""Division by a spread that is measured over neighbours or an item (Caffe: lrn_layer.cpp, mvn_layer.cpp)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide
from verify.layers.shared.rounding import centred_and_scaled, of_sum


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
