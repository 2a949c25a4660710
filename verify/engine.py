"""What runs a converted model, or a second opinion on the original: each engine gives every blob that it can show.

Errors of the engine itself (a damaged model, code that raises) become the project's own, with the model's path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Position
from prototxt.errors import MissingDependencyError, RequestError, WeightsError

Array: TypeAlias = npt.NDArray[np.float32]
Key: TypeAlias = tuple[str, str]
"""Layer name and top name."""
Sizes: TypeAlias = tuple[int | None, ...]
"""A shape, None where the model leaves an axis free."""

TOPS = "resnet_convert.tops"
PREPROCESS = "resnet_convert.preprocess"


@dataclass(frozen=True)
class Answer:
    """What one run of an engine gave.

    Attributes:
        tops: every blob that the engine could show, by the layer and top whose numbers it is; float32.
        outputs: the model's outputs by blob name, from a run of the model exactly as it is.
        notes: what the reader of a report should know, such as why only outputs were compared.
    """

    tops: dict[Key, Array]
    outputs: dict[str, Array]
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Runs one model.

    Attributes:
        name: engine and version, such as `onnxruntime 1.32.0`.
        inputs: by blob name in the model's order, the sizes that the model asks for; None where it does not say.
        tops: layer and top of every value that the model holds; empty when it does not say.
        preprocessing: what the model does to images before the net, None for nothing.
    """

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Sizes | None]: ...

    @property
    def tops(self) -> tuple[Key, ...]: ...

    @property
    def preprocessing(self) -> Preprocessing | None: ...

    def run(self, feeds: Mapping[str, npt.ArrayLike]) -> Answer:
        """Run on values by input blob name.

        Raises:
            RequestError: an input without a feed.
            WeightsError: the model does not run.
        """
        ...


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing that was baked into a model: net input = scale * (x[order] - mean).

    Attributes:
        input: the input blob.
        rgb: the model reverses the channels of what it is fed.
        scale: factor after the subtraction.
        mean: one value a channel, None for nothing or for a mean image.
        mean_shape: C×H×W of a mean image, which the model's description does not hold.
    """

    input: str
    rgb: bool = False
    scale: float = 1.0
    mean: tuple[float, ...] | None = None
    mean_shape: tuple[int, ...] | None = None

    def apply(self, images: Array, mean_image: npt.ArrayLike | None = None) -> Array:
        """What the net is fed for images N×C×H×W; a mean image larger than they are is cut at its centre.

        Raises:
            RequestError: the model subtracts a mean image and none is given, or one of another shape.
        """
        values = images[:, ::-1] if self.rgb else images
        if self.mean is not None:
            values = values - np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
        elif self.mean_shape is not None:
            values = values - self._image(images.shape, mean_image)
        return np.ascontiguousarray(values * np.float32(self.scale), np.float32)

    def _image(self, shape: tuple[int, ...], mean_image: npt.ArrayLike | None) -> Array:
        if mean_image is None:
            raise RequestError("the model subtracts a mean image, which it does not hold as such: give it again (--mean)")
        mean = np.asarray(mean_image, np.float32)
        if mean.shape != self.mean_shape or any(m < s for m, s in zip(mean.shape[1:], shape[2:], strict=True)):
            raise RequestError(f"the mean image is {mean.shape}, but the model was made with {self.mean_shape}")
        top, left = ((m - s) // 2 for m, s in zip(mean.shape[1:], shape[2:], strict=True))
        return mean[None, :, top : top + shape[2], left : left + shape[3]]


@dataclass(frozen=True)
class Description:
    """What a model says of itself.

    Attributes:
        tops: entries of the key `resnet_convert.tops`, as written; None when the key is absent.
        preprocessing: what it does to images first.
    """

    tops: tuple[Any, ...] | None = None
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = field(default=())


def describe(metadata: Mapping[str, str], path: Path) -> Description:
    """Read a model's metadata.

    Raises:
        WeightsError: the project's keys are there but not in its form.
    """
    try:
        tops = json.loads(metadata[TOPS]) if TOPS in metadata else None
        baked = json.loads(metadata[PREPROCESS]) if PREPROCESS in metadata else None
        return Description(None if tops is None else tuple(tops), None if baked is None else _preprocessing(baked))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"the model's own description is damaged: {error!r}", position=Position(str(path))) from None


def _preprocessing(baked: Mapping[str, Any]) -> Preprocessing:
    mean, shape = baked.get("mean"), baked.get("mean_shape")
    return Preprocessing(
        str(baked["input"]),
        baked.get("input_order") == "rgb",
        float(baked.get("scale", 1.0)),
        None if mean is None else tuple(map(float, mean)),
        None if shape is None else tuple(map(int, shape)),
    )


def missing(package: str, why: str, error: ImportError) -> MissingDependencyError:
    """The error for an absent optional package, with the command that installs it."""
    return MissingDependencyError(f"{why} needs a package that is not installed ({error}): pip install {package}")


def fed(feeds: Mapping[str, npt.ArrayLike], names: Mapping[str, object]) -> dict[str, Array]:
    """The feeds that a model wants, float32 in C order.

    Raises:
        RequestError: one is not there.
    """
    absent = [name for name in names if name not in feeds]
    if absent:
        raise RequestError(f"the model's input {absent[0]!r} is not fed; what is given: {', '.join(feeds) or 'nothing'}")
    return {name: np.require(feeds[name], np.float32, "C") for name in names}
