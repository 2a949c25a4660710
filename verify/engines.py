"""What runs a converted model, or the Caffe files themselves, and gives every blob it can.

    OnnxRuntime("model.onnx")         onnxruntime, every value that carries a Caffe blob
    TorchModel("model_torch")         the generated PyTorch module
    OpenCv(net, weights)              second opinion: OpenCV 4 reads the Caffe files on its own
    PyCaffe(net, weights)             the original, where it is installed

`open_model` chooses between the first two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Position
from prototxt.errors import RequestError
from verify.interpreter import Key

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
            RequestError: feeds that do not fit the model, or a model that fails.
        """


def described_tops(metadata: Mapping[str, str], where: Path) -> list[Any]:
    """The list behind `TOPS`; empty for a model from elsewhere.

    Raises:
        RequestError: something else stands there.
    """
    try:
        entries = json.loads(metadata.get(TOPS, "[]"))
    except ValueError as error:
        raise fault(where, f"its metadata {TOPS!r} is not JSON: {error}") from error
    if not isinstance(entries, list):
        raise fault(where, f"its metadata {TOPS!r} is not a list")
    return entries


def fault(path: Path | str, message: str) -> RequestError:
    """The error for a model that cannot be run."""
    return RequestError(message, position=Position(str(path)))


def first_line(error: BaseException) -> str:
    """An exception in one line: runtimes add stack traces to theirs."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


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
    by_identifier = {identifier(blob): blob for blob in blobs}
    if all(entry.name in blobs for entry in inputs):
        names = [entry.name for entry in inputs]
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


def open_model(path: File) -> Engine:
    """The engine for a converted model: a file, whatever its name, for onnxruntime, a folder for PyTorch or Caffe.

    Raises:
        RequestError: neither of them, or a model that cannot be loaded.
        MissingDependencyError: its runtime is not installed.
    """
    from verify.engine_caffe import NET, CaffePair
    from verify.engine_onnx import OnnxRuntime
    from verify.engine_torch import TorchModel

    model = Path(path)
    if not model.exists():
        raise fault(model, "no such file")
    if model.is_dir():
        return CaffePair(model) if (model / NET).exists() else TorchModel(model)
    return OnnxRuntime(model)
