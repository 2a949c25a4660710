"""Filling a graph's layers with weights: matched by layer name, shared where the net says so, or made by fillers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from converter.graph import Array, Node, Origin, Shape, Tensor
from converter.layers.base import Parameter
from prototxt.caffe_pb2 import FillerParameter
from prototxt.errors import CaffeModelError, ErrorGroup, Position, WeightsError
from weights import ArrayWeights, Blob, Wanted, Weights, fill, match_weights

MakeParameter = Callable[[Origin, Parameter], Array]


@dataclass
class Slot:
    """A node with parameters, and the name under which each may be shared (`param { name }`), empty for none."""

    node: Node
    parameters: tuple[Parameter, ...]
    shares: tuple[str, ...]

    @property
    def origin(self) -> Origin:
        """The layer."""
        return self.node.origins[0]


def fill_parameters(
    slots: Sequence[Slot], weights: Weights | None, make: MakeParameter | None, net_path: str
) -> list[CaffeModelError]:
    """Give every slot's node its tensors; what stands in the way is returned, not raised.

    Args:
        slots: nodes with parameters, in the order of the net.
        weights: the file.
        make: gives the values of a layer that the file lacks; without it such layers are an error.
        net_path: the prototxt, for messages.
    """
    wanted = _wanted(slots)
    if weights is None and make is None:
        return _none_given(slots, net_path)
    blobs: dict[str, tuple[Blob, ...]] = {}
    if weights is not None:
        asked = wanted if make is None else [w for w in wanted if weights.get(w.name) is not None]
        try:
            blobs = match_weights(weights, asked)
        except ErrorGroup as group:
            return list(group.errors)
        except WeightsError as error:
            return [error]
    owners: dict[str, Tensor] = {}
    for slot in slots:
        for i, parameter in enumerate(slot.parameters):
            found = blobs.get(slot.origin.name)
            blob = found[i] if found is not None and found[i].stored else None
            slot.node.tensors[parameter.name] = _tensor(slot, i, blob, make, owners)
    return []


def _wanted(slots: Sequence[Slot]) -> list[Wanted]:
    seen: set[str] = set()
    wanted = []
    for slot in slots:
        optional = frozenset(i for i, share in enumerate(slot.shares) if share and share in seen)
        seen.update(slot.shares)
        origin = slot.origin
        shapes = tuple(tuple(map(int, p.shape)) for p in slot.parameters)
        wanted.append(Wanted(origin.name, origin.type, shapes, origin.position, optional))
    return wanted


def _none_given(slots: Sequence[Slot], net_path: str) -> list[CaffeModelError]:
    if not slots:
        return []
    names = ", ".join(slot.origin.name for slot in slots)
    verb = "layer needs" if len(slots) == 1 else "layers need"
    message = f"{len(slots)} {verb} weights; give the .caffemodel, or --random-weights SEED: {names}"
    return [WeightsError(message, position=Position(net_path))]


def _tensor(slot: Slot, index: int, blob: Blob | None, make: MakeParameter | None, owners: dict[str, Tensor]) -> Tensor:
    parameter, share = slot.parameters[index], slot.shares[index]
    known = owners.get(share) if share else None
    if known is not None:
        known.shared = True
        if blob is not None:  # Caffe copies layer by layer into the shared memory, so the last sharer's values stay.
            known.load = _loader(blob, known.shape)
        return known if known.shape == parameter.shape else known.reshaped(parameter.shape)
    if blob is not None:
        load = _loader(blob, parameter.shape)
    else:
        assert make is not None  # match_weights reported a layer without blobs
        values = make(slot.origin, parameter)
        load = _constant(values)
    tensor = Tensor(f"{slot.origin.name}.{parameter.name}", parameter.shape, load)
    if share:
        owners[share] = tensor
    return tensor


def _loader(blob: Blob, shape: Shape) -> Callable[[], Array]:
    return lambda: blob.array().reshape(shape)


def _constant(values: Array) -> Callable[[], Array]:
    return lambda: values


class RandomParameters:
    """Values from the net's own fillers; where it states none, such as keep a deep net's numbers in range.

    A net for deployment often has no fillers, and zeros would prove nothing: weights are then msra (He) normal, biases
    small, factors near 1, and a normalisation's statistics those of a trained layer (mean near 0, variance near 1).

    Attributes:
        made: what was drawn so far, by layer, in the order of its parameters.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.made: dict[str, list[Array]] = {}

    def __call__(self, origin: Origin, parameter: Parameter) -> Array:
        values = self._draw(origin, parameter)
        self.made.setdefault(origin.name, []).append(values)
        return values

    def _draw(self, origin: Origin, parameter: Parameter) -> Array:
        shape = tuple(map(int, parameter.shape))
        stated = parameter.filler
        if parameter.name == "value":  # What reads the Parameter layer's blob may take a root of it, or divide by it.
            return self._rng.uniform(0.5, 1.5, shape).astype(np.float32)
        if parameter.name in _STATISTICS:
            return _STATISTICS[parameter.name](shape, self._rng).astype(np.float32)
        if stated is not None and (parameter.name == "bias" or not _is_zero(stated)):
            return fill(stated, shape, self._rng)
        if parameter.name == "weight" and len(shape) > 1:
            return fill(FillerParameter(type="msra"), shape, self._rng)
        centre = 1.0 if parameter.name in ("weight", "gamma") else 0.0
        return (centre + 0.05 * self._rng.standard_normal(shape)).astype(np.float32)

    def with_file(self, weights: Weights | None) -> Weights:
        """What was drawn and what the file gave, as one set of weights."""
        read = {x.name: [b.array() for b in x.blobs] for x in weights.layers} if weights else {}
        return ArrayWeights({**read, **self.made}, path="random weights")


class StartingParameters(RandomParameters):
    """Values from the net's own fillers, as Caffe begins a training: where it states none, 0."""

    def _draw(self, origin: Origin, parameter: Parameter) -> Array:
        return fill(parameter.filler or FillerParameter(), tuple(map(int, parameter.shape)), self._rng)

    def with_file(self, weights: Weights | None) -> Weights:
        """The file itself where nothing had to be drawn."""
        return super().with_file(weights) if self.made or weights is None else weights


def _is_zero(stated: FillerParameter) -> bool:
    return stated.type == "constant" and stated.value == 0


Statistics = Callable[[Shape, np.random.Generator], npt.NDArray[np.float64]]

_STATISTICS: dict[str, Statistics] = {
    "mean": lambda shape, rng: 0.1 * rng.standard_normal(shape),
    "variance": lambda shape, rng: rng.uniform(0.5, 1.5, shape),
    "inverse_std": lambda shape, rng: rng.uniform(0.5, 1.5, shape),
    "scale_factor": lambda shape, rng: np.ones(shape),
}
"""What a normalisation layer stores of the numbers it saw, by the parameter's name."""
