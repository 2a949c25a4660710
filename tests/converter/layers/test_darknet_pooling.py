"""The further window that darknet2caffe's fork of Pooling makes, which YOLOv3-tiny needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import Net, parse_net
from prototxt.errors import CaffeModelError
from tests.golden import assert_close, run_onnx, run_torch
from verify import run

TINY = """
input: "data" input_shape { dim: 2 dim: 3 dim: 12 dim: 16 }
layer { name: "layer1-maxpool" type: "Pooling" bottom: "data" top: "half"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "layer2-maxpool" type: "Pooling" bottom: "half" top: "same"
  pooling_param { pool: MAX kernel_size: 2 stride: 1 pad: 0 } }
layer { name: "layer3-upsample" type: "Upsample" bottom: "same" top: "up" upsample_param { scale: 2 } }
layer { name: "layer4-route" type: "Concat" bottom: "up" bottom: "data" top: "out" }
"""
X = np.random.default_rng(3).standard_normal((2, 3, 12, 16)).astype(np.float32)


def blobs(net: Net, tmp_path: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """The interpreter's, beside which both targets' outputs are."""
    ready = prepare(net, None, Options())
    found = run(net, ready.weights, {"data": X}).blobs
    for answers in (run_onnx(ready.graph, {"data": X}, tmp_path), run_torch(ready.graph, {"data": X})):
        for name, values in answers.items():
            assert_close(values, found[name], name)
    return dict(found)


def test_the_branches_of_yolov3_tiny_meet(tmp_path: Path) -> None:
    net = parse_net(TINY, "tiny.prototxt")
    assert [said.partition(": ")[2] for said in net.readings] == [
        "Pooling is read as darknet2caffe's: layer2-maxpool takes the maximum of 2×2 at stride 1 in a net with "
        "darknet2caffe's Upsample (--dialect Pooling=bvlc for another)"
    ]
    found = blobs(net, tmp_path)
    assert found["half"].shape == found["same"].shape == (2, 3, 6, 8)
    for n, c, h, w in np.ndindex(2, 3, 6, 8):
        rows, columns = range(h, min(h + 2, 6)), range(w, min(w + 2, 8))
        half = [X[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for i in rows for j in columns]
        assert found["same"][n, c, h, w] == max(half)


@pytest.mark.parametrize("other", [('"layer2-maxpool"', '"pool"'), ("scale: 2", "upsample_h: 12 upsample_w: 16")])
def test_other_nets_have_bvlcs(other: tuple[str, str]) -> None:
    net = parse_net(TINY.replace(*other).partition('layer { name: "layer4')[0])
    assert [layer.dialect for layer in net.layers if layer.type == "Pooling"] == ["bvlc", "bvlc"]


@pytest.mark.parametrize("params", ["pool: AVE kernel_size: 2", "kernel_size: 3 stride: 2", "global_pooling: true"])
def test_of_other_windows_it_is_not_known(params: str) -> None:
    text = 'input: "data" input_shape { dim: [2, 3, 8, 7] } layer { name: "p" type: "Pooling" bottom: "data" top: "p" '
    net = parse_net(f"{text} pooling_param {{ {params} }} }}", dialects={"Pooling": "darknet2caffe"})
    with pytest.raises(CaffeModelError, match="one window more, as darknet2caffe's fork has it"):
        prepare(net, None, Options())
    with pytest.raises(CaffeModelError, match="one position more"):
        run(net, None, {"data": X[:, :, :8, :7]})
