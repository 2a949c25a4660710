"""Packages that only some requests need: imported where they are used, and named where they are missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from prototxt.errors import MissingDependencyError

TORCH = "'resnet-convert[torch]'"
CPU_TORCH = "--index-url https://download.pytorch.org/whl/cpu"


def need_torch(why: str) -> ModuleType:
    """PyTorch; arguments and errors as of `need`.

    Raises:
        MissingDependencyError: it is not installed; names the command, and where the build lies that needs no CUDA.
    """
    return need("torch", f"{TORCH} (for the CPU alone, first: pip install torch {CPU_TORCH})", why)


def need(module: str, package: str, why: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: its name in Python.
        package: what pip installs it by.
        why: what needs it, in words.

    Raises:
        MissingDependencyError: it is not installed; names the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if error.name and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingDependencyError(f"{why} needs {module}, which is not installed: pip install {package}") from error
