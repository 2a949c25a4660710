"""Passes over a set of images: each measures what the layers of one level are given, and goes no further."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Graph, format_shape, is_free
from converter.node import Value
from converter.recalibration.moments import Moments
from converter.recalibration.stepwise import Precision, Steps, fault_of
from converter.recalibration.stored import Site, Stored
from converter.tensor import Array
from prototxt.errors import RequestError

if TYPE_CHECKING:
    import torch

    from converter.recalibration.stepwise import Values

Batches = Callable[[], Iterable[Mapping[str, Array]]]
"""Gives the images anew each time it is called: batches of any size, float32 N×C×H×W by input blob."""

OnBatch = Callable[[int, int, int], None]
"""Told the number of the pass from 1, how many there are, and how many images of this pass are done."""


class Measuring:
    """The images, gone through once for each level.

    Attributes:
        steps: the graph; whoever changes a node's tensors between passes tells it.
        images: how many the first pass gave.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Batches,
        device: str,
        precision: Precision,
        cache_bytes: int,
        progress: OnBatch | None,
    ) -> None:
        self.steps = Steps(graph, device, precision)
        self.images = 0
        self._graph = graph
        self._batches = batches
        self._progress = progress
        self._kept = _Kept(cache_bytes, device)
        self._sizes: list[int] = []  # of the batches, from the first pass on

    def refuse_plugins(self, known: set[int]) -> None:
        """Refuse layers of plugins that keep statistics of their own; `known` holds ids of nodes that are measured."""
        from torch.nn.modules.batchnorm import _BatchNorm

        for node in self._graph.nodes:
            if id(node) in known or type(node.layer).__module__.startswith("converter."):
                continue
            inner = self.steps.module(node).modules()
            if any(isinstance(module, _BatchNorm) and module.running_mean is not None for module in inner):
                raise fault_of(
                    node, "it keeps statistics in a form that only its plugin knows; they cannot be computed"
                )

    def measure(self, levels: Sequence[Sequence[Stored]], number: int) -> list[Moments]:
        """Go through all images as far as one level; the moments of what each of its layers is given."""
        level = levels[number]
        wanted = [site.node.inputs[0] for stored in level for site in stored.sites]
        later = self._later(levels, number) if self._kept.budget else []
        found = [Moments() for _ in level]
        keep = {id(value) for value in (*wanted, *later)}
        done = 0
        for index, (size, values) in enumerate(self._values()):
            self.steps.run(self.steps.ahead((*wanted, *later), values), values, keep)
            for stored, moments in zip(level, found, strict=True):
                for site in stored.sites:
                    self._see(site, values[id(site.node.inputs[0])], moments)
                    if moments.values and not moments.finite:
                        where = f"batch {index + 1} (images {done + 1} to {done + size})"
                        raise fault_of(site.node, f"its input has values that are NaN or infinite in {where}")
            self._kept.put(index, values, {id(value) for value in later})
            done += size
            if self._progress is not None:
                self._progress(number + 1, len(levels), done)
        self._check_number(number, done)
        for stored, moments in zip(level, found, strict=True):
            if not moments.values:
                raise fault_of(stored.sites[0].node, "its input is empty for all images: there is nothing to measure")
        return found

    def _check_number(self, number: int, done: int) -> None:
        if number == 0:
            self.images = done
        if not done and not number:
            raise RequestError("there are no images; statistics need at least one")
        if done != self.images:
            raise RequestError(
                f"pass {number + 1} over the images gave {done}, the first {self.images}; each has to give the same"
            )

    def _later(self, levels: Sequence[Sequence[Stored]], number: int) -> list[Value]:
        """What the passes after this one can go on from: values made by now that layers still to run read."""
        inputs = [[site.node.inputs[0] for stored in level for site in stored.sites] for level in levels]
        done = self.steps.ahead(v for level in inputs[: number + 1] for v in level)
        ahead = [v for level in inputs[number + 1 :] for v in level]
        ran = {id(node) for node in done}
        to_run = [node for node in self.steps.ahead(ahead) if id(node) not in ran]
        to_come = {id(value) for node in to_run for value in node.outputs}
        read = {id(value): value for value in (*ahead, *(v for node in to_run for v in node.inputs))}
        return [value for key, value in read.items() if key not in to_come]

    def _see(self, site: Site, x: torch.Tensor, moments: Moments) -> None:
        if site.kept.module:
            self.steps.input_of(site.node, site.kept.module, x, moments.add)
        else:
            moments.add(x if x.ndim > 1 else x.unsqueeze(1))

    def _values(self) -> Iterator[tuple[int, Values]]:
        """Each batch's size, and the values that a pass can start from: those kept, or the images."""
        if self._sizes and self._kept.holds(len(self._sizes)):
            for index, size in enumerate(self._sizes):
                yield size, self._kept.get(index) or {}
            return
        first, index = not self._sizes, 0
        for batch in self._batches():
            arrays = _checked(batch, self._graph.inputs)
            size = len(arrays[0])
            if not size:
                continue
            if first:
                self._sizes.append(size)
            elif index >= len(self._sizes) or self._sizes[index] != size:
                raise RequestError(f"batch {index + 1} of the images has {size} now, another number than before")
            yield size, self._kept.get(index) or self._loaded(arrays)
            index += 1

    def _loaded(self, arrays: Sequence[Array]) -> Values:
        return {id(value): self.steps.tensor(array) for value, array in zip(self._graph.inputs, arrays, strict=True)}


class _Kept:
    """Values of batches, kept from one pass to the next while they fit into a number of bytes."""

    def __init__(self, budget: int, device: str) -> None:
        self.budget = budget
        self._device = device
        self._held: dict[int, Values] = {}
        self._bytes = 0

    def holds(self, batches: int) -> bool:
        """Whether nothing of so many batches has to be run from the images."""
        return len(self._held) == batches

    def get(self, index: int) -> Values | None:
        """What is kept of a batch, on the device; None where that is nothing."""
        held = self._held.get(index)
        return None if held is None else {key: tensor.to(self._device) for key, tensor in held.items()}

    def put(self, index: int, values: Values, keys: set[int]) -> None:
        """Keep these values in place of the batch's older ones if they fit; what is older holds good as well."""
        if not keys:
            return
        size = sum(values[key].numel() * values[key].element_size() for key in keys)
        before = sum(t.numel() * t.element_size() for t in self._held.get(index, {}).values())
        if self._bytes - before + size <= self.budget:
            self._bytes += size - before
            self._held[index] = {key: values[key].to("cpu", copy=True) for key in keys}


def _checked(batch: Mapping[str, Array], inputs: Sequence[Value]) -> list[Array]:
    """A batch's arrays in the order of the net's inputs, float32 and in one piece.

    Raises:
        RequestError: an input without images, images without an input, another shape, or values that are no numbers.
    """
    names = [value.name for value in inputs]
    if set(batch) != set(names):
        given = ", ".join(sorted(map(str, batch))) or "none"
        raise RequestError(f"the images are for {given}; the net's inputs are {', '.join(names)}")
    arrays = []
    for value in inputs:
        array = np.require(batch[value.name], np.float32, ["C", "W"])
        fits = array.ndim == len(value.shape) and all(
            is_free(dim) or dim == size for dim, size in zip(value.shape[1:], array.shape[1:], strict=True)
        )
        if not fits or not all(array.shape[1:]):
            raise RequestError(
                f"images of {format_shape(array.shape)} for input {value.name!r}, which is {format_shape(value.shape)}"
            )
        if not np.isfinite(array).all():
            raise RequestError(f"images for input {value.name!r} have values that are NaN or infinite")
        arrays.append(array)
    if len({len(array) for array in arrays}) > 1 and not all(map(len, arrays)):
        raise RequestError("one input has no images, another has some")
    return arrays
