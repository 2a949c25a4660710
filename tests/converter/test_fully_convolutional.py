"""Nets in fully convolutional form, held against the interpreter's run of the nets as they are, crop by crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from converter.api import prepare
from converter.fully_convolutional import Dense, fully_convolutional
from converter.options import Options
from prototxt import Net, net_from_message, parse_net, resnet
from prototxt.errors import RequestError, UnsupportedError
from tests.golden import assert_close, run_onnx, run_torch
from verify import run
from weights import Blob, LayerWeights, Weights, blob_from_array, open_weights, write_caffemodel, write_hdf5

Array = npt.NDArray[np.float32]
HEIGHT, WIDTH = 23, 19
INPUT = f'name: "net" input: "data" input_dim: 2 input_dim: 3 input_dim: {HEIGHT} input_dim: {WIDTH}\n'


def layer(type: str, bottom: str, top: str, param: str = "", name: str = "") -> str:
    bottoms = " ".join(f'bottom: "{blob}"' for blob in bottom.split())
    tops = " ".join(f'top: "{blob}"' for blob in top.split())
    return f'layer {{ name: "{name or f"{type}_{top}"}" type: "{type}" {bottoms} {tops} {param} }}\n'


def conv(bottom: str, top: str, outputs: int, rest: str) -> str:
    return layer("Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} {rest} }}", top)


def pool(bottom: str, top: str, rest: str) -> str:
    return layer("Pooling", bottom, top, f"pooling_param {{ {rest} }}", top)


def fc(bottom: str, top: str, outputs: int, rest: str = "", more: str = "") -> str:
    return layer("InnerProduct", bottom, top, f"{more} inner_product_param {{ num_output: {outputs} {rest} }}", top)


def in_place(type: str, blob: str, param: str = "") -> str:
    return layer(type, blob, blob, param, f"{type}_on_{blob}")


MAP = conv("data", "c", 5, "kernel_size: 3 stride: 2 pad: 1") + pool("c", "p", "kernel_size: 3 stride: 2")
SOFTMAX = layer("Softmax", "s", "prob")
NORM = in_place("BatchNorm", "s", "batch_norm_param { use_global_stats: true }")
SQUEEZED = pool("c", "g", "pool: AVE global_pooling: true") + fc("g", "q", 2) + in_place("ReLU", "q") + fc("q", "e", 5)
DROPPED = "module: \"spatial_dropout\" layer: \"SpatialDropoutLayer\" param_str: \"{'p': 0.3, 'phase': 'TEST'}\""
NETS = {
    "ResNet-like": MAP + pool("p", "a", "pool: AVE kernel_size: 5 stride: 1") + fc("a", "s", 7) + SOFTMAX,
    "VGG-like": MAP
    + (fc("p", "f6", 9) + in_place("ReLU", "f6") + in_place("Dropout", "f6"))
    + (fc("f6", "f7", 8) + in_place("ReLU", "f7") + in_place("Dropout", "f7") + fc("f7", "s", 7) + SOFTMAX),
    "AlexNet-like": conv("data", "c", 6, "kernel_size: 5 stride: 2")
    + layer("LRN", "c", "n", "lrn_param { local_size: 3 alpha: 0.01 }")
    + pool("n", "p", "kernel_size: 3 stride: 2")
    + conv("p", "d", 4, "kernel_size: 3 pad: 1 group: 2")
    + fc("d", "s", 7)
    + SOFTMAX,
    "SqueezeNet-like": MAP
    + conv("p", "d", 7, "kernel_size: 1")
    + pool("d", "s", "pool: AVE global_pooling: true")
    + SOFTMAX,
    "global pooling before InnerProduct": MAP
    + pool("p", "g", "pool: AVE global_pooling: true")
    + fc("g", "s", 7)
    + SOFTMAX,
    "squeeze and excite": conv("data", "c", 5, "kernel_size: 3")
    + (SQUEEZED + in_place("Sigmoid", "e") + layer("Scale", "c e", "w", "scale_param { axis: 0 }"))
    + (pool("w", "p", "kernel_size: 3 stride: 2") + fc("p", "s", 7) + SOFTMAX),
    "axis -3": MAP + fc("p", "s", 7, "axis: -3"),
    "transposed": MAP + fc("p", "f", 9, "transpose: true") + fc("f", "s", 7, "transpose: true"),
    "Flatten": MAP + layer("Flatten", "p", "v") + in_place("ReLU", "v") + fc("v", "s", 7) + SOFTMAX,
    "Reshape": MAP + layer("Reshape", "p", "v", "reshape_param { shape { dim: 0 dim: -1 } }") + fc("v", "s", 7),
    "Reshape to the batch": MAP
    + layer("Reshape", "p", "v", "reshape_param { shape { dim: 2 dim: 150 } }")
    + fc("v", "s", 7),
    "Flatten and Reshape behind": MAP
    + (fc("p", "f", 9) + layer("Flatten", "f", "u") + in_place("ReLU", "u"))
    + layer("Reshape", "u", "m", "reshape_param { shape { dim: 0 dim: 9 dim: 1 dim: 1 } }")
    + (conv("m", "d", 7, "kernel_size: 1") + layer("Flatten", "d", "s")),
    "joined": MAP
    + (conv("c", "d", 4, "kernel_size: 2 stride: 2") + layer("Flatten", "p", "v") + layer("Flatten", "d", "u"))
    + (layer("Concat", "v u", "j", "concat_param { axis: -1 }") + fc("j", "s", 7)),
    "BatchNorm, Scale and PReLU behind": MAP
    + (fc("p", "s", 7) + NORM + in_place("Scale", "s", "scale_param { axis: -1 num_axes: -1 bias_term: true }"))
    + (in_place("PReLU", "s") + layer("Softmax", "s", "prob", "softmax_param { axis: -1 }")),
    "Bias over all axes behind": MAP
    + (fc("p", "f", 9) + layer("Bias", "f", "b", "bias_param { num_axes: -1 }") + fc("b", "s", 7)),
    "forks' layers that act on values": MAP
    + (fc("p", "f", 9) + layer("Mish", "f", "m") + fc("m", "x", 7) + fc("m", "y", 7))
    + (layer("Mul", "x y", "u") + layer("Add", "u x", "v"))
    + layer("Python", "v y", "w", 'python_param { module: "eltwise" layer: "Eltwise" param_str: "{\'operation\': 2}" }')
    + layer("Python", "w", "s", f"python_param {{ {DROPPED} }}"),
    "cut and summed": MAP
    + (fc("p", "f", 12) + layer("Slice", "f", "x y", "slice_param { axis: -1 }") + layer("Eltwise", "x y", "e"))
    + (fc("e", "t", 3) + layer("Concat", "t x", "s", "concat_param { concat_dim: 1 }") + SOFTMAX),
}


def dense_of(net: Net, weights: Weights | None, scores: str, **options: object) -> Dense:
    given = next(iter(net.layers)).param.input_param.shape[0].dim
    return fully_convolutional(net, weights, Options(outputs=[scores], input_shapes={"data": tuple(given)}, **options))  # type: ignore[arg-type]


def filled(net: Net, scores: str) -> Weights:
    """Random weights, the same each time."""
    weights = prepare(net, None, Options(outputs=[scores], random_weights=5)).weights
    assert weights is not None
    return weights


def images(height: int, width: int, batch: int = 2) -> Array:
    return np.random.default_rng(height * width).normal(0, 0.5, (batch, 3, height, width)).astype(np.float32)


def answers(dense: Dense, feed: Array, folder: Path) -> dict[str, Array]:
    """Scores N×K×h×w (or N×K) of the interpreter, onnxruntime and torch."""
    (scores,) = dense.outputs
    shapes = {"data": ("N", 3, "H", "W")}
    graph = prepare(dense.net, dense.weights, Options(fold="conv", outputs=[scores], input_shapes=shapes)).graph
    return {
        "interpreter": run(dense.net, dense.weights, {"data": feed}, blobs=[scores]).blobs[scores],
        "onnx": run_onnx(graph, {"data": feed}, folder)[scores],
        "torch": run_torch(graph, {"data": feed})[scores],
    }


@pytest.mark.parametrize("kind", NETS)
def test_an_image_of_the_nets_size_gives_the_nets_numbers(kind: str, tmp_path: Path) -> None:
    net = parse_net(INPUT + NETS[kind])
    scores = net.layers[-1].tops[0]
    weights = filled(net, scores)
    feed = images(HEIGHT, WIDTH)
    expected = run(net, weights, {"data": feed}).blobs[scores]
    assert expected.shape[1] in (7, 9)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the two images differ
    for engine, made in answers(dense_of(net, weights, scores), feed, tmp_path).items():
        assert_close(made.reshape(len(feed), -1), expected.reshape(len(feed), -1), engine)


@pytest.mark.parametrize("kind", NETS)
def test_the_engines_agree_on_larger_images_of_odd_sizes(kind: str, tmp_path: Path) -> None:
    net = parse_net(INPUT + NETS[kind])
    scores = net.layers[-1].tops[0]
    weights = filled(net, scores)
    dense = dense_of(net, weights, scores)
    for height, width in ((HEIGHT, 30), (31, 37)):
        made = answers(dense, images(height, width, 1), tmp_path)
        for engine in ("onnx", "torch"):
            assert_close(made[engine], made["interpreter"], f"{engine} at {height}×{width}")


@pytest.mark.parametrize("depth", [18, 50, 20])
def test_the_papers_resnets_keep_their_numbers(depth: int) -> None:
    net = net_from_message(resnet(depth, 11))
    weights = filled(net, "prob")
    side = 32 if depth == 20 else 224
    feed = images(side, side, 1)
    dense = dense_of(net, weights, "prob")
    assert [entry.type for entry in dense.net.layers].count("InnerProduct") == 0
    expected = run(net, weights, {"data": feed}).blobs["prob"]
    made = run(dense.net, dense.weights, {"data": feed}).blobs["prob"]
    assert made.shape == (1, 11, 1, 1)
    assert_close(made[:, :, 0, 0], expected, "prob", 1e-6)


UNPADDED = conv("data", "c", 4, "kernel_size: 3 stride: 2") + pool("c", "p", "kernel_size: 2 stride: 1")
UNPADDED += conv("p", "d", 5, "kernel_h: 3 kernel_w: 2") + in_place("ReLU", "d")
UNPADDED += fc("d", "f", 9) + in_place("ReLU", "f") + fc("f", "s", 7) + SOFTMAX


@pytest.mark.parametrize(("down", "right"), [(3, 2), (0, 4), (5, 0)])
def test_each_place_has_the_nets_scores_on_the_crop_that_it_sees(down: int, right: int, tmp_path: Path) -> None:
    net = parse_net(INPUT + UNPADDED)
    weights = filled(net, "prob")
    feed = images(HEIGHT + 2 * down + 1, WIDTH + 2 * right + 1)  # the odd row and column are seen by none
    made = answers(dense_of(net, weights, "prob"), feed, tmp_path)
    for top in range(down + 1):
        for left in range(right + 1):
            crop = feed[:, :, 2 * top : 2 * top + HEIGHT, 2 * left : 2 * left + WIDTH]
            expected = run(net, weights, {"data": crop}).blobs["prob"]
            for engine, scores in made.items():
                assert scores.shape == (2, 7, down + 1, right + 1)
                assert_close(scores[:, :, top, left], expected, f"{engine} at {top}, {left}")


def stored(weights: Weights, path: Path, form: str) -> Path:
    """The weights in a file, the matrices in Caffe's first form 1×1×N×M if asked."""

    def old(blob: Blob) -> Blob:
        shape = (1,) * (4 - len(blob.shape)) + blob.shape
        return Blob(shape, True, lambda: blob.array().reshape(shape))

    layers = [
        LayerWeights(entry.name, entry.type, tuple(map(old, entry.blobs)) if form == "legacy" else entry.blobs)
        for entry in weights.layers
    ]
    target = path / f"weights.{form}"
    write_hdf5(target, layers) if form == "hdf5" else write_caffemodel(target, "net", layers)
    return target


@pytest.mark.parametrize("form", ["caffemodel", "legacy", "hdf5"])
def test_weights_of_every_form_are_read(form: str, tmp_path: Path) -> None:
    net = parse_net(INPUT + NETS["VGG-like"])
    weights = filled(net, "prob")
    feed = images(HEIGHT, WIDTH)
    expected = run(net, weights, {"data": feed}).blobs["prob"]
    with open_weights(stored(weights, tmp_path, form)) as source:
        dense = dense_of(net, source, "prob")
        shapes = [entry.blobs[0].shape for entry in dense.weights.layers]
        assert shapes[1:] == [(9, 5, 6, 5), (8, 9, 1, 1), (7, 8, 1, 1)]
        for engine, made in answers(dense, feed, tmp_path).items():
            assert_close(made[:, :, 0, 0], expected, engine)


@pytest.mark.parametrize("form", ["caffemodel", "hdf5"])
def test_layers_that_share_weights_still_do(form: str, tmp_path: Path) -> None:
    """The second InnerProduct reads the first one's matrix the other way round, as autoencoders have it."""
    shared, untied = 'param { name: "w" }', "bias_term: false"
    text = MAP + fc("p", "f", 9, untied, shared) + fc("f", "back", 150, f"{untied} transpose: true", shared)
    net = parse_net(INPUT + text + fc("back", "s", 7))
    matrix = np.random.default_rng(3).normal(0, 0.2, (9, 150)).astype(np.float32)
    own = {entry.name: entry.blobs for entry in filled(net, "s").layers}
    own["f"] = own["back"] = (blob_from_array(matrix),)
    if form == "hdf5":  # Caffe leaves the second out there.
        own["back"] = ()
    written = stored(Weights("", [LayerWeights(name, "", blobs) for name, blobs in own.items()]), tmp_path, form)
    feed = images(HEIGHT, WIDTH)
    with open_weights(written) as source:
        expected = run(net, source, {"data": feed}).blobs["s"]
        for engine, made in answers(dense_of(net, source, "s"), feed, tmp_path).items():
            assert_close(made[:, :, 0, 0], expected, engine)


def test_layers_that_the_scores_do_not_need_are_left_out() -> None:
    auxiliary = fc("c", "aux", 7) + layer("SoftmaxWithLoss", "aux label", "loss")
    net = parse_net(
        INPUT
        + 'input: "label" input_dim: 2 input_dim: 1 input_dim: 1 input_dim: 1\n'
        + MAP
        + auxiliary
        + fc("p", "s", 7)
    )
    dense = dense_of(net, filled(net, "s"), "s")
    assert [entry.name for entry in dense.net.layers if entry.bottoms] == ["c", "p", "s"]
    dense.check_size(40, 33)


def test_layers_keep_their_places_in_the_prototxt() -> None:
    net = parse_net(INPUT + NETS["Flatten"], "deploy.prototxt")
    dense = dense_of(net, None, "prob", random_weights=1)
    assert [str(entry.position) for entry in dense.net.layers] == [str(entry.position) for entry in net.layers]
    assert [entry.type for entry in dense.net.layers[3:]] == ["Split", "ReLU", "Convolution", "Softmax"]
    assert [entry.type for entry in net.layers[3:]] == ["Flatten", "ReLU", "InnerProduct", "Softmax"]


def test_an_image_that_is_too_small_is_an_error_at_the_layer_that_says_so() -> None:
    dense = dense_of(parse_net(INPUT + NETS["VGG-like"], "deploy.prototxt"), None, "prob", random_weights=1)
    dense.check_size(HEIGHT, WIDTH)
    with pytest.raises(RequestError) as caught:
        dense.check_size(HEIGHT - 1, WIDTH + 2)
    assert str(caught.value) == (
        "deploy.prototxt:4:1: error: layer 'f6' (Convolution): the net takes no image of 22×21: the kernel 6×5 does "
        "not fit the bottom 1×5×5×5"
    )


REFUSED = {
    "axis is 2; expected 1": fc("p", "s", 7, "axis: 2"),
    "what it reads (2×6×5×5) is no map": layer("Permute", "p", "v", "permute_param { order: 0 order: 2 order: 3 }")
    + fc("v", "s", 7),
    "on 5×6×5 values laid out as a vector": layer("Flatten", "p", "v") + layer("Scale", "v", "s"),
    "on a vector (2×7) it has no convolutional form": fc("p", "f", 7) + layer("ArgMax", "f", "s"),
    "on a vector (2×9) it has no convolutional form": fc("p", "f", 9)
    + layer("Reduction", "f", "s", "reduction_param { axis: 1 }"),
    "it makes 2×3×3; expected a vector for each image": fc("p", "f", 9)
    + layer("Reshape", "f", "s", "reshape_param { shape { dim: 0 dim: 3 dim: 3 } }"),
    "axis is 0; expected 1": fc("p", "f", 9) + layer("Softmax", "f", "s", "softmax_param { axis: 0 }"),
    "concat_dim is 0; expected 1": (fc("p", "x", 4) + fc("p", "y", 4))
    + layer("Concat", "x y", "s", "concat_param { concat_dim: 0 }"),
    "it makes 2×9×1; expected a vector": fc("p", "f", 9) + layer("Unsqueeze", "f", "s", "unsqueeze_param { dim: 2 }"),
    "it joins what follows the image's size with what does not": pool("p", "g", "pool: AVE global_pooling: true")
    + (fc("g", "x", 4) + fc("p", "y", 4) + layer("Concat", "x y", "s")),
    "its stride is above its kernel": pool("p", "q", "kernel_size: 2 stride: 3") + fc("q", "s", 7),
    "the scores 's' (2×6×5×5) are no map": layer("Permute", "p", "s", "permute_param { order: 0 order: 2 order: 3 }"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_has_no_fully_convolutional_form_is_refused_with_its_line(reason: str) -> None:
    net = parse_net(INPUT + MAP + REFUSED[reason], "deploy.prototxt")
    weights = filled(net, "s")
    with pytest.raises(UnsupportedError) as caught:
        dense_of(net, weights, "s")
    assert reason in caught.value.message
    path, line, _ = caught.value.position or ("", 0, 0)
    assert path == "deploy.prototxt"
    assert f'name: "{caught.value.layer or "Permute_s"}"' in (INPUT + MAP + REFUSED[reason]).splitlines()[line - 1]
