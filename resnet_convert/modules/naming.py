"""PyTorch modules by what a user calls them: `torchvision:vgg16`, `timm:seresnet50`, `my_models.py:Net`.

Those of libraries are built without weights: nothing is downloaded, and what would be drawn at random is not, since all
of it is about to be written over. A `.py` file is executed, as importing it would.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from prototxt import Position
from prototxt.errors import ModelError, RequestError
from prototxt.optional import need, need_torch
from prototxt.words import first_line, nearest
from resnet_convert.modules.keras_models import application, prefer_torch
from resnet_convert.vision_operators import declare_operators
from verify.engines.torch import as_fault

FORMS = "torchvision:NAME, timm:NAME, keras:NAME or FILE.py:NAME"


def file_of(spec: str) -> str | None:
    """The Python file that a specification names, if it does."""
    head, _, name = spec.rpartition(":")
    return head if head.endswith(".py") and name else None


def built(spec: str) -> Any:
    """The module that a specification names, in eval mode.

    Raises:
        RequestError: no such file, library or name.
        ModelError: a file or constructor that fails.
        MissingDependencyError: the library is not installed.
    """
    need_torch("building a module")
    head, _, name = spec.rpartition(":")
    if file_of(spec) is not None:
        module = _of_file(Path(head), name)
    elif head in ("torchvision", "timm") and name:
        module = _of_torchvision(name) if head == "torchvision" else _of_timm(name)
    elif head == "keras" and name:
        module = application(name)
    else:
        raise RequestError(f"{spec!r} names no module; expected {FORMS}")
    return module.eval()


def _of_torchvision(name: str) -> Any:
    models = _imported("torchvision.models", f"building torchvision:{name}")
    if name not in models.list_models():
        raise RequestError(f"torchvision has no model {name!r}{_meant(name, models.list_models())}")
    with _library(f"torchvision:{name}"):
        return models.get_model(name, weights=None)


def _of_timm(name: str) -> Any:
    timm = _imported("timm", f"building timm:{name}")
    if name not in timm.list_models():
        raise RequestError(f"timm has no model {name!r}{_meant(name, timm.list_models())}")
    with _library(f"timm:{name}"):
        return timm.create_model(name, pretrained=False)


def _imported(module: str, why: str) -> Any:
    """A library of models, whatever build of torch it is for."""
    library = module.partition(".")[0]
    declare_operators()
    try:
        return need(module, library, why)
    except (ImportError, RuntimeError) as error:
        raise ModelError(f"{library} is installed and cannot be imported: {first_line(error)}") from error


def _meant(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near[0]}?" if near else ""


@contextmanager
def _library(spec: str) -> Iterator[None]:
    """Build without drawing numbers; parameters are 0 then."""
    import warnings

    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        """`torch.nn.init` leaves tensors as they are, and those without values are 0."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = kwargs or {}
            if getattr(func, "__module__", "") == "torch.nn.init":
                return given.get("tensor", args[0] if args else None)
            return torch.zeros(*args, **given) if func is torch.empty else func(*args, **given)

    try:
        with warnings.catch_warnings(), Undrawn():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"{spec} cannot be built: {type(error).__name__}: {first_line(error)}") from error


def _of_file(file: Path, name: str) -> Any:
    import torch

    where = Position(str(file))
    if not file.is_file():
        raise RequestError("no such file", position=where)
    spec = spec_from_file_location(f"_resnet_convert_into_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise RequestError("cannot be loaded as Python source", position=where)
    loaded = module_from_spec(spec)
    prefer_torch()
    sys.modules[spec.name] = loaded  # dataclasses look their module up
    with as_fault(file, "fails to load:"), _beside(file):
        try:
            spec.loader.exec_module(loaded)
        except BaseException:
            del sys.modules[spec.name]
            raise
        found = getattr(loaded, name, None)
        if found is None:
            raise RequestError(f"has nothing called {name!r}", position=where)
        made = found if isinstance(found, torch.nn.Module) else found()
    if not isinstance(made, torch.nn.Module):
        raise RequestError(f"{name} gives {type(made).__name__}; expected a torch.nn.Module", position=where)
    return made


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Let a file import those beside it, as it could if Python ran it."""
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
