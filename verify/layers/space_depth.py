"""Pixels traded for channels or for images of the batch (Synopsys' fork: depth_to_space_layer.cpp,
space_to_batch_nd_layer.cpp, batch_to_space_nd_layer.cpp).

With block sizes b over the axes 1 … M, place (o1 … oM) in a block and image n:

    batch image  ((o1 b2 + o2) b3 + …) N + n    pixel (y1, …)  <->  (y1 b1 + o1, …) of the padded or uncropped image
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from verify.layers.registry import Array, Call, register


def _block(call: Call, block: list[int], amounts: list[int]) -> list[tuple[int, int]]:
    """The amounts before and behind each axis, checked with the block."""
    call.require(bool(block) and min(block) > 0, f"block_shape {block} is not positive")
    call.require(len(block) < call.x.ndim, f"block_shape has {len(block)} sizes for {call.x.ndim} axes")
    call.require(len(amounts) == 2 * len(block), f"has {len(amounts)} amounts for {len(block)} axes, expected two each")
    call.require(min(amounts) >= 0, f"an amount of {min(amounts)} is below 0")
    return list(zip(amounts[::2], amounts[1::2], strict=True))


@register("SpaceToBatchND")
def space_to_batch_nd(call: Call) -> list[Array]:
    """The border of zeros first, then every b-th pixel from each place."""
    p = call.param.space_to_batch_nd_param
    block = list(p.block_shape)
    pairs = _block(call, block, list(p.paddings))
    rest = [(0, 0)] * (call.x.ndim - 1 - len(block))
    call.room([size + sum(pair) for size, pair in zip(call.x.shape, [(0, 0), *pairs, *rest], strict=True)])
    padded = np.pad(call.x, [(0, 0), *pairs, *rest])
    for size, b in zip(padded.shape[1:], block, strict=False):
        call.require(size % b == 0, f"{size} padded pixels do not divide by {b}")
    places = itertools.product(*map(range, block))
    images = [padded[(slice(None), *(slice(o, None, b) for o, b in zip(at, block, strict=True)))] for at in places]
    return [np.concatenate(images)]


@register("BatchToSpaceND")
def batch_to_space_nd(call: Call) -> list[Array]:
    """Each image's pixels to their place of every block, then the crops."""
    p = call.param.batch_to_space_nd_param
    block = list(p.block_shape)
    pairs = _block(call, block, list(p.crops))
    total = math.prod(block)
    call.require(call.x.shape[0] % total == 0, f"{call.x.shape[0]} images do not divide by {total}")
    images = call.x.shape[0] // total
    spatial = [size * b for size, b in zip(call.x.shape[1:], block, strict=False)]
    whole: Array = np.empty((images, *spatial, *call.x.shape[1 + len(block) :]), np.float32)
    for index, at in enumerate(itertools.product(*map(range, block))):
        where = tuple(slice(o, None, b) for o, b in zip(at, block, strict=True))
        whole[(slice(None), *where)] = call.x[index * images : (index + 1) * images]
    kept = [slice(before, size - behind) for size, (before, behind) in zip(spatial, pairs, strict=True)]
    call.require(all(k.stop > k.start for k in kept), f"crops {list(p.crops)} leave nothing")
    return [np.ascontiguousarray(whole[(slice(None), *kept)])]


@register("DepthToSpace")
def depth_to_space(call: Call) -> list[Array]:
    """The b·b blocks of the depth as the pixels of a square, b being `block_size`; TensorFlow's order, or CRD.

    `data_format` says where the depth lies and what it is made of: NHWC (unless said) and NCHW or DCR have the place in
    the square before the depth that is left, CRD behind it, as in PixelShuffle.
    """
    p = call.param.depth_to_space_param
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    b, kind = p.block_size, p.data_format
    call.require(kind in ("NHWC", "NCHW", "DCR", "CRD"), f"data_format {kind!r} is none of NHWC, NCHW, DCR and CRD")
    n, *sizes = call.x.shape
    h, w, c = sizes if kind == "NHWC" else (sizes[1], sizes[2], sizes[0])
    call.require(b > 0 and c % (b * b) == 0, f"a depth of {c} does not divide by {b}·{b}")
    d = c // (b * b)
    if kind == "NHWC":
        y = call.x.reshape(n, h, w, b, b, d).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, d)
    elif kind == "CRD":
        y = call.x.reshape(n, d, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, d, h * b, w * b)
    else:
        y = call.x.reshape(n, b, b, d, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, d, h * b, w * b)
    return [np.ascontiguousarray(y)]
