"""Where a checkpoint keeps its state dict, and what its names are without the wrappers of training."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from prototxt.words import named
from weights.layouts.forms.reading import fault

log = logging.getLogger(__name__)

KEYS: Final = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "blobs")
"""Of a state dict within a checkpoint, the likelier ones first; `blobs` is Detectron's."""

_WRAPPERS: Final = re.compile(r"(module|_orig_mod)\.")  # DataParallel's, AveragedModel's; torch.compile's
_COUNTER: Final = "n_averaged"  # AveragedModel's own
_DEEPEST: Final = 4
_SHOWN: Final = 5


def state_of(loaded: object, path: str, is_array: Callable[[object], bool]) -> dict[str, Any]:
    """The arrays of a checkpoint by name: those of a dictionary, or of the one within it that is its state dict.

    Where all names begin with `module.` or `_orig_mod.`, which wrappers add, they are without it.

    Args:
        loaded: what the file holds.
        path: of the file.
        is_array: tells an array from other values.

    Raises:
        WeightsError: no dictionary of arrays, or several that may be meant.
    """

    def arrays_in(place: object) -> dict[str, Any]:
        items = place.items() if isinstance(place, Mapping) else ()
        return {name: value for name, value in items if isinstance(name, str) and is_array(value)}

    place, key = loaded, ""
    for _ in range(_DEEPEST):
        if not isinstance(place, Mapping):
            what = "one array" if is_array(place) else f"a {type(place).__name__}"
            raise fault(path, f"holds {what}; expected a state dict, arrays by their names")
        within = [name for name, value in place.items() if isinstance(name, str) and isinstance(value, Mapping)]
        known: list[str] = [name for name in KEYS if name in within]
        if not known and (found := arrays_in(place)):
            _tell_left_out([str(name) for name in place if name not in found], path)
            return _unwrapped({n: v for n, v in found.items() if key != "blobs" or not n.endswith("_momentum")})
        candidates = known[:1] or [name for name in within if arrays_in(place[name])]
        if len(candidates) != 1:
            several = f"several state dicts, {named(candidates, _SHOWN)}" if candidates else "no arrays"
            raise fault(path, f"holds {several}; expected one state dict")
        key = candidates[0]
        others = [name for name in within if name != key and arrays_in(place[name])]
        if others:
            log.warning("%s: warning: read is %r; it holds %s as well", path, key, named(others, _SHOWN))
        place = place[key]
    raise fault(path, "holds no arrays where checkpoints have them")


def _tell_left_out(names: list[str], path: str) -> None:
    if names:
        log.warning("%s: warning: left out, since they are no arrays: %s", path, named(names, _SHOWN))


def _unwrapped(state: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in state if name != _COUNTER]
    if not names or not all(_WRAPPERS.match(name) for name in names):
        return state
    return _unwrapped({_WRAPPERS.sub("", name, count=1): state[name] for name in names})
