"""A module filled with a state dict from a file, and what the two do not have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pickle import UnpicklingError
from typing import Any

from prototxt.errors import MOST_SHOWN, Position, WeightsError
from prototxt.optional import need, need_torch
from prototxt.words import few, first_line, format_shape

WITHIN = ("state_dict", "model_state_dict", "model")
"""Under which keys training scripts keep the state dict of what they save."""

PARALLEL = "module."
"""What `DataParallel` puts before each key."""


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of a `.safetensors` file, or of a state dict that `torch.save` wrote, by their keys.

    No code in the file is run. A checkpoint that holds the state dict beside other things gives that.

    Raises:
        WeightsError: no such file, one of another form, or one that holds more than tensors and containers.
        MissingDependencyError: torch or safetensors is not installed.
    """
    torch = need_torch("reading a state dict")
    where = Position(os.fspath(path))
    try:
        if os.fspath(path).endswith(".safetensors"):
            found: Any = need("safetensors.torch", "safetensors", "reading .safetensors files").load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror or first_line(error)}", position=where) from error
    except UnpicklingError as error:
        message = "is no state dict of tensors and containers alone; whatever else it holds is not loaded"
        raise WeightsError(message, position=where) from error
    except Exception as error:  # both libraries raise what they like at a damaged file
        raise WeightsError(f"is damaged, or no state dict: {first_line(error)}", position=where) from error
    for key in WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(f"holds no state dict, but {type(found).__name__}", position=where)
    others = [str(key) for key, value in found.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise WeightsError(f"holds other things than tensors: {few(others, MOST_SHOWN)}", position=where)
    parallel = all(str(key).startswith(PARALLEL) for key in found)
    return {str(key).removeprefix(PARALLEL) if parallel else str(key): value for key, value in found.items()}


def fill_module(module: Any, name: str, path: str | os.PathLike[str]) -> list[WeightsError]:
    """Fill a module with a file's tensors; what does not fit is returned, and left as it is.

    Args:
        module: the module.
        name: what it is called in messages.
        path: as of `read_state`, with its errors.
    """
    state, own = read_state(path), module.state_dict()
    faults = [WeightsError(what, position=Position(os.fspath(path))) for what in _misfits(state, own, name)]
    for key, value in state.items():
        if key in own and own[key].shape == value.shape:
            own[key].copy_(value)
    return faults


def _misfits(state: Mapping[str, Any], own: Mapping[str, Any], name: str) -> Iterator[str]:
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        yield f"lacks what {name} has: {few(missing, MOST_SHOWN)}"
    unknown = [key for key in state if key not in own]
    if unknown:
        yield f"has what {name} does not have: {few(unknown, MOST_SHOWN)}"
    for key, value in state.items():
        if key in own and own[key].shape != value.shape:
            theirs = format_shape(tuple(own[key].shape))
            yield f"{key} is {format_shape(tuple(value.shape))}, that of {name} {theirs}"
