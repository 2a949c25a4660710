"""A net as both sides have it: parts that compute, each with what it reads, and the parameters that it holds.

`caffe_side` makes one of a Caffe graph, `module_side` of a PyTorch module; nothing here knows either.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class NetPart:
    """One operation.

    Attributes:
        kind, settings: what it computes (`converter.matching.operation`).
        inputs: what it reads, in order.
        shape: of what it makes.
        parameters: what it has learned, by role: `weight`, `bias`, `gamma`, `beta`, `mean`, `variance`.
        label: what its own side calls it: a layer's name, a module's path.
        type: the type of the layer or module.
        place: where it is stated, `deploy.prototxt:12`; empty for a module.
        values: what its own side calls the value that it makes, each with the shape that it has there; equal but for
            their shapes.
        map: shape of the map that the value is, where a flattening made a vector of it.
        order: the axes of that map in the order in which the vector has them.
        attributes: names of what can be set on the module that the part is; empty where it is the user's own code.
        affine: of a weighted sum or a normalisation, what works on each of its channels behind it, in order.
        joined: how many convolutions of slices it was.
    """

    kind: str
    settings: dict[str, Any]
    inputs: list[NetPart]
    shape: tuple[int, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    type: str = ""
    place: str = ""
    values: list[tuple[Hashable, tuple[int, ...]]] = field(default_factory=list)
    map: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    attributes: frozenset[str] = frozenset()
    affine: list[NetPart] = field(default_factory=list)
    joined: int = 1

    def __str__(self) -> str:
        place = f", {self.place}" if self.place else ""
        return f"{self.label or self.type} ({self.type}{place})" if self.label else self.type

    @property
    def together(self) -> list[NetPart]:
        """The part, and those that it took in."""
        return [self, *self.affine]

    @property
    def made(self) -> list[tuple[Hashable, tuple[int, ...]]]:
        """What its own side calls the value that it makes, with those that it took in."""
        return self.together[-1].values


@dataclass
class Skeleton:
    """A whole net.

    Attributes:
        inputs: what it is fed, in order.
        parts: all parts in the order in which they run.
        outputs: what it gives, in order.
    """

    inputs: list[NetPart]
    parts: list[NetPart]
    outputs: list[NetPart]


def readers(parts: Sequence[NetPart]) -> dict[int, list[NetPart]]:
    """The parts that read each part, by its `id`, once for each time they do."""
    found: dict[int, list[NetPart]] = {}
    for part in parts:
        for source in part.inputs:
            found.setdefault(id(source), []).append(part)
    return found


def drop_unread(skeleton: Skeleton) -> None:
    """Leave out the parts that no output depends on; inputs stay."""
    wanted = {id(part) for part in skeleton.outputs}
    for part in reversed(skeleton.parts):
        if id(part) in wanted:
            wanted.update(id(source) for source in part.inputs)
    skeleton.parts = [part for part in skeleton.parts if id(part) in wanted or part.kind == "input"]
