"""What a weight file holds and the net does not use is named; what the net lacks is looked for among it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import resnet_convert
from prototxt import parse_net
from prototxt.errors import WeightsError
from resnet_convert.cli.main import main
from tests.weights.caffe_bytes import floats, layer, saved, shape
from tests.weights.caffe_bytes import text as string
from verify import run
from weights import open_weights, unused_warnings
from weights.unused import MOST_NAMES

NET = """name: "n"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { use_global_stats: true } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 3 } }
"""
BLOBS = {"conv": [(4, 3, 3, 3)], "bn": [(4,), (4,), (1,)], "scale": [(4,), (4,)], "fc": [(3, 48), (3,)]}
NAMES = {"data", "conv", "bn", "scale", "relu", "fc"}


def weights_of(folder: Path, text: str = NET, **more: list[tuple[int, ...]]) -> str:
    """A caffemodel of a net, every blob a ramp; `more` are blobs of layers beside those of NET."""
    net = parse_net(text).message
    for entry in net.layer:
        for dims in {**BLOBS, **more}.get(entry.name, []):
            blob = entry.blobs.add()
            blob.shape.dim[:] = dims
            blob.data[:] = np.linspace(0.5, 1.5, int(np.prod(dims)))
    path = folder / "w.caffemodel"
    path.write_bytes(net.SerializeToString())
    return str(path)


def prototxt_of(folder: Path, text: str) -> str:
    path = folder / "n.prototxt"
    path.write_text(text)
    return str(path)


def without(name: str) -> str:
    return re.sub(rf'layer {{ name: "{name}" [^\n]*\n', "", NET)


def test_a_file_of_the_net_itself_is_used_up(tmp_path: Path) -> None:
    with open_weights(weights_of(tmp_path)) as weights:
        assert unused_warnings(weights, NAMES) == []


def ends(bottom: str, *tops: str) -> bytes:
    return b"".join([string(3, bottom), *(string(4, top) for top in tops)])


STORED = shape(2) + floats([1, 2])
BEHIND = {
    "in place": [("BatchNorm", "bn", ends("x", "x")), ("Scale", "s", ends("x", "x"))],
    "behind a copy": [
        ("BatchNorm", "bn", ends("x", "y")),
        ("Split", "y_bn_0_split", ends("y", "y_bn_0_split_0", "y_bn_0_split_1")),
        ("Scale", "s", ends("y_bn_0_split_1", "z")),
    ],
    "behind another branch": [
        ("BatchNorm", "bn", ends("x", "y")),
        ("Convolution", "conv", ends("x", "z")),
        ("Scale", "s", ends("y", "y")),
    ],
    "in a file without bottoms": [("BatchNorm", "bn", b""), ("Scale", "s", b"")],
}


@pytest.mark.parametrize("case", BEHIND)
def test_a_scale_behind_a_batch_norm_that_the_net_lacks(case: str, tmp_path: Path) -> None:
    data = b"".join(layer(name, kind, *[STORED] * (kind != "Split"), extra=more) for kind, name, more in BEHIND[case])
    with open_weights(saved(tmp_path, data)) as weights:
        assert unused_warnings(weights, {"bn", "conv"}) == [
            f"{weights.path}: holds 1 Scale layer right behind a BatchNorm of the net that the net does not have: "
            "'s' (behind 'bn'); without its factor and bias the numbers are most likely wrong"
        ]
        assert unused_warnings(weights, {"bn", "conv", "s"}) == []


def test_a_scale_behind_something_else_is_like_any_other_layer(tmp_path: Path) -> None:
    data = layer("bn", "BatchNorm", STORED, extra=ends("x", "y")) + layer("relu", "ReLU", extra=ends("y", "z"))
    data += layer("s", "Scale", STORED, extra=ends("z", "z"))
    with open_weights(saved(tmp_path, data)) as weights:
        said = f"{weights.path}: holds blobs of 1 layer that the net does not have: 's'"
        assert unused_warnings(weights, {"bn"}) == [said]


def test_many_unused_layers_are_counted_and_a_few_named(tmp_path: Path) -> None:
    data = b"".join(layer(f"l{n}", "Bias", STORED) for n in range(30)) + layer("empty", "ReLU")
    with open_weights(saved(tmp_path, data)) as weights:
        (said,) = unused_warnings(weights, {"l3"})
    assert "holds blobs of 29 layers that the net does not have: 'l0', 'l1', 'l2', 'l4', " in said
    assert said.endswith(f" and {29 - MOST_NAMES} more")


def test_of_two_records_of_one_name_the_last_counts_and_that_is_said(tmp_path: Path) -> None:
    with open_weights(saved(tmp_path, layer("a", "Bias", STORED) + layer("a", "Bias", STORED))) as weights:
        assert unused_warnings(weights, {"a"}) == [
            f"{weights.path}: holds blobs more than once for 'a'; as in Caffe the last count"
        ]


def test_every_verb_names_what_the_net_does_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights, model = prototxt_of(tmp_path, without("scale")), weights_of(tmp_path), str(tmp_path / "m.onnx")
    said = f"warning: {weights}: holds 1 Scale layer right behind a BatchNorm of the net"
    assert main([net, weights, "-o", model]) == 0
    assert capsys.readouterr().err.startswith(said)
    assert main(["verify", net, weights, model]) == 0
    assert capsys.readouterr().err.startswith(said)
    assert main(["inspect", net, weights]) == 0
    assert said in capsys.readouterr().out


def test_loading_from_python_names_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    with caplog.at_level("WARNING", "converter"):
        resnet_convert.load(prototxt_of(tmp_path, without("scale")), weights_of(tmp_path))
    assert [message for message in caplog.messages if "right behind a BatchNorm of the net" in message]


def test_a_layer_without_weights_is_told_which_unused_layers_fit(tmp_path: Path) -> None:
    text = NET.replace('name: "fc"', 'name: "fc_new"').replace('name: "conv"', 'name: "c"')
    with open_weights(weights_of(tmp_path)) as weights:
        with pytest.raises(WeightsError) as caught:
            resnet_convert.convert(prototxt_of(tmp_path, text), weights.path)
        assert str(caught.value).endswith(
            "; for 'c', the file's unused layer 'conv' has blobs of these shapes"
            "; for 'fc_new', the file's unused layer 'fc' has blobs of these shapes"
        )
        x = np.zeros((2, 3, 5, 6), np.float32)
        with pytest.raises(WeightsError, match=r"; the file's unused layer 'conv' has blobs of these shapes$"):
            run(parse_net(text), weights, {"data": x})


@pytest.mark.parametrize(
    ("text", "more", "converter", "interpreter"),
    [
        (
            NET,
            {"relu": [(4,)]},
            "the file has 1 blob, but the prototxt",
            "layer 'relu' (ReLU): has 1 blob in this file",
        ),
        (
            NET.replace(
                'name: "relu" type: "ReLU" bottom: "conv" top: "conv"',
                'name: "fc" type: "InnerProduct" bottom: "conv" top: "conv2" inner_product_param { num_output: 3 }',
            ).replace('bottom: "conv" top: "fc"', 'bottom: "conv2" top: "fc"'),
            {},
            "Caffe fills only the first",
            "Caffe fills only that",
        ),
    ],
    ids=["of a layer that has none", "of two layers of one name"],
)
def test_blobs_that_caffe_would_not_take_are_refused_on_both_sides(
    text: str, more: dict[str, list[tuple[int, ...]]], converter: str, interpreter: str, tmp_path: Path
) -> None:
    path = weights_of(tmp_path, **more)
    with pytest.raises(resnet_convert.CaffeModelError) as caught:
        resnet_convert.convert(prototxt_of(tmp_path, text), path)
    assert converter in str(caught.value)
    with open_weights(path) as weights, pytest.raises(WeightsError) as refused:
        run(parse_net(text), weights, {"data": np.zeros((2, 3, 5, 6), np.float32)})
    assert interpreter in str(refused.value)


def test_blobs_of_a_loss_that_is_left_out_stop_nothing(tmp_path: Path) -> None:
    text = NET + 'layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "fc" top: "loss" }'
    path = weights_of(tmp_path, text, loss=[(3,)])
    done = resnet_convert.convert(prototxt_of(tmp_path, text), path, output=tmp_path / "m.onnx")
    assert done.graph.output_names == ["fc"]


def test_a_layer_of_another_type_may_bear_the_name(tmp_path: Path) -> None:
    """A ReLU named as the convolution before it: a common slip, and no doubt whose the blobs are."""
    relu = 'type: "ReLU" bottom: "conv" top: "%s"'
    text = NET.replace(f'name: "relu" {relu % "conv"}', f'name: "fc" {relu % "r"}')
    text = text.replace('bottom: "conv" top: "fc"', 'bottom: "r" top: "fc"')
    done = resnet_convert.convert(prototxt_of(tmp_path, text), weights_of(tmp_path), output=tmp_path / "m.onnx")
    assert resnet_convert.verify(done.net.path, tmp_path / "w.caffemodel", done.files[0]).ok


def test_a_net_from_a_caffemodel_is_not_called_a_prototxt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    structure = tmp_path / "a.caffemodel"
    structure.write_bytes(parse_net(NET.replace("num_output: 3", "num_output: 5")).message.SerializeToString())
    weights = weights_of(tmp_path)
    assert main([str(structure), weights, "-o", str(tmp_path / "m.onnx")]) == 1
    said = capsys.readouterr().err
    assert f"layer 'fc' (InnerProduct): blob 0 is 3×48, but the net in {structure} makes it 5×48" in said
    assert "the prototxt" not in said
