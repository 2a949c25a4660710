"""Keras models by name, and what is done with one that weights are ported into: it needs Keras' torch backend."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any, Final

from prototxt.errors import ModelError, RequestError
from prototxt.optional import need
from prototxt.words import first_line, nearest

ENDING: Final = ".weights.h5"
_ROOM: Final = 8192  # bytes that a variable or a layer takes besides


def prefer_torch() -> None:
    """Let Keras, where nobody chose a backend and it is not loaded yet, run on torch."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")


def application(name: str) -> Any:
    """A model of `keras.applications` by its name, without weights; nothing is downloaded.

    It gives scores, without the softmax that such a model has by default: no weights hang on that.

    Raises:
        RequestError: no such model, or Keras runs on another backend.
        ModelError: it cannot be built.
        MissingDependencyError: Keras is not installed.
    """
    prefer_torch()
    keras = need("keras", "keras", f"building keras:{name}")
    _check_backend(keras)
    known = [each for each in dir(keras.applications) if each[:1].isupper()]
    if name not in known:
        near = nearest(name, known)
        raise RequestError(f"keras.applications has no model {name!r}{f'; did you mean {near[0]}?' if near else ''}")
    try:
        with keras.device("cpu"):
            return getattr(keras.applications, name)(weights=None, classifier_activation=None)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"keras:{name} cannot be built: {type(error).__name__}: {first_line(error)}") from error


def mirror_if_keras(module: Any) -> Any:
    """A Keras model's mirror, which is matched in its place; any other module as it is.

    Raises:
        RequestError: Keras runs on another backend.
        UnsupportedError: a model with layers that have no mirror.
    """
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(module, keras.Model):
        return module
    _check_backend(keras)
    from resnet_convert.modules.keras_mirror import KerasMirror

    return KerasMirror(module)


def is_mirror(module: Any) -> bool:
    """Whether a module is such a mirror."""
    return type(module).__name__ == "KerasMirror" and hasattr(module, "give_back")


def check_output(module: Any, output: str | os.PathLike[str] | None) -> None:
    """Refuse a form that the module does not have: Keras' own is for Keras models alone.

    Raises:
        RequestError: the two do not go together.
    """
    if output is None or is_mirror(module) == str(output).endswith(ENDING):
        return
    if is_mirror(module):
        raise RequestError(f"{output}: a Keras model's weights are written to a file that ends in {ENDING}")
    raise RequestError(f"{output}: {ENDING} is for Keras models; {type(module).__name__} is none")


def write_weights(module: Any, path: Path) -> None:
    """Let Keras write its model's weights into a new file.

    The HDF5 library can end the process where a disk is full, so there has to be room before it begins.

    Raises:
        OSError: there is none.
    """
    model = module.model
    needed = sum(4 * math.prod(variable.shape) + _ROOM for variable in model.variables) + _ROOM * len(model.layers)
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    model.save_weights(path)


def _check_backend(keras: Any) -> None:
    if keras.backend.backend() != "torch":
        raise RequestError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=torch to port into its models")
