"""Between a module's learnable blobs and Caffe's files: weights by layer and index, histories by place.

A `.caffemodel` has a shared blob under every layer that uses it, a `.caffemodel.h5` only under its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from converter.training.learnable import Learnable
from prototxt import Net
from prototxt.errors import CaffeModelError, Position, RequestError, WeightsError, raise_all
from prototxt.words import format_shape
from weights import Blob, LayerRecord, LayerWeights, Weights, blob_from_array
from weights.match import hole
from weights.strings import message_bytes

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float32]


def stored_blob(tensor: Tensor, shape: Sequence[int]) -> Blob:
    """A copy of a tensor's values as a blob of Caffe's shape."""
    return blob_from_array(tensor.detach().cpu().numpy().astype(np.float32).reshape(tuple(shape)))


def fill(tensor: Tensor, values: Array) -> None:
    """Give a tensor these values, whatever its shape, in place."""
    import torch

    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.array(values, np.float32)).reshape(tensor.shape))


def layers_to_write(
    learnables: Sequence[Learnable], tensors: Sequence[Tensor], net: Net | None, *, repeat_shared: bool
) -> list[LayerWeights]:
    """The layers of a snapshot.

    Args:
        learnables: in the net's order.
        tensors: theirs.
        net: gives the layers without blobs, their types and settings, and who shares what; without it only the layers
            that own blobs are written, by name.
        repeat_shared: whether a layer that uses another's blob has it too (`.caffemodel`), or a hole (`.h5`).

    Raises:
        RequestError: a layer with blobs of its own uses another's, and there is no net to tell whose.
    """
    blobs = {
        (one.layer, one.index): stored_blob(tensor, one.shape) for one, tensor in zip(learnables, tensors, strict=True)
    }
    if net is None:
        return _owners_only(blobs, repeat_shared=repeat_shared)
    owners: dict[str, tuple[str, int]] = {}
    layers: list[LayerWeights] = []
    for layer in net.layers:
        found = _of_layer(blobs, layer.name)
        for index, spec in enumerate(layer.param.param):
            if spec.name:
                owner = owners.setdefault(spec.name, (layer.name, index))
                if owner in blobs and index not in found:
                    found[index] = blobs[owner] if repeat_shared else hole()
        layers.append(LayerRecord(layer.name, layer.type, _filled(found), message_bytes(layer.param)))
    return layers


def _owners_only(blobs: Mapping[tuple[str, int], Blob], *, repeat_shared: bool) -> list[LayerWeights]:
    layers = [LayerWeights(name, "", _filled(_of_layer(blobs, name))) for name in dict.fromkeys(n for n, _ in blobs)]
    for layer in layers:
        if repeat_shared and not all(blob.stored for blob in layer.blobs):
            raise RequestError(f"layer {layer.name!r} uses a blob of another layer; a .caffemodel needs the net")
    return layers


def _of_layer(blobs: Mapping[tuple[str, int], Blob], name: str) -> dict[int, Blob]:
    return {index: blob for (layer, index), blob in blobs.items() if layer == name}


def _filled(blobs: Mapping[int, Blob]) -> tuple[Blob, ...]:
    """The blobs in order, with a hole for each that another layer owns."""
    return tuple(blobs.get(index) or hole() for index in range(max(blobs, default=-1) + 1))


def arrays_for(learnables: Sequence[Learnable], weights: Weights) -> list[Array]:
    """The stored values of each learnable blob, in order.

    Raises:
        WeightsError: a blob that the file lacks, or has in another shape.
        ErrorGroup: several of them.
    """
    faults: list[CaffeModelError] = []
    found: list[Array] = []
    for one in learnables:
        layer = weights.get(one.layer)
        stored = layer.blobs if layer is not None else ()
        blob = stored[one.index] if one.index < len(stored) else None
        if blob is None or not blob.stored:
            faults.append(_fault(weights, one, f"has no blob {one.index}, which the net has"))
        elif not blob.fits(one.shape):
            shapes = f"{format_shape(blob.shape)}, but the net makes it {format_shape(one.shape)}"
            faults.append(_fault(weights, one, f"blob {one.index} is {shapes}"))
        else:
            found.append(blob.array())
    raise_all(faults)
    return found


def _fault(weights: Weights, one: Learnable, message: str) -> WeightsError:
    return WeightsError(message, position=Position(weights.path), layer=one.layer)


def histories_for(
    learnables: Sequence[Learnable], history: Sequence[Blob], per_blob: int, path: str
) -> list[list[Array]]:
    """A solver state's history by learnable blob: `per_blob` arrays each; the state has the first of all blobs first.

    Raises:
        WeightsError: a history of another solver or of another net.
        ErrorGroup: several blobs that do not fit.
    """
    count = len(learnables)
    if len(history) != per_blob * count:
        what = f"{per_blob} for each of {count} learnable blobs" if per_blob > 1 else "one for each learnable blob"
        raise WeightsError(
            f"holds {len(history)} history blobs, but the solver needs {per_blob * count}, {what}",
            position=Position(path),
        )
    faults: list[CaffeModelError] = []
    for place, blob in enumerate(history):
        one = learnables[place % count]
        if not blob.fits(one.shape):
            shapes = f"{format_shape(blob.shape)}, but blob {one.index} is {format_shape(one.shape)}"
            message = f"history blob {place} is {shapes}"
            faults.append(WeightsError(message, position=Position(path), layer=one.layer))
    raise_all(faults)
    return [[history[nth * count + place].array() for nth in range(per_blob)] for place in range(count)]


def learned_net_path(state: str, learned_net: str) -> Path:
    """Where a state's weights lie: beside the state, where one snapshot puts both, or else where the state says."""
    beside = Path(state).parent / Path(learned_net).name
    return beside if learned_net and beside.is_file() else Path(learned_net)
