"""A converted PyTorch folder, run with a note taken of what each statement of `forward` assigned.

The weight file's header names the blob of every assignment of `forward`, in order, so a copy of the module's syntax
tree gets a call behind each assignment that keeps the value. Nothing in the folder is changed.
"""

from __future__ import annotations

import ast
import json
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prototxt import Position
from prototxt.errors import CaffeModelError, MissingDependencyError, WeightsError
from verify.engine import Answer, Array, Description, Key, Preprocessing, Sizes, describe, fed, missing

if TYPE_CHECKING:
    import torch

KEEP = "__verify_keep__"
MODULE = "_resnet_convert_verified_model"
LONGEST_HEADER = 100_000_000  # safetensors' own limit


class TorchModel:
    """A folder with model.py and model.safetensors in PyTorch on the CPU; see `verify.engine.Engine`.

    **This runs the folder's model.py as Python code**, as importing it would: verify only folders that you made or
    trust. A `forward` that someone changed no longer matches the header's list of blobs; then only outputs are
    compared, and the answer's notes say so.

    Raises:
        MissingDependencyError: torch or safetensors is not installed.
        WeightsError: a file is absent or damaged, or the code raises.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        try:
            import safetensors.torch  # noqa: F401 (model.py imports it; better told here)
            import torch
        except ImportError as error:
            raise missing("torch safetensors", "running a PyTorch model", error) from error
        self.name = f"torch {torch.__version__}"
        self._kept: list[Any] = []
        description = _description(self.path / "model.safetensors")
        source, arguments, self._assignments = _instrumented(self.path / "model.py")
        self._listed = description.tops
        self._whole = self._listed is not None and len(self._listed) == self._assignments
        with self._faults():
            self._model, names = self._load(source)
        self.inputs: Mapping[str, Sizes | None] = dict.fromkeys(names or arguments)
        self.tops: tuple[Key, ...] = tuple(key for key in self._keys() if key) if self._whole else ()
        self.preprocessing: Preprocessing | None = description.preprocessing

    def _keys(self) -> list[Key | None]:
        return [None if entry is None else (str(entry[0]), str(entry[1])) for entry in self._listed or ()]

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Whatever the folder's code raises is a fault of the folder."""
        try:
            yield
        except CaffeModelError:
            raise
        except Exception as error:
            message = f"its code raised {type(error).__name__}: {error}"
            raise WeightsError(message, position=Position(str(self.path / "model.py"))) from error
