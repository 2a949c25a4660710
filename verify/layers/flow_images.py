"""FlowNet's ChannelNorm, Mean and DataAugmentation, from the files of those names in its fork."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from prototxt.caffe_pb2 import AugmentationParameter, RandomGeneratorParameter
from verify.layers.registry import Array, Call, Sensitivity, Wide, largest, narrow, register, wide
from verify.layers.shared.rounding import UNIT_ROUNDOFF


def _norm_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """An error in all channels at once lengthens a vector by the root of their number."""
    channels = call.x.shape[1]
    return [Sensitivity(channels + 1, (math.sqrt(channels),))]


@register("ChannelNorm", error=_norm_error)
def channel_norm(call: Call) -> list[Array]:
    """sqrt(sum over c of x²), one channel."""
    call.require(call.x.ndim == 4, f"needs a bottom of 4 axes, it has {call.x.ndim}")
    return [narrow(np.sqrt((wide(call.x) ** 2).sum(axis=1, keepdims=True)))]


def _shifts(call: Call, channels: int) -> Wide:
    p = call.param.mean_param
    call.require(not p.HasField("file"), "takes its mean from a file")
    call.require(p.HasField("operation") and len(p.value) > 0, "has no operation or no value")
    call.require(channels % len(p.value) == 0, f"has {len(p.value)} values for {channels} channels")
    values = [p.value[c % len(p.value)] for c in range(channels)]
    return np.asarray(values) * (p.mean_scale if p.operation == p.ADD else -p.mean_scale)


def _mean_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Input, scaled, and mean are added before the last factor; where they cancel, their size is what is rounded."""
    p = call.param.mean_param
    found = []
    for place, bottom in enumerate(call.bottoms):
        size = abs(p.input_scale) * largest(bottom) + largest(_shifts(call, bottom.shape[1]))
        gains = [abs(p.input_scale * p.output_scale) if i == place else 0.0 for i in range(len(call.bottoms))]
        found.append(Sensitivity(1, tuple(gains), 4 * UNIT_ROUNDOFF * abs(p.output_scale) * size))
    return found


@register("Mean", bottoms=(1, None), error=_mean_error)
def mean(call: Call) -> list[Array]:
    """output_scale · (input_scale · x ± mean_scale · value[c modulo their number])."""
    p, made = call.param.mean_param, []
    call.require(len(call.layer.tops) == len(call.bottoms), "needs a top for each bottom")
    for bottom in call.bottoms:
        call.require(bottom.ndim == 4, f"needs bottoms of 4 axes, one has {bottom.ndim}")
        shifted = p.input_scale * wide(bottom) + _shifts(call, bottom.shape[1]).reshape(1, -1, 1, 1)
        made.append(narrow(p.output_scale * shifted))
    return made


def _cropped(call: Call) -> Wide:
    """Rows y + (H - h) / 2 and columns likewise, held within 0 and size - 1.05, between the pixels around them."""
    p, image = call.param.augmentation_param, wide(call.x)
    if not (p.HasField("crop_height") and p.HasField("crop_width")):
        call.ignores("one size is no crop", "augmentation_param.crop_height", "augmentation_param.crop_width")
        return image
    for axis, count in ((2, p.crop_height), (3, p.crop_width)):
        size = image.shape[axis]
        call.require(0 < count <= size, f"crops {count} of {size}")
        call.require(call.x.size <= 1 << 24, "crops a blob of more than 2**24 values")
        end = np.float32(size) - np.float32(1.05)
        places = np.arange(count, dtype=np.float32) + np.float32((size - count) / 2)
        places = np.maximum(np.minimum(places, end), np.float32(0))
        below = places.astype(np.int64)
        above = np.minimum(below + 1, size - 1)
        share = wide(places - below).reshape(-1, *(1,) * (3 - axis))
        image = np.take(image, below, axis) * (1 - share) + np.take(image, above, axis) * share
    return image


def _taken_away(call: Call, size: tuple[int, ...]) -> Wide:
    """The mean, ready to be taken from an image of `size`."""
    p, channels = call.param.augmentation_param, call.x.shape[1]
    stored = [() if blob is None else blob.shape for blob in call.parameters.blobs]
    if not p.recompute_mean:
        if stored:
            call.parameters.take(stored)  # a count of iterations, perhaps of a net that had a mean
        if p.mean_per_pixel:
            call.ignores("it is a mean of channels", "augmentation_param.mean")
            return np.zeros(())
        call.require(len(p.mean) in (0, 3), f"has {len(p.mean)} means, of which only three count")
        if not p.mean:
            return np.zeros(())
        call.require(channels == 3, f"has {channels} channels and 3 means")
        return np.asarray(p.mean).reshape(1, 3, 1, 1)
    call.ignores("the mean is in blobs", "augmentation_param.mean")
    shapes = stored if len(stored) == 3 else [(1, 1, 1, 1), (1, channels, *size[2:]), (1, channels, 1, 1)]
    iterations, image, each = call.parameters.take(shapes)
    call.require(int(iterations.ravel()[0]) >= p.recompute_mean, "has a mean that is not finished")
    call.require(image.ndim == 4 and image.shape[1] == channels == each.size, "has means of other channels")
    if not p.mean_per_pixel:
        return wide(each.reshape(1, -1, 1, 1))
    return wide(image if image.shape[2:] == size[2:] else image.mean(axis=(2, 3), dtype=np.float64, keepdims=True))


def _augmentation_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Four pixels and the mean."""
    size = largest(call.x) + largest(_taken_away(call, tops[0].shape))
    return [Sensitivity(1, (1.0,), 10 * UNIT_ROUNDOFF * size)]


@register("DataAugmentation", error=_augmentation_error)
def data_augmentation(call: Call) -> list[Array]:
    """The middle of the image less its mean, where nothing is changed at random."""
    p, section = call.param.augmentation_param, "augmentation_param"
    call.require(call.x.ndim == 4 and len(call.layer.tops) == 1, "needs a bottom of 4 axes and one top")
    chances = [f.name for f in AugmentationParameter.DESCRIPTOR.fields if f.message_type is not None]
    asked = [name for name in chances if p.HasField(name)]
    if asked and p.HasField("crop_height") and p.HasField("crop_width"):
        call.require(not p.augment_during_test, f"changes images at random ({', '.join(asked)})")
    inner = [f.name for f in RandomGeneratorParameter.DESCRIPTOR.fields]
    paths = [*chances, *(f"{name}.{each}" for name in chances for each in inner)]
    others = ("augment_during_test", "max_multiplier", "chromatic_eigvec")
    call.ignores("nothing is changed at random", *(f"{section}.{path}" for path in (*paths, *others)))
    image = _cropped(call)
    return [narrow(image - _taken_away(call, image.shape))]
