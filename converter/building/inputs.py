"""Inputs of a net: their shapes, as the caller asks for them or the prototxt states them, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from converter.graph import FreeDim, Shape, format_shape
from converter.node import Layer
from prototxt import Net, NetLayer
from prototxt.errors import MOST_SHOWN, NetError, RequestError, UnknownShapeError
from prototxt.words import few

InputShapes = Mapping[str, Sequence[int | str]]
"""By blob; a letter leaves an axis free."""

_LETTERS = "NCHW"


def shape_is_asked(source: NetLayer, asked: InputShapes) -> bool:
    """Whether the caller says what a layer is to bring in."""
    return not source.bottoms and any(top in asked for top in source.tops)


def input_shapes(source: NetLayer, layer: Layer, asked: InputShapes) -> list[Shape | None]:
    """The shapes of an input layer's tops; None for one that nobody gives."""
    stated = layer.fed_shapes([None] * len(source.tops))
    wishes = [
        None if top not in asked else _asked_shape(asked[top], shape)
        for top, shape in zip(source.tops, stated, strict=True)
    ]
    return list(layer.fed_shapes(wishes))


def check_sizes(source: NetLayer, index: int, shape: Shape) -> None:
    """NetError, with the option that gives another shape, for an input without values."""
    wrong = [axis for axis, dim in enumerate(shape) if dim <= 0]
    if wrong:
        top = source.tops[index]
        said = f"input {top!r} is {format_shape(shape)}; expected sizes above 0"
        form = ",".join(str(d) if d > 0 else _LETTERS[i : i + 1] or "D" for i, d in enumerate(shape))
        section = "dummy_data_param" if source.param.HasField("dummy_data_param") else "input_param"
        raise NetError(
            f"{said}: give it with --input-shape {top}={form}",
            position=source.where(section, "shape", index, "dim", wrong[0]),
        )


def unknown_shape(source: NetLayer, index: int) -> UnknownShapeError:
    """The error for an input whose shape nobody gives."""
    top, form = source.tops[index], "N,C,H,W" if index == 0 else "N"
    net = "the prototxt" if source.position.line else "the net"
    message = f"{net} doesn't give the shape of {top!r}; give it with --input-shape {top}={form}"
    return UnknownShapeError(message, position=source.position, layer=source.name, layer_type=source.type)


def unknown_inputs(net: Net, asked: InputShapes) -> Iterator[RequestError]:
    """An error for each name that is asked for and no input of the net."""
    tops = {top for x in net.layers if not x.bottoms for top in x.tops}
    for name in asked:
        if name not in tops:
            known = few(sorted(tops), MOST_SHOWN) or "none"
            yield RequestError(f"--input-shape names {name!r}; the net's inputs are {known}")


def _asked_shape(asked: Sequence[int | str], stated: Shape | None) -> Shape:
    dims: list[int] = []
    for i, dim in enumerate(asked):
        if isinstance(dim, str):
            sample = int(stated[i]) if stated is not None and len(stated) == len(asked) else 0
            sample = sample if sample > 0 else (1 if i == 0 else 64)
            dims.append(FreeDim(sample, dim))
        else:
            dims.append(dim)
    return tuple(dims)
