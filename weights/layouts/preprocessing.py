"""Preprocessing folded into the first convolution, for a model that takes images as they are decoded.

    W * (s (x[order] - m)) + b  =  W' * x + b'
    W' = s W[order]                              input channels in the other order for RGB
    b' = b - s sum of W[o, c, y, x] m[c]         over channels and the whole kernel

Exact wherever the kernel lies inside the image. Caffe pads conv1 with zeros *after* the preprocessing, so its border is
the mean colour; the folded model pads the image itself with zeros, so its border is black. The difference does not
depend on the image: `border_effect` gives it for each place of conv1's output (three rows and three columns at 224×224,
5.3 % of the places). A model that pads with the mean (`torchvision.pad_with`) has none.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from weights.layouts.arrays import Float64Array, LazyArray
from weights.layouts.family import ResNet, bias_of

Order = Literal["bgr", "rgb"]
_CHANNELS: Final = 3


def fold_preprocessing(
    net: ResNet, *, order: Order = "bgr", mean: npt.ArrayLike | None = None, scale: float = 1.0
) -> ResNet:
    """The net for images that nobody has preprocessed.

    Args:
        net: its parameters.
        order: of the channels that the new model takes; MSRA's nets were trained on BGR.
        mean: what was subtracted, in the net's own order (B, G, R) whatever `order` says; one value stands for all.
        scale: factor after that.

    Raises:
        RequestError: another order, another number of mean values, or values that are not finite.
    """
    if order not in ("bgr", "rgb"):
        raise RequestError(f"input order {order!r}; expected bgr or rgb")
    subtracted, factor = channel_means(mean), checked_scale(scale)
    conv1 = next(iter(net.units))
    roles = dict(net.units[conv1])
    weight, bias = roles["weight"], bias_of(roles, conv1.outputs)

    def folded() -> Float64Array:
        values = weight.wide() * factor
        return values[:, ::-1] if order == "rgb" else values

    roles["weight"] = weight if order == "bgr" and factor == 1 else LazyArray(weight.shape, folded)
    if subtracted.any():
        roles["bias"] = LazyArray(bias.shape, lambda: bias.wide() - factor * weight.wide().sum((2, 3)) @ subtracted)
    return net.with_unit(conv1, roles)


def border_effect(net: ResNet, mean: npt.ArrayLike, size: tuple[int, int], *, scale: float = 1.0) -> Float64Array:
    """What folding adds to conv1's output, before BatchNorm: channels × height × width, 0 away from the border.

    Args:
        net: its parameters, not folded.
        mean: in the net's own order of channels.
        size: height and width of the image.
        scale: factor after the mean.

    Raises:
        RequestError: a mean or a size that makes no sense.
    """
    height, width = size
    if min(height, width) < 1:
        raise RequestError(f"an image of {height}×{width} has no border")
    subtracted = channel_means(mean)
    conv1 = next(iter(net.units))
    kernel, pad, stride = conv1.shape[-1], conv1.shape[-1] // 2, conv1.stride
    # One number a kernel position: what it adds when it lies outside, where a black pixel stands for the mean colour.
    taps = -checked_scale(scale) * np.einsum("ochw,c->ohw", net.units[conv1]["weight"].wide(), subtracted)
    rows, columns = (_inside(length, kernel, pad, stride) for length in (height, width))
    inside = np.einsum("yh,ohw,xw->oyx", rows, taps, columns)
    effect: Float64Array = taps.sum((1, 2))[:, None, None] - inside
    whole = np.outer(rows.min(1), columns.min(1)) == 1
    return np.where(whole, 0.0, effect)


def _inside(length: int, kernel: int, pad: int, stride: int) -> Float64Array:
    """Output × kernel positions: 1 where the position lies in the image."""
    outputs = (length + 2 * pad - kernel) // stride + 1
    at = np.arange(outputs)[:, None] * stride - pad + np.arange(kernel)
    return ((at >= 0) & (at < length)).astype(np.float64)


def channel_means(mean: npt.ArrayLike | None, channels: int = _CHANNELS) -> Float64Array:
    """A mean as a value for each channel.

    Raises:
        RequestError: a mean image, another number of values, or values that are not finite.
    """
    values = np.asarray([0.0] if mean is None else mean, np.float64)
    if values.ndim == 3 and values.shape[1:] == (1, 1):
        values = values.reshape(-1)
    if values.ndim == 3 and values.shape[0] == channels:
        average = ",".join(f"{value:g}" for value in values.mean((1, 2)))
        raise RequestError(
            f"a mean image cannot be folded into weights, only one value a channel: its own are {average}"
        )
    if values.shape not in ((1,), (channels,)):
        raise RequestError(f"{values.size} mean values for the {channels} channels of conv1")
    if not np.isfinite(values).all():
        raise RequestError("the mean is not finite")
    return np.broadcast_to(values, (channels,))


def checked_scale(scale: float) -> float:
    """A factor that can be folded.

    Raises:
        RequestError: 0, or no finite number.
    """
    if not np.isfinite(scale) or scale == 0:
        raise RequestError(f"scale {scale!r}; expected a finite number other than 0")
    return float(scale)
