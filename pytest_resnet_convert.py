"""The pytest plugin of resnet-convert, which pytest loads by itself where that is installed: one fixture.

    def test_the_model_gives_caffes_numbers(assert_caffe_parity):
        assert_caffe_parity("deploy.prototxt", "model.caffemodel", "model.onnx")

A module of its own: every run of pytest loads it, also in projects with a `weights.py` that `resnet_convert` refuses to
be imported beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from verify import Report

    File: TypeAlias = str | os.PathLike[str]


@pytest.fixture
def assert_caffe_parity(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`assert_caffe_parity(net, weights, model)`: fail unless a converted model gives Caffe's numbers, blob by blob.

    Options are those of `resnet_convert.verify`. Relative paths of files that are read start from the folder of the
    test's file; what is not there, from pytest's rootdir. With `pytest -v` a failure shows every blob.
    """
    from resnet_convert.testing import assert_caffe_parity as check

    folders = (request.path.parent, request.config.rootpath)
    verbose = request.config.get_verbosity() > 0

    def found(path: File) -> File:
        return next((place for folder in folders if (place := Path(folder, path)).exists()), path)

    def assert_parity(
        net: File, weights: File | None = None, model: File | None = None, *, verbose: bool = verbose, **options: Any
    ) -> Report:
        __tracebackhide__ = True
        files = [None if file is None else found(file) for file in (weights, model)]
        named = {name: found(options[name]) for name in ("image", "mean") if isinstance(options.get(name), (str, Path))}
        return check(found(net), *files, verbose=verbose, **{**options, **named})

    return assert_parity
