"""Caffe's layers in numpy, one module a family; `find` loads a module when one of its types is asked for.

`prototxt.families` says in which module a type stands.
"""

from __future__ import annotations

from verify.layers.registry import find, known_types

__all__ = ["find", "known_types"]
