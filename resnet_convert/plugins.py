"""Layers of the user's own, loaded before a net is read."""

from __future__ import annotations

from collections.abc import Iterable

from converter.options import File
from converter.plugins import load_plugin


def load_plugins(paths: Iterable[File]) -> None:
    """Run the files that register layers, each once.

    Raises:
        RequestError: no such file, or it fails; says where in it.
    """
    for path in paths:
        load_plugin(path)
