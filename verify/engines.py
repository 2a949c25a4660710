"""What runs a converted model, or the Caffe files themselves, and gives every blob it can.

    OnnxRuntime("model.onnx")         onnxruntime, every value that carries a Caffe blob
    TorchModel("model_torch")         the generated PyTorch module
    OpenCv(net, weights)              second opinion: OpenCV 4 reads the Caffe files on its own
    PyCaffe(net, weights)             the original, where it is installed
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from prototxt import Position
from prototxt.errors import MissingDependencyError, RequestError
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

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run it.

        Args:
            feeds: by blob name, float32. Where the names are not those of `inputs`, the order decides.

        Raises:
            RequestError: feeds that do not fit the model, or a model that fails.
        """


@dataclass(frozen=True)
class Described:
    """The part of the metadata that says which values are Caffe's blobs."""

    metadata: Mapping[str, str] = field(default_factory=dict)

    def entries(self, where: Path) -> list[Any]:
        """The list behind `TOPS`; empty for a model from elsewhere."""
        try:
            entries = json.loads(self.metadata.get(TOPS, "[]"))
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


def need(module: str, package: str, why: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingDependencyError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingDependencyError(f"{why} needs {module}, which is not installed: pip install {package}") from error


def assign_feeds(inputs: tuple[ModelInput, ...], feeds: Mapping[str, Array], where: Path) -> dict[str, Array]:
    """The feeds under the model's own names: by name, or by place when the names differ and the counts agree.

    Raises:
        RequestError: an input that no feed is for.
    """
    names = [entry.name for entry in inputs]
    if all(name in feeds for name in names):
        return {name: feeds[name] for name in names}
    by_identifier = {identifier(name): array for name, array in feeds.items()}
    if len(by_identifier) == len(feeds) and all(identifier(name) in by_identifier for name in names):
        return {name: by_identifier[identifier(name)] for name in names}
    if len(names) == len(feeds):
        return dict(zip(names, feeds.values(), strict=True))
    raise fault(where, f"its inputs are {', '.join(names)}, but the net's are {', '.join(feeds)}")


def identifier(name: str) -> str:
    """A name as it survives in Python source, but for what makes it unique."""
    return "".join(c if c.isalnum() else "_" for c in name).strip("_")


def open_model(path: File) -> Engine:
    """The engine for a converted model: `.onnx` for onnxruntime, a folder with model.py for PyTorch.

    Raises:
        RequestError: neither of them, or a model that cannot be loaded.
        MissingDependencyError: its runtime is not installed.
    """
    from verify.engine_onnx import OnnxRuntime
    from verify.engine_torch import TorchModel

    model = Path(path)
    if not model.exists():
        raise fault(model, "no such file")
    if model.is_dir():
        return TorchModel(model)
    if model.suffix.lower() == ".onnx":
        return OnnxRuntime(model)
    raise fault(model, "is no converted model; expected an .onnx file, or a folder with model.py")
