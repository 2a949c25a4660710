"""What is done to images before the net.

What the user does not say comes from the published protocol (`--expect`), then from the net's own data layer, then from
what is usual; the last is said in a note.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from prototxt import Net
from prototxt.caffe_pb2 import TransformationParameter
from prototxt.errors import RequestError
from prototxt.names import file_name
from resnet_convert.images.means import mean_of
from resnet_convert.images.subject import Subject
from resnet_convert.requests.images import PreparedRequest
from verify.evaluation.published.figure import Published
from verify.evaluation.records import ImageFault, Source
from verify.evaluation.running.transform import Resize, Transform
from weights import load_mean

FIRST_FEW = 10
"""Images that are looked at for the size of all."""


def transform_of(
    images: PreparedRequest,
    subject: Subject,
    published: Published | None,
    source: Source,
    *,
    crops: Literal[1, 10] | None = None,
    mirror: bool = False,
) -> tuple[Transform, list[str]]:
    """What is done to an image before the net, and what the user should know of it."""
    notes: list[str] = []
    written = _written(subject.net)
    crop = images.crop or subject.shape[2:]
    mean = _mean(images, subject, published, written, notes)
    scale = images.scale
    if scale is None:
        scale = published.scale if published else written.scale
    order = images.input_order or (published.order if published else "bgr")
    resize = _resize(images, published, crop, source, notes)
    crops = crops or (published.crops if published else 1)
    transform = Transform(
        channels=subject.shape[1],
        crop=crop,
        resize=resize,
        crops=crops,
        mirror=mirror,
        mean=mean,
        scale=scale,
        rgb=order == "rgb",
        interpolation=images.interpolation,
    )
    return transform, notes


def _resize(
    images: PreparedRequest, published: Published | None, crop: tuple[int, int], source: Source, notes: list[str]
) -> Resize | None:
    asked = (images.resize,) if isinstance(images.resize, int) else images.resize
    if asked is not None:
        return _resize_to(asked) if asked else None
    if published is not None:
        size = (published.shorter,) if published.shorter else published.warp
        return _resize_to(size, unless_fitting=True) if any(size) else None
    side = usual_side(min(crop))
    if first_size(source) not in (None, crop):
        notes.append(
            f"images of another size than {crop[0]}×{crop[1]} are resized to a shorter side of {side} (--resize)"
        )
    return Resize(shorter=side, unless_fitting=True)


def first_size(source: Source) -> tuple[int, int] | None:
    """Height and width of the first image that can be read, of the first few."""
    for index in range(min(len(source), FIRST_FEW)):
        with suppress(ImageFault):
            height, width = source.read(index, color=True).pixels.shape[:2]
            return height, width
    return None


def _resize_to(size: tuple[int, ...], *, unless_fitting: bool = False) -> Resize:
    if len(size) == 1:
        return Resize(shorter=size[0], unless_fitting=unless_fitting)
    return Resize(warp=(size[0], size[1]), unless_fitting=unless_fitting)


def usual_side(crop: int) -> int:
    """The shorter side that goes with a crop: 256 with ImageNet's 224 and 227, in that proportion elsewhere.

    Small nets (CIFAR, digits) see whole images.
    """
    if crop < 64:
        return crop
    return 256 if 200 < crop <= 256 else round(crop * 256 / 224)


def _mean(
    images: PreparedRequest,
    subject: Subject,
    published: Published | None,
    written: TransformationParameter,
    notes: list[str],
) -> npt.NDArray[np.float32] | None:
    asked = mean_of(images.mean)
    if asked is not None:
        mean = asked
    elif published is not None:
        return _published_mean(published, subject)
    elif written.mean_file:
        mean = load_mean(_beside(file_name(written.mean_file), subject))
    elif written.mean_value:
        mean = np.array(written.mean_value, np.float32)
    else:
        notes.append("no mean is subtracted: neither --mean nor --expect nor the net says one")
        return None
    return mean if mean.ndim == 3 else mean.reshape(-1, 1, 1)


def _published_mean(published: Published, subject: Subject) -> npt.NDArray[np.float32] | None:
    if published.mean_file:
        return load_mean(_beside(published.mean_file, subject, USUAL_MEANS.get(published.dataset, "")))
    if not published.mean:
        return None
    return np.array(published.mean, np.float32).reshape(-1, 1, 1)


USUAL_MEANS = {"ImageNet 2012 validation": "104,117,123", "CIFAR-10 test": "125.3,123,113.9"}
"""Means of the training sets' mean images, in the nets' order of channels: BGR of ImageNet, RGB of CIFAR."""


def _beside(name: str, subject: Subject, values: str = "") -> Path:
    """A mean file that somebody else named: where they said, or beside the net or its weights."""
    base = Path(name.replace("\\", "/")).name
    folders = [Path(path).parent for path in (subject.weights, subject.net.path) if path]
    for place in (*(folder / base for folder in folders), Path(name)):
        if place.is_file():
            return place
    where = " or ".join(str(folder) for folder in dict.fromkeys(folders))
    close = f"; --mean {values} comes close" if values else ""
    raise RequestError(f"the mean image {base} is not in {where}: give it with --mean{close}")


def _written(net: Net) -> TransformationParameter:
    """The preprocessing of the net's own data layer, if it has one."""
    layers = (layer for layer in net.layers if not layer.bottoms and layer.param.HasField("transform_param"))
    first = next(layers, None)
    return TransformationParameter() if first is None else first.param.transform_param
