"""What several tests here share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import resnet_convert
from tests.resnet_convert.modules.nets import net


@pytest.fixture
def made(in_a_folder: None) -> Callable[..., tuple[str, str]]:
    """The files of a net with random weights, in the working folder."""

    def make(*layers: str) -> tuple[str, str]:
        file = net(*layers)
        resnet_convert.convert(file, to="caffe", output="made", fold="none", random_weights=3, verify=False)
        return file, "made/model.caffemodel"

    return make
