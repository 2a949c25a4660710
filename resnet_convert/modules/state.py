"""A module filled with the state dict of a file, and what the two do not have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from prototxt.errors import MOST_SHOWN, Position, WeightsError
from prototxt.words import few, format_shape
from weights.layouts.arrays import LazyArray
from weights.layouts.files import open_arrays


def fill_module(module: Any, name: str, path: str | os.PathLike[str]) -> list[WeightsError]:
    """Fill a module with a file's tensors; what does not fit is returned, and left as it is.

    Args:
        module: the module.
        name: what it is called in messages.
        path: of a form that `open_arrays` reads.

    Raises:
        WeightsError, MissingDependencyError: as of `open_arrays`.
    """
    own = {key: value for key, value in module.state_dict().items() if hasattr(value, "detach")}
    with open_arrays(path) as state:
        faults = [WeightsError(what, position=Position(os.fspath(path))) for what in _misfits(state, own, name)]
        for key, array in state.items():
            if key in own and tuple(own[key].shape) == array.shape:
                np.copyto(own[key].detach().numpy(), array.array().reshape(array.shape), casting="unsafe")
    return faults


def _misfits(state: Mapping[str, LazyArray], own: Mapping[str, Any], name: str) -> Iterator[str]:
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        yield f"lacks what {name} has: {few(missing, MOST_SHOWN)}"
    unknown = [key for key in state if key not in own]
    if unknown:
        yield f"has what {name} does not have: {few(unknown, MOST_SHOWN)}"
    for key, array in state.items():
        if key in own and tuple(own[key].shape) != array.shape:
            yield f"{key} is {format_shape(array.shape)}, that of {name} {format_shape(tuple(own[key].shape))}"
