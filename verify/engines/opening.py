"""A converted model from its path: which engine runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from verify.engines.engine import Engine, File, fault

TIME_TO_LOAD = 300.0
"""Seconds that a model in a process of its own has, where nobody says: a large file may lie far away."""


def open_model(path: File) -> Engine:
    """The engine for a converted model: a file, whatever its name, for onnxruntime, a folder for PyTorch or Caffe.

    Raises:
        RequestError: neither of them, or a model that cannot be loaded.
        MissingDependencyError: its runtime is not installed.
    """
    model = _existing(path)
    if not model.is_dir():
        from verify.engines.onnx import OnnxRuntime

        return OnnxRuntime(model)
    if not _is_pair(model):
        from verify.engines.torch import TorchModel

        return TorchModel(model)
    from verify.engines.caffe_pair import CaffePair

    return CaffePair(model)


@contextmanager
def opened_apart(path: File, limit: float = TIME_TO_LOAD) -> Iterator[Engine]:
    """Like `open_model`, in a process of its own that is ended afterwards; in this one where it is data of Caffe.

    Args:
        path: of the model.
        limit: seconds that it may take to load, and then to run.

    Raises:
        RequestError, MissingDependencyError: as `open_model`.
        ModelError: its code ends the process, or does not load in time.
    """
    from verify.engines.apart import ModelApart

    model = _existing(path)
    if _is_pair(model):
        yield open_model(model)
        return
    with closing(ModelApart(model, limit=limit)) as engine:
        yield engine


def _existing(path: File) -> Path:
    model = Path(path)
    if not model.exists():
        raise fault(model, "no such file")
    return model


def _is_pair(model: Path) -> bool:
    if not model.is_dir():
        return False
    from verify.engines.caffe_pair import NET

    return (model / NET).exists()
