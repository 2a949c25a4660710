"""MSRA's ResNets in modules with torchvision's names: structure gives what the table of names gives, bit for bit."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import resnet_convert
from prototxt import format_net, resnet
from prototxt.errors import RequestError
from resnet_convert.modules.into import PortedInto
from weights import open_weights
from weights.layouts import layout, torchvision

LIBRARIES = [name for name in ("torchvision", "timm") if find_spec(name)]
"""They are not in the tests' own environment; requirements.txt beside this file says how to run these tests there."""


@pytest.fixture
def files(depth: int, tmp_path: Path) -> tuple[str, str]:
    """A ResNet with random weights."""
    net = tmp_path / "resnet.prototxt"
    net.write_text(format_net(resnet(depth)))
    made = tmp_path / "made"
    resnet_convert.convert(net, to="caffe", output=made, fold="none", random_weights=3, verify=False)
    return str(net), str(made / "model.caffemodel")


def assert_as_by_names(done: PortedInto, weights: str, kind: str) -> None:
    with open_weights(weights) as opened:
        expected = layout(kind).to(opened)
        assert set(done.arrays) == set(expected)
        for key, array in expected.items():
            assert np.array_equal(done.state_dict[key].numpy(), array.array()), key
    assert done.report is not None
    assert done.report.ok, done.report.first_bad


@pytest.mark.parametrize(
    "depth", [18, pytest.param(50, marks=pytest.mark.slow), pytest.param(101, marks=pytest.mark.slow)]
)
def test_structure_finds_what_the_names_say(files: tuple[str, str], depth: int) -> None:
    done = resnet_convert.port_into(*files, torchvision.build(depth))
    assert done.mismatches == []
    assert_as_by_names(done, files[1], "torchvision")


@pytest.mark.skipif(len(LIBRARIES) < 2, reason="torchvision and timm are not installed")
@pytest.mark.parametrize("depth", [50])
@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_the_libraries_own_models_are_patched(files: tuple[str, str], kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, of one another
        done = resnet_convert.port_into(*files, f"{kind}:resnet50", patch=True)
    assert len(done.patched) == 7
    assert_as_by_names(done, files[1], kind)


@pytest.mark.skipif(len(LIBRARIES) < 2, reason="torchvision and timm are not installed")
@pytest.mark.parametrize(("depth", "name"), [(18, "torchvision:resnet17"), (18, "timm:resnet17d")])
def test_a_model_that_a_library_does_not_have_is_named_with_the_nearest(files: tuple[str, str], name: str) -> None:
    with pytest.raises(RequestError, match=r"has no model 'resnet17d?'; did you mean resnet"):
        resnet_convert.port_into(*files, name)
