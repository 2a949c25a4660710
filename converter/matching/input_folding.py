"""Preprocessing folded into the layers that read a net's input, before their weights go over.

    W · (s (x[order] - m)) + b  =  W' · x + b'
    W' = s W[order]
    b' = b - s · sum of W[o, c, …] m[c]          over channels and the whole kernel

Exact wherever the kernel lies inside the image. Caffe pads after the preprocessing, so its border is the mean colour;
who pads the image itself with zeros has a black one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, cast

import numpy as np

from converter.folding import Float64
from converter.matching.skeleton import NetPart, Skeleton, readers
from converter.matching.spread import values_of
from converter.tensor import Array, Tensor
from prototxt.errors import RequestError


def first_layers(caffe: Skeleton) -> list[NetPart]:
    """The layers that read the input of a net in plain form.

    Raises:
        RequestError: several inputs, or something that no preprocessing can be folded into.
    """
    if len(caffe.inputs) != 1:
        raise RequestError(f"the net has {len(caffe.inputs)} inputs; preprocessing can be folded for one")
    (image,) = caffe.inputs
    found = {id(part): part for part in readers(caffe.parts).get(id(image), [])}
    for part in found.values():
        ordinary = part.kind == "weighted sum" and part.settings["groups"] == 1 and not part.settings["transposed"]
        if not ordinary:
            raise RequestError(
                f"{part} reads the input; preprocessing can be folded into an ordinary convolution alone"
            )
    if not found:
        raise RequestError(f"nothing reads {image.label}; there is no convolution to fold preprocessing into")
    return list(found.values())


def fold_input(part: NetPart, *, rgb: bool, mean: Float64, scale: float) -> None:
    """Have a layer take what was not preprocessed.

    Args:
        part: a convolution or fully connected layer; its parameters are other ones then.
        rgb: whether it gets its channels in the other order.
        mean: what was subtracted, a value a channel, in the net's own order.
        scale: factor after that.
    """
    weight: Tensor = part.parameters["weight"]
    features, channels, area = part.settings["features"], part.settings["channels"], prod(part.settings["kernel"])
    turned = part.settings.get("stored") is not None

    def by_channel() -> Float64:
        stored = weight.load().reshape(-1, features).T if turned else weight.load()
        return np.asarray(stored, np.float64).reshape(features, channels, area)

    def folded() -> Float64:
        values = by_channel() * scale
        values = (values[:, ::-1] if rgb else values).reshape(features, -1)
        return (values.T if turned else values).reshape(weight.shape)

    if rgb or scale != 1:
        # As float64: what is computed is cast when it is written, and once.
        part.parameters["weight"] = Tensor(weight.name, weight.shape, cast("Callable[[], Array]", folded))
    if mean.any():
        bias = values_of(part.parameters.get("bias"))
        part.parameters["bias"] = (0.0 if bias is None else bias) - scale * (by_channel().sum(2) @ mean)


def border_share(part: NetPart) -> float:
    """Which share of a layer's places sees beyond the border of its input."""
    settings: dict[str, Any] = part.settings
    inside = 1.0
    sizes = part.inputs[0].shape[2:] if not settings.get("linear") else ()
    for axis, size in enumerate(sizes):
        before, behind = settings["padding"][axis]
        reach = settings["dilation"][axis] * (settings["kernel"][axis] - 1)
        starts = range(-before, size + behind - reach, settings["stride"][axis])
        inside *= _share([start >= 0 and start + reach < size for start in starts])
    return 1 - inside


def _share(seen: Sequence[bool]) -> float:
    return sum(seen) / len(seen)
