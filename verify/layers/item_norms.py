"""Normalisation by an item's own mean and deviation, from forks' instance_norm_layer.cpp, group_norm_layer.cpp (four
forks, one of them hujie's with blobs) and layer_norm_layer.cpp (Synopsys').
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide
from verify.layers.shared.rounding import UNIT_ROUNDOFF, centred_and_scaled


def _instances(call: Call) -> tuple[int, float]:
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    call.require(not call.parameters.blobs, "has blobs, which the layer whose source is known has not")
    return call.x.shape[1], 1e-4


def _groups(call: Call) -> tuple[int, float]:
    p = call.param.group_norm_param
    given = [getattr(p, name) for name in ("group_num", "group_ratio", "group") if p.HasField(name)]
    call.require(len(given) < 2, "has two forks' numbers of groups")
    groups = given[0] if given else p.group_num
    call.require(call.x.ndim > 1 and groups > 0, "needs channels, and a number of groups above 0")
    call.require(call.x.shape[1] % groups == 0, f"{call.x.shape[1]} channels do not divide into {groups} groups")
    return groups, p.eps


def _items(call: Call) -> tuple[int, float]:
    call.require(call.x.ndim > 1, "needs a bottom of at least 2 axes")
    return 1, call.param.layer_norm_param.eps


_PARTS = {"InstanceNorm": _instances, "GroupNorm": _groups, "LayerNorm": _items}


def _lanes(call: Call) -> tuple[Wide, Wide]:
    """Rows of what goes together, and what they are divided by once their mean is taken off."""
    parts, eps = _PARTS[call.layer.type](call)
    lanes = wide(call.x).reshape(len(call.x) * parts, -1)
    return lanes, np.sqrt(lanes.var(axis=1) + eps)


def _affine(call: Call) -> list[Wide]:
    """Factor and summand, ready to broadcast; none where the layer has no blobs."""
    channels = (call.x.shape[1], *(1,) * (call.x.ndim - 2))
    if call.layer.type == "LayerNorm" and call.param.layer_norm_param.elementwise_affine:
        return [wide(blob) for blob in call.parameters.take([call.x.shape[1:]] * 2)]
    stated = call.layer.type == "GroupNorm" and call.param.group_norm_param.HasField("group")
    if call.layer.type == "GroupNorm" and (call.parameters.blobs or stated):
        shapes = [(1, channels[0], 1, 1)] * 2
        return [wide(blob).reshape(channels) for blob in call.parameters.take(shapes)]
    return []


def _error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    lanes, root = _lanes(call)
    gain, own = centred_and_scaled(lanes, root)
    affine = _affine(call)
    if not affine:
        return [Sensitivity(1, (gain,), own)]
    factor, summand = map(largest, affine)
    return [Sensitivity(2, (gain * factor,), own * factor + 2 * UNIT_ROUNDOFF * summand)]


@register("InstanceNorm", "GroupNorm", "LayerNorm", error=_error)
def item_norm(call: Call) -> list[Array]:
    """(x - mean) / sqrt(variance + eps) of each channel, group of channels or item, times a factor plus a summand."""
    lanes, root = _lanes(call)
    y = ((lanes - lanes.mean(axis=1, keepdims=True)) / root[:, None]).reshape(call.x.shape)
    affine = _affine(call)
    return [narrow(y * affine[0] + affine[1] if affine else y)]
