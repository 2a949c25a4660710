"""Layers that divide by a norm, from the sources of SSD's, happynear's, OpenVINO's and C3D's forks.

SSD's, happynear's and yjxiong's (TSN) bear one name. Sections of the prototxt tell the first two, else the stored
blobs: SSD's alone has one. What tells yjxiong's is `layer.dialect`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide


def _is_ssds(call: Call) -> bool:
    if call.layer.dialect == "ssd" and not call.layer.dialect_evidence and not call.param.HasField("norm_param"):
        return bool(call.parameters.blobs)
    return call.layer.dialect == "ssd"


def _norms(call: Call) -> tuple[Wide, Array]:
    """SSD's: norms and factors, both ready to broadcast."""
    p = call.param.norm_param
    call.require(2 <= call.x.ndim <= 4, f"needs a bottom of 2 to 4 axes, it has {call.x.ndim}")
    call.require(len(call.layer.tops) == 1, f"makes 1 top, not {len(call.layer.tops)}")
    axes = tuple(range(1, call.x.ndim)) if p.across_spatial else (1,)
    squares = (wide(call.x) ** 2).sum(axis=axes, keepdims=True)
    (factor,) = call.parameters.take([() if p.channel_shared else (call.x.shape[1],)])
    factor = factor.reshape(-1, *(1,) * (call.x.ndim - 2))
    if not p.across_spatial:
        call.ignores("the fork reads it for whole samples only", "norm_param.add_eps_before_sqrt")
    elif not p.add_eps_before_sqrt:
        return np.sqrt(squares) + p.eps, factor
    return np.sqrt(squares + p.eps), factor


def _lengths(call: Call) -> tuple[Wide, Wide]:
    """happynear's: the bottom with four axes, and the norm of each pixel's channels."""
    kind = call.param.normalize_param.normalize_type
    call.require(kind in ("L1", "L2"), f"normalize_type {kind!r} is neither L1 nor L2")
    call.require(call.x.ndim <= 4, f"needs a bottom of at most 4 axes, it has {call.x.ndim}")
    image = wide(call.x).reshape(*call.x.shape, *(1,) * (4 - call.x.ndim))
    powers = np.abs(image) if kind == "L1" else image**2
    total: Wide = powers.sum(axis=1, keepdims=True) + 1e-6
    return image, total if kind == "L1" else np.sqrt(total)


def _whole(call: Call) -> tuple[Wide, Wide]:
    """yjxiong's: the bottom with four axes, and each item's norm, to which nothing is added."""
    call.require(call.x.ndim <= 4, f"needs a bottom of at most 4 axes, it has {call.x.ndim}")
    call.require(len(call.layer.tops) == 1, f"makes 1 top, not {len(call.layer.tops)}")
    items = wide(call.x).reshape(*call.x.shape, *(1,) * (4 - call.x.ndim))
    squares: Wide = np.einsum("nchw,nchw->n", items, items)
    return items, np.sqrt(squares)[:, None, None, None]


def _normalize_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    if call.layer.dialect == "tsn":
        items, lengths = _whole(call)
        values = items[:1].size
        least = float(np.min(lengths, initial=math.inf))
        return [Sensitivity(values, ((1 + math.sqrt(values)) / least if least else math.inf,))]
    if not _is_ssds(call):
        channels = call.x.shape[1] if call.x.ndim > 1 else 1
        least = float(np.min(_lengths(call)[1], initial=math.inf))
        one = Sensitivity(channels, ((1 + math.sqrt(channels)) / least,))
        return [one, Sensitivity(channels, (math.sqrt(channels),))][: len(tops)]
    norm, factor = _norms(call)
    terms = call.x[0].size if call.param.norm_param.across_spatial else call.x.shape[1]
    least = float(np.min(norm, initial=math.inf))
    return [Sensitivity(terms, (largest(factor) / least if least else math.inf,))]


@register("Normalize", error=_normalize_error)
def normalize(call: Call) -> list[Array]:
    """x · factor / sqrt(sum of squares + eps), over the channels of each pixel or the whole sample (SSD).

    `add_eps_before_sqrt: false` (Synopsys' normalize_layer.cpp) adds eps to the root, over the whole sample only.
    happynear's has no factor, another eps, L1 norms as well and norms as a second top; yjxiong's has the whole
    sample without factor and eps.
    """
    if call.layer.dialect == "tsn":
        items, lengths = _whole(call)
        return [narrow(items / lengths)]
    if not _is_ssds(call):
        image, length = _lengths(call)
        return [narrow(image / length), narrow(length)][: len(call.layer.tops)]
    norm, factor = _norms(call)
    return [narrow(wide(call.x) / norm * factor)]


def _pixels(call: Call) -> Wide:
    """GRN's: what each pixel is divided by; a bottom of fewer than two axes has one channel."""
    bias = call.param.grn_param.bias
    call.require(bias >= 0, f"bias {bias:g} is below 0")
    call.require(call.x.ndim <= 4, f"needs a bottom of at most 4 axes, it has {call.x.ndim}")
    squares = wide(call.x) ** 2
    root: Wide = np.sqrt((squares if call.x.ndim < 2 else squares.sum(axis=1, keepdims=True)) + bias)
    return root


def _grn_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    channels = call.x.shape[1] if call.x.ndim > 1 else 1
    least = float(np.min(_pixels(call), initial=math.inf))
    return [Sensitivity(channels, ((1 + math.sqrt(channels)) / least if least else math.inf,))]


@register("GRN", error=_grn_error, keeps_shape=True)
def grn(call: Call) -> list[Array]:
    """x / sqrt(sum of squares + bias) over the channels of each pixel (OpenVINO's toolbox: grn_layer.cpp)."""
    return [narrow(wide(call.x) / _pixels(call))]


def _root(call: Call) -> Wide:
    call.require(call.x.ndim > 0, "needs a bottom with an axis of items, it has none")
    call.require(call.layer.tops[0] != call.layer.bottoms[0], "cannot work in place")
    axes = tuple(range(1, call.x.ndim))
    root: Wide = np.sqrt((wide(call.x) ** 2).sum(axis=axes, keepdims=True) + 1e-7)
    return root


def _l2_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    return [Sensitivity(call.x[:1].size, (1 / float(np.min(_root(call), initial=math.inf)),))]


@register("L2Normalize", error=_l2_error)
def l2_normalize(call: Call) -> list[Array]:
    """Each item over the root of the sum of its squares and 1e-7 (C3D 1.1: l2_normalize_layer.cpp)."""
    return [narrow(wide(call.x) / _root(call))]
