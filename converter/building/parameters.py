"""Filling a graph's layers with weights: matched by layer name, shared where the net says so, or made by fillers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from converter.graph import Shape, count, format_shape
from converter.node import Node, Origin, Parameter
from converter.tensor import Array, Tensor
from prototxt.caffe_pb2 import FillerParameter, ParamSpec
from prototxt.errors import MOST_SHOWN, CaffeModelError, ErrorGroup, NetError, Position, WeightsError
from prototxt.words import few
from weights import ArrayWeights, Blob, Wanted, Weights, fill, match_weights
from weights.machine import most_made

LEARN_ANEW = "; to learn it anew, give the layer another name"
MakeParameter = Callable[[Origin, Parameter], Array]


class Slot(NamedTuple):
    """A node with parameters, and the name under which each may be shared (`param { name }`), empty for none."""

    node: Node
    parameters: tuple[Parameter, ...]
    shares: tuple[str, ...]

    @property
    def origin(self) -> Origin:
        """The layer."""
        return self.node.origins[0]


def fill_parameters(
    slots: Sequence[Slot],
    weights: Weights | None,
    make: MakeParameter | None,
    net_path: str,
    *,
    training: bool = False,
) -> list[CaffeModelError]:
    """Give every slot's node its tensors; what stands in the way is returned, not raised.

    Args:
        slots: nodes with parameters, in the order of the net.
        weights: the file.
        make: gives the values of a layer that the file lacks; without it such layers are an error.
        net_path: the prototxt, for messages.
        training: whether a layer that does not fit may be learned anew.
    """
    faults = _shared_in_two_shapes(slots)
    if faults:
        return faults
    wanted = _wanted(slots)
    if weights is None and make is None:
        return _none_given(slots, net_path)
    blobs: dict[str, tuple[Blob, ...]] = {}
    if weights is not None:
        asked = wanted if make is None else [w for w in wanted if weights.get(w.name) is not None]
        try:
            blobs = match_weights(weights, asked, _names(slots), advice=LEARN_ANEW if training else "")
        except ErrorGroup as group:
            return list(group.errors)
        except WeightsError as error:
            return [error]
    if make is not None:
        faults = _too_many(slots, blobs)
        if faults:
            return faults
    owners: dict[str, Tensor] = {}
    for slot in slots:
        for i, parameter in enumerate(slot.parameters):
            found = blobs.get(slot.origin.name)
            blob = found[i] if found is not None and found[i].stored else None
            slot.node.tensors[parameter.name] = _tensor(slot, i, blob, make, owners)
    return []


def _names(slots: Sequence[Slot]) -> set[str]:
    """Of all layers of the net."""
    source = next((slot.origin.source for slot in slots if slot.origin.source is not None), None)
    return set() if source is None else {param.name for param in source.neighbours}


def _shared_in_two_shapes(slots: Sequence[Slot]) -> list[CaffeModelError]:
    """Caffe lets a blob be used in two shapes only if the layer says so and it holds as many values (net.cpp)."""
    owners: dict[str, tuple[Slot, Shape]] = {}
    faults: list[CaffeModelError] = []
    for slot in slots:
        for index, (share, parameter) in enumerate(zip(slot.shares, slot.parameters, strict=True)):
            owner, shape = owners.setdefault(share, (slot, parameter.shape)) if share else (slot, parameter.shape)
            same_count = count(shape) == count(parameter.shape)
            if shape != parameter.shape and not (same_count and _permissive(slot, index)):
                faults.append(_other_shape(slot, index, owner, shape, same_count=same_count))
    return faults


def _too_many(slots: Sequence[Slot], blobs: Mapping[str, tuple[Blob, ...]]) -> list[CaffeModelError]:
    """Values that would have to be made, where they are more than memory should hold."""
    made = {
        (slot.shares[index] or (id(slot), index)): (int(count(parameter.shape)), slot, parameter)
        for slot in slots
        if slot.origin.name not in blobs
        for index, parameter in enumerate(slot.parameters)
    }
    needed, most = sum(4 * size for size, _, _ in made.values()), most_made()
    if needed <= most:
        return []
    _, slot, parameter = max(made.values(), key=lambda entry: entry[0])
    return [
        NetError(
            f"its {parameter.name} is {format_shape(parameter.shape)}: the values that the net's layers without "
            f"weights start from would take {needed / 1e9:.1f} GB; at most {most / 1e9:.1f} GB are made",
            position=slot.origin.position,
            layer=slot.origin.name,
            layer_type=slot.origin.type,
        )
    ]


def _permissive(slot: Slot, index: int) -> bool:
    source = slot.origin.source
    return source is not None and source.param.param[index].share_mode == ParamSpec.PERMISSIVE


def _other_shape(slot: Slot, index: int, owner: Slot, shape: Shape, *, same_count: bool) -> NetError:
    own, name = slot.parameters[index], slot.shares[index]
    allow = " unless it says share_mode: PERMISSIVE" if same_count else ""
    return NetError(
        f"its {own.name} is {format_shape(own.shape)}, but {name!r}, which it shares with layer {owner.origin.name!r}, "
        f"is {format_shape(shape)} there; Caffe refuses that{allow}",
        position=slot.origin.source.where("param", index, "name") if slot.origin.source else slot.origin.position,
        layer=slot.origin.name,
        layer_type=slot.origin.type,
    )


def _wanted(slots: Sequence[Slot]) -> list[Wanted]:
    seen: set[str] = set()
    wanted = []
    named = {slot.origin.name for slot in slots if slot.parameters}
    for slot in slots:
        if not slot.parameters and slot.origin.name in named:
            continue  # a layer of the same name takes the blobs
        optional = frozenset(i for i, share in enumerate(slot.shares) if share and share in seen)
        seen.update(slot.shares)
        origin = slot.origin
        shapes = tuple(tuple(map(int, p.shape)) for p in slot.parameters)
        wanted.append(Wanted(origin.name, origin.type, shapes, origin.position, optional))
    return wanted


def _none_given(slots: Sequence[Slot], net_path: str) -> list[CaffeModelError]:
    if not slots:
        return []
    names = few([slot.origin.name for slot in slots], MOST_SHOWN)
    verb = "layer needs" if len(slots) == 1 else "layers need"
    message = f"{len(slots)} {verb} weights; give the .caffemodel, or --random-weights SEED: {names}"
    return [WeightsError(message, position=Position(net_path))]


def _tensor(slot: Slot, index: int, blob: Blob | None, make: MakeParameter | None, owners: dict[str, Tensor]) -> Tensor:
    parameter, share = slot.parameters[index], slot.shares[index]
    known = owners.get(share) if share else None
    if known is not None:
        known.shared = True
        if blob is not None:  # Caffe copies layer by layer into the shared memory, so the last sharer's values stay.
            known.load = _Stored(blob, known.shape)
        elif isinstance(make, RandomParameters):
            make.share(slot.origin, known.load().reshape(tuple(map(int, parameter.shape))))
        return known if known.shape == parameter.shape else known.reshaped(parameter.shape)
    if blob is not None:
        load: Callable[[], Array] = _Stored(blob, parameter.shape)
    else:
        assert make is not None  # match_weights reported a layer without blobs
        values = make(slot.origin, parameter)
        load = _constant(values)
    tensor = Tensor(f"{slot.origin.name}.{parameter.name}", parameter.shape, load)
    if share:
        owners[share] = tensor
    return tensor


class _Stored:
    """A blob's values in the shape of a parameter."""

    def __init__(self, blob: Blob, shape: Shape) -> None:
        self.blob, self.shape = blob, shape

    def __call__(self) -> Array:
        return self.blob.array().reshape(self.shape)

    def parts(self) -> Iterator[Array]:
        """As of `Blob`."""
        return self.blob.parts()


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
        self._held: dict[str, list[Array]] = {}  # with what layers share, as a file has it for each of them

    def __call__(self, origin: Origin, parameter: Parameter) -> Array:
        values = self._draw(origin, parameter)
        self.made.setdefault(origin.name, []).append(values)
        self.share(origin, values)
        return values

    def share(self, origin: Origin, values: Array) -> None:
        """Take down that a layer's next parameter is one that was made for another layer."""
        self._held.setdefault(origin.name, []).append(values)

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
        made = {name: held for name, held in self._held.items() if name in self.made}
        return ArrayWeights({**read, **made}, path="random weights")


class StartingParameters(RandomParameters):
    """Values from the net's own fillers, as Caffe begins a training: where it states none, 0."""

    def _draw(self, origin: Origin, parameter: Parameter) -> Array:
        return fill(parameter.filler or FillerParameter(), tuple(map(int, parameter.shape)), self._rng)

    def with_file(self, weights: Weights | None) -> Weights:
        """The file itself where nothing had to be drawn."""
        return super().with_file(weights) if self.made or weights is None else weights


def _is_zero(stated: FillerParameter) -> bool:
    return stated.type == "constant" and stated.value == 0


Draw = Callable[[Shape, "np.random.Generator"], npt.NDArray[np.float64]]

_STATISTICS: dict[str, Draw] = {
    "mean": lambda shape, rng: 0.1 * rng.standard_normal(shape),
    "variance": lambda shape, rng: rng.uniform(0.5, 1.5, shape),
    "inverse_std": lambda shape, rng: rng.uniform(0.5, 1.5, shape),
    "scale_factor": lambda shape, rng: np.ones(shape),
}
"""What a normalisation layer stores of the numbers it saw, by the parameter's name."""
