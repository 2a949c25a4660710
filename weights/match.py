"""Which stored weights a net takes: Caffe's Net::CopyTrainedLayersFrom, with every fault reported at once.

Layers match by name. Layers of the file that the net lacks are ignored; of several with one name the last counts.
A layer of the net needs as many blobs as the file has for it, each of its shape, or of the old four-dimensional form
with 1s in front (`Blob.fits`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prototxt.errors import CaffeModelError, Position, WeightsError, raise_all

from .blobproto import format_shape
from .model import Blob, Shape, Weights


@dataclass(frozen=True)
class Wanted:
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


def match_weights(weights: Weights, layers: Iterable[Wanted]) -> dict[str, tuple[Blob, ...]]:
    """The blobs of each layer of the net by its name, one for each shape; optional ones may be `stored=False`.

    Raises:
        WeightsError: layers that the file lacks (one error names them all), or blobs that do not fit.
        ErrorGroup: several of these.
    """
    found: dict[str, tuple[Blob, ...]] = {}
    absent: list[Wanted] = []
    errors: list[CaffeModelError] = []
    for layer in layers:
        stored = weights.get(layer.name)
        blobs = stored.blobs if stored is not None else ()
        if stored is None and len(layer.optional) < len(layer.shapes):
            absent.append(layer)
            continue
        faults = _faults(weights.path, layer, blobs)
        errors += faults
        if not faults:
            found[layer.name] = blobs + tuple(map(hole, layer.shapes[len(blobs) :]))
    if absent:
        errors.insert(0, _absence(weights.path, absent))
    raise_all(errors)
    return found


def hole(shape: Sequence[int] = ()) -> Blob:
    """A blob that the file leaves out because another layer owns the parameter; reading it is an error."""

    def read() -> None:
        raise WeightsError("this blob is not in the file: another layer owns the parameter")

    return Blob(tuple(shape), False, read, stored=False)  # type: ignore[arg-type]


def _faults(path: str, layer: Wanted, blobs: Sequence[Blob]) -> list[CaffeModelError]:
    def fault(message: str) -> WeightsError:
        return WeightsError(message, position=Position(path), layer=layer.name, layer_type=layer.type or None)

    needed = [index for index in range(len(layer.shapes)) if index not in layer.optional]
    if len(blobs) > len(layer.shapes) or any(index >= len(blobs) for index in needed):
        stored = _count(len(blobs), "blob")
        return [fault(f"the file has {stored}, but {_prototxt(layer)} needs {len(layer.shapes)}")]
    faults: list[CaffeModelError] = []
    for index, (blob, shape) in enumerate(zip(blobs, layer.shapes, strict=False)):
        if blob.stored and not blob.fits(shape):
            stored, wanted = format_shape(blob.shape), format_shape(shape)
            faults.append(fault(f"blob {index} is {stored}, but {_prototxt(layer)} makes it {wanted}"))
        elif not blob.stored and index not in layer.optional:
            faults.append(
                fault(f"blob {index} is not in the file, and {_prototxt(layer)} shares it with no other layer")
            )
    return faults


def _absence(path: str, layers: Sequence[Wanted]) -> WeightsError:
    names = ", ".join(f"{layer.name!r}{_place(layer)}" for layer in layers)
    return WeightsError(
        f"has no weights for {_count(len(layers), 'layer')} of the net: {names}", position=Position(path)
    )


def _prototxt(layer: Wanted) -> str:
    return f"the prototxt{_place(layer)}"


def _place(layer: Wanted) -> str:
    return f" ({layer.position})" if layer.position is not None else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
