"""The preprocessing that a converted model has baked in, undone for the reference.

The model takes images x as they are decoded; the Caffe net takes  scale · (x[order] - mean),  which the model computes
itself. Computed here in float64, from what the model's metadata says and the mean that the user gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt.errors import RequestError
from prototxt.json_text import read_json
from prototxt.words import format_shape
from verify.engines.engine import PREPROCESS, Array, fault
from verify.layers.shared.rounding import UNIT_ROUNDOFF


@dataclass(frozen=True)
class BakedPreprocessing:
    """What the model does before the net.

    Attributes:
        blob: the input that it does it to.
        mean: what it subtracts, in the net's channel order: C×1×1, C×H×W, or 0.
        scale: what it multiplies by, after that.
        rgb: whether it takes its channels in the other order than the net.
    """

    blob: str
    mean: npt.NDArray[np.float32]
    scale: float = 1.0
    rgb: bool = False

    def apply(self, images: npt.ArrayLike) -> Array:
        """What the net is fed for the model's input `images`, N×C×H×W."""
        x = self._ordered(images)
        return (self.scale * (x - self._mean(x.shape))).astype(np.float32)

    def error(self, images: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Standard error of the model's own result: three roundings, each relative to what it rounds."""
        x = self._ordered(images)
        sizes = np.abs(x) + np.abs(self._mean(x.shape))
        return abs(self.scale) * math.sqrt(3) * UNIT_ROUNDOFF * sizes

    def _ordered(self, images: npt.ArrayLike) -> npt.NDArray[np.float64]:
        x = np.asarray(images, np.float64)
        return x[:, ::-1] if self.rgb else x

    def _mean(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """A mean image larger than the input is cut at its centre, as Caffe's data layer cuts it in phase TEST."""
        height, width = self.mean.shape[-2:]
        if (height, width) in ((1, 1), shape[2:]):
            return self.mean
        top, left = (height - shape[2]) // 2, (width - shape[3]) // 2
        if min(top, left) < 0:
            raise RequestError(f"the mean image is {format_shape(self.mean.shape)}, the input {format_shape(shape)}")
        return self.mean[:, top : top + shape[2], left : left + shape[3]]


def read_preprocessing(metadata: Mapping[str, str], mean: npt.ArrayLike | None, path: str) -> BakedPreprocessing | None:
    """What a model's metadata says; None when nothing is baked in.

    Args:
        metadata: the model's.
        mean: the mean image C×H×W in the net's channel order, which the metadata has no room for. Mean values that
            the metadata holds go before it.
        path: of the model, for messages.

    Raises:
        RequestError: metadata that makes no sense, or a mean image that is needed and absent or of another size.
    """
    text = metadata.get(PREPROCESS)
    if text is None:
        return None
    try:
        said = read_json(text)
        values = said.get("mean")
        shape = said.get("mean_shape")
        chosen = _chosen_mean(values, shape, mean)
        return BakedPreprocessing(str(said["input"]), chosen, float(said["scale"]), said["input_order"] == "rgb")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise fault(path, f"its metadata {PREPROCESS!r} makes no sense: {text[:80]}") from error
    except RequestError as error:
        raise fault(path, error.message) from error


def baked_order(metadata: Mapping[str, str], path: str) -> str | None:
    """The order of channels that a model takes, `rgb` or `bgr`, where preprocessing is baked in; else None.

    Raises:
        RequestError: metadata that makes no sense.
    """
    text = metadata.get(PREPROCESS)
    if text is None:
        return None
    try:
        order = read_json(text)["input_order"]
    except (ValueError, KeyError, TypeError):
        order = None
    if order not in ("rgb", "bgr"):
        raise fault(path, f"its metadata {PREPROCESS!r} makes no sense: {text[:80]}")
    return str(order)


def _chosen_mean(
    values: list[float] | None, shape: list[int] | None, given: npt.ArrayLike | None
) -> npt.NDArray[np.float32]:
    if values is not None:
        return np.asarray(values, np.float32).reshape(-1, 1, 1)
    if shape is None:
        return np.zeros((1, 1, 1), np.float32)
    if given is None:
        raise RequestError(f"has a mean image of {format_shape(shape)} baked in; give that image too (--mean)")
    image = np.asarray(given, np.float32)
    if image.shape != tuple(shape):
        raise RequestError(
            f"has a mean image of {format_shape(shape)} baked in, but {format_shape(image.shape)} was given"
        )
    return image
