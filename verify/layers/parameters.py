"""The learned blobs of each layer, found by layer name and shared by `param { name }` as Caffe's Net does it.

Matching follows CopyTrainedLayersFrom: by name alone, types and order ignored. Blobs that share a parameter name are
one memory in Caffe, so the last layer in the file that brings one wins for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt import Net, NetLayer, Position
from prototxt.errors import WeightsError
from weights import Blob, Weights


def shape_text(shape: Sequence[int]) -> str:
    """`64×3×7×7`; `scalar` for no axes."""
    return "×".join(map(str, shape)) or "scalar"


@dataclass(frozen=True)
class Parameters:
    """The learned blobs of one layer.

    Attributes:
        layer: whose they are.
        blobs: as stored; None where a shared blob exists in no layer of the file.
        path: of the weight file; None when the net runs without one.
    """

    layer: NetLayer
    blobs: tuple[Blob | None, ...] = ()
    path: str | None = None

    def take(self, shapes: Sequence[Sequence[int]]) -> list[npt.NDArray[np.float32]]:
        """All blobs of the layer, each in the shape that the layer gives it.

        Args:
            shapes: one per blob. A stored shape fits when equal, or when it is the old 4-D form with ones in front.

        Raises:
            WeightsError: the file lacks the layer, has another count of blobs, or one of another shape.
        """
        if len(self.blobs) != len(shapes):
            want = ", ".join(shape_text(s) for s in shapes) or "none"
            if self.path is None:
                raise self._fail(f"needs learned blobs ({want}) and no weights were given")
            if not self.blobs:
                raise self._fail(f"has no blobs in this file, expected {len(shapes)} ({want})")
            plural = "s" * (len(self.blobs) != 1)
            raise self._fail(f"has {len(self.blobs)} blob{plural}, expected {len(shapes)} ({want})")
        return [self._one(index, tuple(shape)) for index, shape in enumerate(shapes)]

    def _one(self, index: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        blob = self.blobs[index]
        if blob is None or not blob.stored:
            raise self._fail(f"blob {index} is shared, and no layer in this file has it")
        if not blob.fits(shape) and not (self._permissive(index) and math.prod(blob.shape) == math.prod(shape)):
            line = self.layer.position
            raise self._fail(
                f"blob {index} is {shape_text(blob.shape)}, but the prototxt ({line}) makes it {shape_text(shape)}"
            )
        return blob.array().reshape(shape)

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
    return [Parameters(layer, _with_shared(layer, blobs, shared), weights.path) for layer, blobs in own]


def _with_shared(layer: NetLayer, own: tuple[Blob, ...], shared: dict[str, Blob]) -> tuple[Blob | None, ...]:
    named = {index: spec.name for index, spec in enumerate(layer.param.param) if spec.name}
    if not any(name in shared for name in named.values()):
        return own
    count = max(len(own), 1 + max(named))
    result: list[Blob | None] = [*own, *(None for _ in range(count - len(own)))]
    for index, name in named.items():
        result[index] = shared.get(name, result[index])
    return tuple(result)
