"""What runs a converted model, or the Caffe files themselves, and gives every blob it can.

    OnnxRuntime("model.onnx")         onnxruntime, every value that carries a Caffe blob
    TorchModel("model_torch")         the generated PyTorch module
    OpenCv(net, weights)              second opinion: OpenCV 4 reads the Caffe files on its own
    PyCaffe(net, weights)             the original, where it is installed

`open_model` chooses between the first two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt.errors import ModelError, Position, RequestError
from prototxt.json_text import read_json
from prototxt.names import is_utf8, naming, utf8
from verify.keys import Key

if TYPE_CHECKING:
    from prototxt import Net

Array: TypeAlias = npt.NDArray[np.float32]
File: TypeAlias = str | PathLike[str]

TOPS = "resnet_convert.tops"
"""Metadata key: which value of the converted model is which layer's top."""

PREPROCESS = "resnet_convert.preprocess"
"""Metadata key: the preprocessing that was baked in."""


@dataclass(frozen=True)
class ModelInput:
    """An input of a model; `shape` has None for a free axis and is None where the model does not say."""

    name: str
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """What an engine made of some feeds.

    Attributes:
        tops: every blob that it could give, by (layer, top).
        outputs: its outputs by name, from the model as it is shipped: with the fusions of the runtime, where `tops`
            was computed without them.
        notes: what could not be had, in words.
    """

    tops: Mapping[Key, Array]
    outputs: Mapping[str, Array]
    notes: tuple[str, ...] = ()


@dataclass
class Blobs:
    """What an engine makes of some feeds, blob by blob.

    Attributes:
        tops: each blob with the tops that it is, once, in about the net's order. Who holds none of them has no more
            than one in memory at a time.
        outputs, notes: as of `Answers`; whole when `tops` has come to its end.
    """

    tops: Iterator[tuple[Sequence[Key], Array]]
    outputs: dict[str, Array] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, answers: Answers) -> Blobs:
        """Blobs that are all there."""
        tops = iter([((key,), array) for key, array in answers.tops.items()])
        return cls(tops, dict(answers.outputs), list(answers.notes))

    def answers(self) -> Answers:
        """All of it."""
        tops = {key: array for keys, array in self.tops for key in keys}
        return Answers(tops, self.outputs, tuple(self.notes))


Take: TypeAlias = Callable[[Sequence[Key], Array], None]
"""Is given a blob, with the tops that it is."""


class Engine(Protocol):
    """Something that runs a net."""

    @property
    def name(self) -> str:
        """With its version, for the report."""

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """What it wants fed, in order."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the converter wrote into the model; empty for a model from elsewhere."""

    @property
    def blobs(self) -> tuple[Key, ...]:
        """The tops that the model says it has; empty where it says nothing."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs, where they are known before it runs."""

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run it.

        Args:
            feeds: by blob name, float32. Where the names are not those of `inputs`, the order decides.

        Raises:
            RequestError: feeds that do not fit the model.
            ModelError: the model fails.
        """

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """Run it, and hand its blobs out as they are asked for; arguments and errors as of `run`."""

    def give(self, feeds: Mapping[str, Array], take: Take) -> Answers:
        """Run it, and hand its blobs out as they come; returns the rest. Errors as of `run`."""


class AtOnce:
    """An engine that has all blobs when it has run."""

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """See `Engine.run`."""
        raise NotImplementedError

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """See `Engine.stream`."""
        return Blobs.of(self.run(feeds))

    def give(self, feeds: Mapping[str, Array], take: Take) -> Answers:
        """See `Engine.give`."""
        return handed_over(self.stream(feeds), take)


class OneByOne:
    """An engine that has its blobs one after the other."""

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """See `Engine.run`."""
        return self.stream(feeds).answers()

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """See `Engine.stream`."""
        raise NotImplementedError

    def give(self, feeds: Mapping[str, Array], take: Take) -> Answers:
        """See `Engine.give`."""
        return handed_over(self.stream(feeds), take)


def handed_over(blobs: Blobs, take: Take) -> Answers:
    """What is left of blobs that were handed out."""
    for keys, array in blobs.tops:
        take(keys, array)
        del array  # or it would be there beside the next one
    return Answers({}, blobs.outputs, tuple(blobs.notes))


def described_tops(metadata: Mapping[str, str], where: Path) -> list[Any]:
    """The list behind `TOPS`; empty for a model from elsewhere.

    Raises:
        RequestError: something else stands there.
    """
    try:
        entries = read_json(metadata.get(TOPS, "[]"))
    except ValueError as error:
        raise fault(where, f"its metadata {TOPS!r} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise fault(where, f"its metadata {TOPS!r} is not a list")
    return entries


def fault(path: Path | str, message: str) -> RequestError:
    """The error for a model that cannot be run."""
    return RequestError(message, position=Position(str(path)))


def model_fault(path: Path | str, message: str) -> ModelError:
    """The error for a model whose own code or graph fails."""
    return ModelError(message, position=Position(str(path)))


def refuse_other_names(net: Net, engine: str) -> None:
    """Readers with Python bindings of their own give blobs by names in UTF-8 alone.

    Raises:
        RequestError: the net has others.
    """
    names = (name for layer in net.layers for name in (layer.name, *layer.tops))
    other = next((name for name in names if not is_utf8(name)), None)
    if other is not None:
        raise fault(net.path, f"{engine} can't be asked for blobs of names that are no UTF-8, such as {other!r}")


def assign_feeds(inputs: tuple[ModelInput, ...], feeds: Mapping[str, Array], where: Path) -> dict[str, Array]:
    """The feeds under the model's own names, in its order; see `rename_inputs`.

    Raises:
        RequestError: an input that no feed is for.
    """
    blobs = rename_inputs(inputs, list(feeds))
    if len(blobs) != len(inputs):
        names = ", ".join(entry.name for entry in inputs)
        raise fault(where, f"its inputs are {names or 'none'}, but those of the net are {', '.join(feeds) or 'none'}")
    return {entry.name: feeds[blob.name] for entry, blob in zip(inputs, blobs, strict=True)}


def rename_inputs(inputs: tuple[ModelInput, ...], blobs: list[str]) -> tuple[ModelInput, ...]:
    """A model's inputs under the names of the net's blobs: by name, by name as an identifier, or else by place.

    Empty when nothing fits: neither names nor counts agree.
    """
    by_identifier = {identifier(utf8(blob)): blob for blob in blobs}
    known = dict.fromkeys(blobs)
    own = list(map(naming(known), (entry.name for entry in inputs)))
    if all(name in known for name in own):
        names = own
    elif len(by_identifier) == len(blobs) and all(identifier(entry.name) in by_identifier for entry in inputs):
        names = [by_identifier[identifier(entry.name)] for entry in inputs]
    elif len(inputs) == len(blobs):
        names = blobs
    else:
        return ()
    return tuple(ModelInput(name, entry.shape) for name, entry in zip(names, inputs, strict=True))


def identifier(name: str) -> str:
    """A name as it survives in Python source, but for what makes it unique."""
    return "".join(c if c.isalnum() else "_" for c in name).strip("_")
