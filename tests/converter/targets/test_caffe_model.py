"""Converting back to Caffe's own files: the pair loads again and gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from converter.api import convert
from converter.options import Options
from prototxt import load_net
from prototxt.errors import RequestError
from tests.golden import GoldenCase, assert_close, golden_cases
from verify import run
from weights import open_weights

CASES = golden_cases("conv_", "deconv", "ip", "bn", "scale", "bias", "prelu", "net_", "pool_max", "crop")


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_the_written_pair_gives_caffes_numbers(case: GoldenCase, fold: str, tmp_path: Path) -> None:
    convert(case.net, case.weights, to="caffe", output=tmp_path / "out", options=Options(fold=fold))  # type: ignore[arg-type]
    net = load_net(tmp_path / "out" / "deploy.prototxt")
    blobs = run(net, open_weights(tmp_path / "out" / "model.caffemodel"), case.feeds()).blobs
    expected = case.expected()
    for name in [top for layer in net.layers for top in layer.tops if top in expected]:
        assert_close(blobs[name], expected[name], f"{case} {name}")


def test_folding_into_the_convolution_leaves_plain_layers(tmp_path: Path) -> None:
    (case,) = golden_cases("conv_bn_scale_relu")
    convert(case.net, case.weights, to="caffe", output=tmp_path / "out", options=Options(fold="conv"))
    assert [x.type for x in load_net(tmp_path / "out" / "deploy.prototxt").layers] == ["Input", "Convolution", "ReLU"]


def test_the_scale_factor_is_divided_out(tmp_path: Path) -> None:
    (case,) = golden_cases("conv_bn_scale_relu")
    convert(case.net, case.weights, to="caffe", output=tmp_path / "out")
    norm = open_weights(tmp_path / "out" / "model.caffemodel").get("bn")
    assert norm is not None
    assert norm.blobs[2].array().tolist() == [1.0]


def test_a_free_axis_has_no_form_in_caffe(tmp_path: Path) -> None:
    (case,) = golden_cases("conv_basic")
    shape = ("N", *map(int, case.feeds()["x"].shape[1:]))
    with pytest.raises(RequestError, match="Caffe has no free axes"):
        convert(case.net, case.weights, to="caffe", output=tmp_path / "out", options=Options(input_shapes={"x": shape}))
    assert not (tmp_path / "out").exists()
