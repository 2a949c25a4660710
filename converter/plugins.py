"""Layers that only the user has: a Python file that registers them, run when the user names it and not otherwise."""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from os import PathLike
from pathlib import Path

from prototxt.errors import Position, RequestError

_LOADED: set[Path] = set()


def load_plugin(path: str | PathLike[str]) -> None:
    """Run a file that registers layers, as `converter.layers` and `verify.layers` do for the built-in ones; once.

    Args:
        path: a .py file. It is executed: load only what you trust.

    Raises:
        RequestError: there is no such file, or it fails; says where in it.

    Example:
        >>> resnet_convert.load_plugin("examples/plugin/vignette.py")
        >>> resnet_convert.load_net("examples/plugin/net.prototxt").layers[1].type
        'Vignette'
    """
    file = Path(path).resolve()
    if file in _LOADED:
        return
    if not file.is_file():
        raise RequestError("no such plugin", position=Position(str(path)))
    spec = spec_from_file_location(f"resnet_convert_plugin_{len(_LOADED)}", file)
    if spec is None or spec.loader is None:
        raise RequestError("a plugin is a Python file, named .py", position=Position(str(path)))
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's code: whatever it raises, SystemExit too, is told with its line
        del sys.modules[spec.name]
        raise RequestError(
            f"the plugin fails: {type(error).__name__}: {_said(error)}", position=_place(error, file, str(path))
        ) from error
    _LOADED.add(file)


def _said(error: BaseException) -> str:
    """An exception's words; a syntax error's without the file and line that stand before them."""
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _place(error: BaseException, file: Path, path: str) -> Position:
    """The line of the plugin at which it failed."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return Position(path, error.lineno or 0, error.offset or 0)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return Position(path, lines[-1] or 0) if lines else Position(path)
