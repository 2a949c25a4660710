"""Which stored weights a net takes: Caffe's Net::CopyTrainedLayersFrom, with every fault reported at once.

Layers match by name. Layers of the file that the net lacks are ignored; of several with one name the last counts.
A layer of the net needs as many blobs as the file has for it, each of its shape, or of the old four-dimensional form
with 1s in front (`Blob.fits`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from prototxt.errors import MOST_SHOWN, CaffeModelError, Position, WeightsError, raise_all
from prototxt.words import few, format_shape, plural
from weights.model import Blob, Shape, Weights
from weights.unused import fitting

MOST_HINTS = 4


class Wanted(NamedTuple):
    """A layer of the net that has parameters.

    Attributes:
        name, type: the layer's.
        shapes: of its parameters, in Caffe's order.
        position: of the layer in the prototxt, for messages.
        optional: indices of parameters that another layer owns; an HDF5 file leaves those out.
    """

    name: str
    type: str
    shapes: tuple[Shape, ...]
    position: Position | None = None
    optional: frozenset[int] = frozenset()


def match_weights(
    weights: Weights, layers: Iterable[Wanted], names: Collection[str] = (), *, advice: str = ""
) -> dict[str, tuple[Blob, ...]]:
    """The blobs of each layer of the net by its name, one for each shape; optional ones may be `stored=False`.

    Args:
        weights: the file.
        layers: those of the net that have parameters.
        names: of the net's other layers.
        advice: put behind the error of a blob of another shape.

    Raises:
        WeightsError: layers that the file lacks (one error names them all), or blobs that do not fit.
        ErrorGroup: several of these.
    """
    found: dict[str, tuple[Blob, ...]] = {}
    absent: list[Wanted] = []
    errors: list[CaffeModelError] = []
    layers = list(layers)
    _refuse_empty(weights, layers)
    errors += _same_names(weights, layers)
    for layer in layers:
        stored = weights.get(layer.name)
        blobs = stored.blobs if stored is not None else ()
        if stored is None and len(layer.optional) < len(layer.shapes):
            absent.append(layer)
            continue
        faults = _faults(weights.path, layer, blobs, advice)
        errors += faults
        if not faults:
            found[layer.name] = blobs + tuple(map(hole, layer.shapes[len(blobs) :]))
    if absent:
        errors.insert(0, _absence(weights, absent, {*names, *(layer.name for layer in layers)}))
    raise_all(errors)
    return found


def _refuse_empty(weights: Weights, layers: Sequence[Wanted]) -> None:
    needed = any(len(layer.optional) < len(layer.shapes) for layer in layers)
    if needed and weights.layers and not any(layer.blobs for layer in weights.layers):
        raise WeightsError("holds no weights, only layers without blobs", position=Position(weights.path))


def hole(shape: Sequence[int] = ()) -> Blob:
    """A blob that the file leaves out because another layer owns the parameter; reading it is an error."""

    def read() -> None:
        raise WeightsError("this blob is not in the file: another layer owns the parameter")

    return Blob(tuple(shape), False, read, stored=False)  # type: ignore[arg-type]


def _faults(path: str, layer: Wanted, blobs: Sequence[Blob], advice: str) -> list[CaffeModelError]:
    def fault(message: str) -> WeightsError:
        return WeightsError(message, position=Position(path), layer=layer.name, layer_type=layer.type or None)

    needed = [index for index in range(len(layer.shapes)) if index not in layer.optional]
    if len(blobs) > len(layer.shapes) or any(index >= len(blobs) for index in needed):
        stored = plural(len(blobs), "blob")
        return [fault(f"the file has {stored}, but {_prototxt(layer)} needs {len(layer.shapes)}")]
    faults: list[CaffeModelError] = []
    for index, (blob, shape) in enumerate(zip(blobs, layer.shapes, strict=False)):
        if blob.stored and not blob.fits(shape):
            stored, wanted = format_shape(blob.shape), format_shape(shape)
            faults.append(fault(f"blob {index} is {stored}, but {_prototxt(layer)} makes it {wanted}{advice}"))
        elif not blob.stored and index not in layer.optional:
            faults.append(
                fault(f"blob {index} is not in the file, and {_prototxt(layer)} shares it with no other layer")
            )
    return faults


def _absence(weights: Weights, layers: Sequence[Wanted], taken: Collection[str]) -> WeightsError:
    names = few([f"{layer.name!r}{_place(layer)}" for layer in layers], MOST_SHOWN)
    fits = ((layer, fitting(weights, taken, layer.shapes)) for layer in layers[:MOST_SHOWN])
    hints = [hint if len(layers) == 1 else f"for {layer.name!r}, {hint}" for layer, hint in fits if hint]
    more = f", and {len(hints) - MOST_HINTS} others have such a layer too" if len(hints) > MOST_HINTS else ""
    said = "".join(f"; {hint}" for hint in hints[:MOST_HINTS]) + more
    return WeightsError(
        f"has no weights for {plural(len(layers), 'layer')} of the net: {names}{said}", position=Position(weights.path)
    )


def _same_names(weights: Weights, layers: Sequence[Wanted]) -> list[CaffeModelError]:
    """Caffe finds the layer that a record of the file is for by its name, and always the first of that name."""
    seen: dict[str, Wanted] = {}
    errors: list[CaffeModelError] = []
    for layer in layers:
        first = seen.setdefault(layer.name, layer)
        if first is not layer and first.shapes and layer.shapes and weights.get(layer.name) is not None:
            message = f"two layers of the net have this name{_place(first)}{_place(layer)}: Caffe fills only the first"
            where = Position(weights.path)
            errors.append(WeightsError(message, position=where, layer=layer.name, layer_type=layer.type or None))
    return errors


def _prototxt(layer: Wanted) -> str:
    at = layer.position
    return f"the net in {at.path}" if at is not None and not at.line else f"the prototxt{_place(layer)}"


def _place(layer: Wanted) -> str:
    return f" ({layer.position})" if layer.position is not None else ""
