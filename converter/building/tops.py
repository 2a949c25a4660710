"""What a layer makes of its bottoms, and what Caffe refuses of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from converter.dims import format_formulas
from converter.graph import Shape, count, format_shape, is_free
from converter.layers.base import BottomsDifferError, require
from converter.node import Layer, Parameter, Value
from prototxt import NetLayer
from prototxt.errors import MOST_SHOWN, NetError
from prototxt.words import few
from weights.blobproto import MAX_AXES

LARGEST_BLOB = (1 << 31) - 1
"""Caffe counts a blob's values in 32 bits."""

LARGEST_TABULATED = 1 << 24
"""Values of a bottom or top of a layer that tabulates; SSD's largest has 200,000."""


def infer_tops(layer: Layer, bottoms: Sequence[Value]) -> list[Shape]:
    """The shapes of the tops; NetError, with each bottom's name and shape, where they do not go together."""
    try:
        return layer.infer([value.shape for value in bottoms])
    except BottomsDifferError as error:
        raise NetError(f"{error.message}: {_differing(bottoms)}") from None


def _differing(bottoms: Sequence[Value]) -> str:
    """Bottoms with their shapes, so that what differs can be seen; before 2015 all blobs had four axes."""
    shapes = [value.shape for value in bottoms]
    form = format_shape if len({*map(format_shape, shapes)}) >= len(set(shapes)) else format_formulas
    said = few([f"{value.blob} is {form(value.shape)}" for value in bottoms], MOST_SHOWN)
    full = {len(shape): shape for shape in shapes}
    longest = full[max(full)]
    ones = all(shape == longest[: len(shape)] and set(longest[len(shape) :]) <= {1} for shape in full.values())
    if len(full) > 1 and ones and len(set(shapes)) == len(full):
        said += "; they differ only by 1s at their end, which Caffe told apart after 2014: a Flatten or Reshape helps"
    return said


def check_counts(source: NetLayer, cls: type[Layer]) -> None:
    """NetError for more or fewer bottoms or tops than the layer has."""
    for what, names, (least, most) in (
        ("bottom", source.bottoms, cls.bottoms),
        ("top", source.tops, cls.tops),
    ):
        if not least <= len(names) <= most:
            expected = str(least) if least == most else f"{least} or more" if most > 1000 else f"{least} to {most}"
            raise NetError(f"{len(names)} {what}s; expected {expected}")


def check_tables(shapes: Sequence[Shape]) -> None:
    """NetError for a blob whose numbers would stand in the model and are too many."""
    largest = max(shapes, key=count)
    said = f"{format_shape(largest)}: its numbers stand in the model, which takes at most {LARGEST_TABULATED} of them"
    require(int(count(largest)) <= LARGEST_TABULATED, f"a blob of the layer is {said}")


def check_duplicate_tops(source: NetLayer) -> None:
    """NetError for two tops of one name."""
    if len(set(source.tops)) < len(source.tops):
        twice = min(top for top, times in Counter(source.tops).items() if times > 1)
        raise NetError(f"top {twice!r} is named twice")


def check_size(top: str, shape: Shape) -> None:
    """NetError for a top that is more than a blob can be."""
    if len(shape) > MAX_AXES:
        raise NetError(f"top {top!r} has {len(shape)} axes; a blob of Caffe has {MAX_AXES} at most")
    size = int(count(shape))
    if size > LARGEST_BLOB:
        raise NetError(f"top {top!r} would hold {size} values; a blob of Caffe holds {LARGEST_BLOB} at most")


def check_parameter(parameter: Parameter) -> None:
    """NetError for a learned blob that is more than a blob can be, or of no fixed size."""
    size = int(count(parameter.shape))
    if size > LARGEST_BLOB:
        raise NetError(f"its {parameter.name} would hold {size} values; at most {LARGEST_BLOB} can be")
    if any(map(is_free, parameter.shape)):
        shape = format_shape(parameter.shape)
        raise NetError(f"its {parameter.name} is {shape}; no axis of it can be left free")
