"""The learned blobs of each layer, found by layer name and shared by `param { name }` as Caffe's Net does it.

Matching follows CopyTrainedLayersFrom: by name alone, types and order ignored. Blobs that share a parameter name are
one memory in Caffe, so the last layer in the file that brings one wins for all of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from prototxt import Net, NetLayer, Position
from prototxt.errors import WeightsError
from prototxt.words import format_shape, plural
from weights import Blob, Weights, blob_from_array, fitting


@dataclass
class LastRead:
    """The arrays of the layer that was read last: it takes them in several runs of a net side by side, and to tell how
    errors grow in it. They cannot be written to."""

    of: Parameters | None = None
    arrays: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Parameters:
    """The learned blobs of one layer.

    Attributes:
        layer: whose they are.
        blobs: as stored; None where a shared blob exists in no layer of the file.
        path: of the weight file; None when the net runs without one.
        inside: whether the layer before holds them, and the file has none for this one.
        source: the file itself.
        names: of the net's layers.
        alone: whether no other layer of the net bears this one's name.
        takers: who took blobs so far, by name; shared by all layers of one run.
        kept: the arrays that were read last; shared likewise.
    """

    layer: NetLayer
    blobs: tuple[Blob | None, ...] = ()
    path: str | None = None
    inside: bool = False
    source: Weights | None = None
    names: frozenset[str] = frozenset()
    alone: bool = True
    takers: dict[str, NetLayer] = field(default_factory=dict)
    kept: LastRead = field(default_factory=LastRead)

    def as_written(self, values: Mapping[str, npt.NDArray[np.float32]]) -> Parameters:
        """With the values that stand by now in blobs of some names, which are tops of Parameter layers as well."""
        names = [spec.name for spec in self.layer.param.param]
        if not values.keys() & set(names):
            return self
        pairs = zip_longest(self.blobs, names[: len(self.blobs)])
        return replace(self, blobs=tuple(blob_from_array(values[n]) if n in values else blob for blob, n in pairs))

    def check_taken(self) -> None:
        """Refuse blobs in the file that a layer has run without, where no other layer bears its name.

        Raises:
            WeightsError: there are some; Caffe takes no other number of blobs than the layer has.
        """
        if self.blobs and self.layer.name not in self.takers and self.alone:
            raise self._fail(f"has {plural(len(self.blobs), 'blob')} in this file, expected none")

    def take(self, shapes: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        """All blobs of the layer, each in the shape that the layer gives it.

        Args:
            shapes: one per blob. A stored shape fits when equal, or when it is the old 4-D form with ones in front.

        Raises:
            WeightsError: the file lacks the layer, has another count of blobs, or one of another shape; another layer
                of this name has taken them, and Caffe gives them to the first.
        """
        taker = self.takers.setdefault(self.layer.name, self.layer) if shapes else self.layer
        if taker is not self.layer and self.blobs:
            raise self._fail(f"layer {taker.name!r} ({taker.position}) bears this name too, and Caffe fills only that")
        if len(self.blobs) != len(shapes):
            want = ", ".join(map(format_shape, shapes)) or "none"
            if self.path is None:
                raise self._fail(f"needs learned blobs ({want}) and no weights were given")
            if not self.blobs:
                hint = fitting(self.source, self.names, [tuple(shape) for shape in shapes]) if self.source else ""
                raise self._fail(f"has no blobs in this file, expected {len(shapes)} ({want}){hint and f'; {hint}'}")
            raise self._fail(f"has {plural(len(self.blobs), 'blob')}, expected {len(shapes)} ({want})")
        return [self._one(index, tuple(shape)) for index, shape in enumerate(shapes)]

    def _one(self, index: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        blob = self.blobs[index]
        if blob is None or not blob.stored:
            raise self._fail(f"blob {index} is shared, and no layer in this file has it")
        if not blob.fits(shape) and not (self._permissive(index) and math.prod(blob.shape) == math.prod(shape)):
            line = self.layer.position
            net = f"the prototxt ({line})" if line.line else f"the net in {line}"
            raise self._fail(f"blob {index} is {format_shape(blob.shape)}, but {net} makes it {format_shape(shape)}")
        return self._array(index, blob).reshape(shape)

    def _array(self, index: int, blob: Blob) -> npt.NDArray[np.float32]:
        kept = self.kept
        if kept.of is not self:
            kept.of = self
            kept.arrays.clear()
        if index not in kept.arrays:
            array = blob.array().view()
            array.flags.writeable = False
            kept.arrays[index] = array
        return kept.arrays[index]

    def _permissive(self, index: int) -> bool:
        specs = self.layer.param.param
        return index < len(specs) and specs[index].share_mode == specs[index].PERMISSIVE

    def _fail(self, message: str) -> WeightsError:
        position = Position(self.path) if self.path is not None else self.layer.position
        return WeightsError(message, position=position, layer=self.layer.name, layer_type=self.layer.type)


def match_parameters(net: Net, weights: Weights | None) -> list[Parameters]:
    """The parameters of every layer of `net`, in net order.

    A layer name that the file holds twice counts with its last entry that has blobs.
    """
    if weights is None:
        return [Parameters(layer) for layer in net.layers]
    stored: dict[str, tuple[Blob, ...]] = {entry.name: entry.blobs for entry in weights.layers if entry.blobs}
    shared: dict[str, Blob] = {}
    for layer in net.layers:
        for spec, blob in zip(layer.param.param, stored.get(layer.name, ()), strict=False):
            if spec.name and blob.stored:
                shared[spec.name] = blob
    own = ((layer, stored.get(layer.name, ())) for layer in net.layers)
    inside = _held_before(net, stored)
    count, takers, kept = Counter(layer.name for layer in net.layers), dict[str, NetLayer](), LastRead()
    names = frozenset(count)
    return [
        Parameters(
            layer,
            _with_shared(layer, blobs, shared),
            weights.path,
            inside=layer.name in inside,
            source=weights,
            names=names,
            alone=count[layer.name] == 1,
            takers=takers,
            kept=kept,
        )
        for layer, blobs in own
    ]


def _held_before(net: Net, stored: Mapping[str, Sequence[Blob]]) -> set[str]:
    """Names of the Scale layers that Intel's Caffe took into the BatchNorm before them.

    Its net.cpp removes such a layer before the net is set up, and with it from the files that it saves; the BatchNorm
    has four or five blobs then.
    """
    found: set[str] = set()
    writer: dict[str, NetLayer] = {}
    for layer in net.layers:
        norm = writer.get(layer.bottoms[0]) if layer.type == "Scale" and len(layer.bottoms) == 1 else None
        absent = not stored.get(layer.name) and not any(spec.name for spec in layer.param.param)
        if norm is not None and norm.type == "BatchNorm" and absent and not norm.dialect.startswith("nvidia"):
            blobs = stored.get(norm.name, ())
            found |= {layer.name} if len(blobs) in (4, 5) and math.prod(blobs[2].shape) == 1 else set()
        writer.update(dict.fromkeys(layer.tops, layer))
    return found


def _with_shared(layer: NetLayer, own: tuple[Blob, ...], shared: dict[str, Blob]) -> tuple[Blob | None, ...]:
    named = {index: spec.name for index, spec in enumerate(layer.param.param) if spec.name}
    if not any(name in shared for name in named.values()):
        return own
    count = max(len(own), 1 + max(named))
    result: list[Blob | None] = [*own, *(None for _ in range(count - len(own)))]
    for index, name in named.items():
        result[index] = shared.get(name, result[index])
    return tuple(result)
