"""Caffe's layers in numpy, one module a family; importing this package registers them all."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from verify.layers.registry import find, known_types

for _module in sorted(m.name for m in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")

__all__ = ["find", "known_types"]
