"""Usual mistakes of preprocessing, each as the change that undoes it.

order    the net takes RGB and gets BGR, or the other way round, with the mean in that order or not
mean     missing, subtracted though the model does so itself, in the other order, or of pixels from 0 to 1
scale    missing, or one that does not belong to the net
resize   the shorter side where both are warped, or the other way round; the whole image where its centre is cut out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from verify.evaluation.causes.records import Kind
from verify.evaluation.records import Pixels
from verify.evaluation.running.transform import Resize, Transform

IMAGENET_MEAN = (104.0, 117.0, 123.0)
"""Of ImageNet's training images, in BGR."""

USUAL_SCALES = (1.0, 1 / 255, 0.017, 1 / 127.5)
"""None, to 0 … 1, MobileNet's and DenseNet's, to -1 … 1."""


@dataclass(frozen=True)
class Correction:
    """Something done otherwise: `values` of a transform's fields; `what` and `option` as those of `Cause`."""

    kind: Kind
    what: str
    option: str
    values: Mapping[str, Any]

    def apply(self, transform: Transform) -> Transform:
        """The transform with it."""
        return replace(transform, **self.values)

    def to_all(self, transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
        """Several scales, each changed."""
        return tuple(map(self.apply, transforms))


def corrections(
    now: Transform, published: Transform | None, images: Sequence[Pixels], *, baked: bool
) -> list[Correction]:
    """What may be wrong with the preprocessing of some images.

    Args:
        now: what is done.
        published: what the authors did, as far as that is known.
        images: as decoded; a change of size that none of them would notice is left out, and one after which an image
            is too small, or has another size than the mean image.
        baked: whether the model subtracts and scales by itself.
    """
    made = list(_order(now))
    if not baked:
        made += [*_mean(now, published), *_scale(now, published)]
    made += _size(now, published, images)
    kept: dict[bytes, Correction] = {}
    for change in made:
        then = change.apply(now)
        if _fits(then, images):
            kept.setdefault(_key(then), change)
    return list(kept.values())


def _key(transform: Transform) -> bytes:
    """Equal for equal transforms."""
    mean = b"" if transform.mean is None else np.round(transform.mean, 2).tobytes()
    return repr(replace(transform, mean=None)).encode() + mean


def _order(now: Transform) -> Iterator[Correction]:
    if not now.color:
        return
    mine, other = ("RGB", "BGR") if now.rgb else ("BGR", "RGB")
    what, option = f"{other} instead of {mine}", f"--input-order {other.lower()}"
    yield Correction("order", what, option, {"rgb": not now.rgb})
    if _varies(now.mean):
        mean = _turned(now.mean)
        both = f"{option} {_mean_option(mean)}".rstrip()
        yield Correction("order", f"{what}, the mean in that order too", both, {"rgb": not now.rgb, "mean": mean})


def _mean(now: Transform, published: Transform | None) -> Iterator[Correction]:
    theirs = _mean_of(now, published)
    if theirs is not None and not same_mean(theirs, now.mean):
        what = f"{describe_mean(theirs)} instead of {describe_mean(now.mean)}"
        yield Correction("mean", what, _mean_option(theirs), {"mean": theirs})
    if now.mean is None:
        return
    yield Correction("mean", f"no mean instead of {describe_mean(now.mean)}", "--mean 0", {"mean": None})
    if _varies(now.mean):
        turned = _turned(now.mean)
        what = f"the mean in the other order of channels ({describe_mean(turned)})"
        yield Correction("mean", what, _mean_option(turned), {"mean": turned})
    if np.abs(now.mean).max() <= 1:
        larger = now.mean * np.float32(255)
        if not same_mean(larger, theirs, within=0.01):
            what = f"{describe_mean(larger)}, 255 times as much"
            yield Correction("mean", what, _mean_option(larger), {"mean": larger})


def _mean_of(now: Transform, published: Transform | None) -> npt.NDArray[np.float32] | None:
    """The authors' mean in the order of channels that is now taken; ImageNet's where there is none at all."""
    theirs = None if published is None else published.mean
    if theirs is None and now.mean is None and now.color:
        values = np.array(IMAGENET_MEAN, np.float32).reshape(3, 1, 1)
        return _turned(values) if now.rgb else values
    return _turned(theirs) if published is not None and published.rgb != now.rgb else theirs


def _scale(now: Transform, published: Transform | None) -> Iterator[Correction]:
    stated = () if published is None else (published.scale,)
    seen = [now.scale]
    for scale in (*stated, *USUAL_SCALES):
        if not any(np.isclose(scale, other, rtol=1e-2) for other in seen):
            seen.append(scale)
            what = f"a scale of {scale:.4g} instead of {now.scale:.4g}"
            yield Correction("scale", what, f"--scale {scale:.9g}", {"scale": scale})


def _size(now: Transform, published: Transform | None, images: Sequence[Pixels]) -> Iterator[Correction]:
    if now.crop is None:
        return
    seen = [_sizes(now, images)]
    for resize in _resizes(now, published, now.crop):
        sizes = _sizes(replace(now, resize=resize), images)
        if sizes not in seen:
            seen.append(sizes)
            what = f"images {describe_resize(resize)} instead of {describe_resize(now.resize)}"
            yield Correction("resize", what, _resize_option(resize), {"resize": resize})
    if now.interpolation != "linear":
        what = f"linear interpolation instead of {now.interpolation}"
        yield Correction("interpolation", what, "--interpolation linear", {"interpolation": "linear"})


def _resizes(now: Transform, published: Transform | None, crop: tuple[int, int]) -> Iterator[Resize | None]:
    if published is not None:
        yield published.resize
    before = now.resize or Resize(shorter=256 if 200 < min(crop) <= 256 else min(crop))
    side = before.shorter or min(before.warp)
    yield Resize(shorter=side)
    yield Resize(warp=(side, side))
    yield Resize(shorter=min(crop))
    yield Resize(warp=crop)
    yield None


def _sizes(transform: Transform, images: Sequence[Pixels]) -> list[tuple[int, int]]:
    return [transform.size_of(*pixels.shape[:2]) for pixels in images]


def _fits(transform: Transform, images: Sequence[Pixels]) -> bool:
    """Whether the images are large enough, and a mean image is of their size or of the crop's."""
    sizes, crop = set(_sizes(transform, images)), transform.crop
    if crop is not None and any(height < crop[0] or width < crop[1] for height, width in sizes):
        return False
    image = (1, 1) if transform.mean is None else transform.mean.shape[1:]
    return image in ((1, 1), crop) or sizes == {image}


def _varies(mean: npt.NDArray[np.float32] | None) -> bool:
    """Whether the channels have different means."""
    return mean is not None and not same_mean(mean, _turned(mean), within=0.0)


def _turned(mean: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
    return None if mean is None else mean[::-1]


def same_mean(
    one: npt.NDArray[np.float32] | None, other: npt.NDArray[np.float32] | None, *, within: float = 1e-3
) -> bool:
    """Whether two means are equal, up to a share of the larger."""
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=within, atol=0))


def describe_mean(mean: npt.NDArray[np.float32] | None) -> str:
    """`no mean`, `the mean 104,117,123`, `a mean image of 256×256`."""
    if mean is None:
        return "no mean"
    if mean.shape[1:] != (1, 1):
        return f"a mean image of {mean.shape[1]}×{mean.shape[2]}"
    return f"the mean {_values(mean)}"


def describe_resize(resize: Resize | None) -> str:
    """`as stored`, `warped to 256×256`, `resized to a shorter side of 256`."""
    if resize is None:
        return "as stored"
    words = f"resized to a shorter side of {resize.shorter}"
    if not resize.shorter:
        words = f"warped to {resize.warp[0]}×{resize.warp[1]}"
    return f"{words} unless they have the net's size" if resize.unless_fitting else words


def _mean_option(mean: npt.NDArray[np.float32] | None) -> str:
    return "" if mean is None or mean.shape[1:] != (1, 1) else f"--mean {_values(mean)}"


def _values(mean: npt.NDArray[np.float32]) -> str:
    return ",".join(f"{value:g}" for value in mean.ravel())


def _resize_option(resize: Resize | None) -> str:
    if resize is None:
        return "--resize none"
    if resize.unless_fitting:
        return ""
    return f"--resize {resize.shorter or f'{resize.warp[0]}x{resize.warp[1]}'}"
