"""`port --from MODULE`: what is written gives the module's numbers, and what the two do not have in common is named."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import resnet_convert
from converter.matching.caffe_advice import in_prototxt
from prototxt import load_net
from prototxt.errors import ErrorGroup, NetError
from resnet_convert.modules.back import PortedFrom
from tests.resnet_convert.into_nets import C3, HEAD, SIZED, Function, Matrix, conv, fed, layer, norm
from tests.resnet_convert.test_into import FORMS
from verify import run
from weights import open_weights


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def net(*layers: str) -> str:
    """A prototxt in the working folder."""
    Path("net.prototxt").write_text("\n".join([HEAD, *layers]))
    return "net.prototxt"


def drawn(module: nn.Module, seed: int = 5) -> nn.Module:
    """The module with random parameters; variances are positive, factors of either sign."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if key.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=made) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=made) * 0.5)
    return module.eval()


def assert_same_numbers(file: str, done: PortedFrom) -> None:
    """The interpreter gives with the file what the module gives, without a report in between."""
    with torch.no_grad():
        expected = done.module(torch.from_numpy(fed())).numpy()
    with open_weights(file) as weights:
        got = list(run(load_net("net.prototxt"), weights, {"data": fed()}).blobs.values())[-1]
    np.testing.assert_allclose(got.ravel(), expected.ravel(), atol=2e-5 * abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_what_goes_into_a_module_comes_out_of_it(form: str) -> None:
    layers, module, _ = FORMS[form]
    done = resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert_same_numbers("o.caffemodel", done)


class Affine(nn.Module):
    """A factor and a summand for each channel, as parameters of the user's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.c = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.a[:, None, None] + self.c[:, None, None]


PLAIN = layer("n", "BatchNorm", "c")
NO_BIAS = conv("c", "data", f"{SIZED} bias_term: false")
BACK: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a normalisation and its Scale": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "",
    ),
    "a normalisation without scale and bias": (
        [NO_BIAS, norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4, affine=False)),
        "",
    ),
    "a normalisation whose scale and bias are parameters behind it": (
        [NO_BIAS, norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4, affine=False), Affine(4)),
        "",
    ),
    "a normalisation that Caffe has folded": (
        [conv("c", "data")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "1 folded into the weights: Caffe has no normalisation",
    ),
    "a normalisation of which Caffe has the Scale": (
        [NO_BIAS, layer("s", "Scale", "c", of="scale_param", phrase="bias_term: true")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "the bias in the normalisation's mean: Caffe's layer has none",
    ),
    "a normalisation of which Caffe has a Scale without a bias": (
        [conv("c", "data"), layer("s", "Scale", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "the factor in the weights: what Caffe has behind them can't hold it",
    ),
    "a Scale whose bias is a layer of its own": (
        [conv("c", "data"), PLAIN, layer("s", "Scale", "n"), layer("b", "Bias", "s")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "",
    ),
    "a bias that is a layer of its own": (
        [NO_BIAS, layer("b", "Bias", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "",
    ),
    "a normalisation that the module has folded": (
        [NO_BIAS, norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "a normalisation that changes nothing but adds the bias: the module's layer has none",
    ),
    "a normalisation without Scale that the module has folded": (
        [NO_BIAS, PLAIN],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "what is added in the normalisation's mean: Caffe has no place for it",
    ),
    "a scale that has no layer": (
        [conv("c", "data"), PLAIN],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "the factor in the weights: what Caffe has behind them can't hold it",
    ),
    "a bias without a place": (
        [NO_BIAS, norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "the bias in the normalisation's mean: Caffe's layer has none",
    ),
    "a place without a bias": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "a bias of 0: the module's layer has none",
    ),
    "another eps": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4, eps=0.01)),
        "eps 0.01 instead of Caffe's 1e-05, in its variance",
    ),
    "an eps above the variance": (
        [conv("c", "data"), norm("n", "c", "eps: 50")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "eps 1e-05 instead of Caffe's 50, in its gamma",
    ),
    "an eps that is added behind the root": (
        [conv("c", "data"), norm("n", "c", "eps: 0.01 add_eps_before_sqrt: false")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "eps 1e-05 instead of Caffe's 0",
    ),
    "a transposed convolution with a normalisation": (
        [layer("c", "Deconvolution", "data", of="convolution_param", phrase="num_output: 6 kernel_size: 2 stride: 2")],
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 2, 2, bias=False), nn.BatchNorm2d(6)),
        "folded into the weights",
    ),
    "a grouped transposed convolution with a normalisation": (
        [
            conv("d", "data", "num_output: 4 kernel_size: 1"),
            layer("c", "Deconvolution", "d", of="convolution_param", phrase="num_output: 6 kernel_size: 2 group: 2"),
        ],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)),
        "folded into the weights",
    ),
    "a grouped convolution": (
        [conv("d", "data", "num_output: 4 kernel_size: 1"), conv("c", "d", "num_output: 6 kernel_size: 3 group: 2")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, groups=2)),
        "",
    ),
    "a normalisation of two factors": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        "1 and 2 as a normalisation of mean 0",
    ),
    "a factor before the normalisation": (
        [conv("c", "data"), layer("s", "Scale", "c"), norm("n", "s")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "",
    ),
    "factors of the input": (
        [layer("s", "Scale", "data", of="scale_param", phrase="bias_term: true"), conv("c", "s")],
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, **C3)),
        "",
    ),
    "a matrix that lies the other way, over a map with its channels last": (
        [conv("c", "data"), layer("f", "InnerProduct", "c", phrase="num_output: 5 transpose: true")],
        lambda: Function(
            lambda m, x: m.f(m.c(x).permute(0, 3, 1, 2).flatten(1)), c=nn.Conv2d(3, 4, **C3), f=Matrix(252, 5)
        ),
        "the inputs in the order in which Caffe flattens its map",
    ),
    "a convolution over the whole map": (
        [conv("c", "data"), layer("f", "InnerProduct", "c", phrase="num_output: 5")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.Conv2d(4, 5, (7, 9), bias=False), nn.BatchNorm2d(5)),
        "a convolution of 7×9 as a fully connected layer",
    ),
}


@pytest.mark.parametrize("form", BACK)
def test_a_module_of_another_form_gives_the_same_numbers(form: str) -> None:
    layers, module, what = BACK[form]
    done = resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert bool(what) == any(what and what in bridge.what for bridge in done.bridges), done.bridges
    assert_same_numbers("o.caffemodel", done)


def test_arrays_keep_their_bits_where_only_names_change() -> None:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(252, 5)))
    with torch.no_grad():
        module[1].bias[2] = -0.0
    layers = [conv("c", "data"), norm("n", "c"), layer("f", "InnerProduct", "ns", phrase="num_output: 5")]
    for name in ("o.caffemodel", "o.caffemodel.h5"):
        resnet_convert.port_from(net(*layers), None, module, output=name)
        with open_weights(name) as weights:
            found = {stored.name: [blob.array() for blob in stored.blobs] for stored in weights.layers if stored.blobs}
        wanted = {
            "c": ["0.weight", "0.bias"],
            "n": ["1.running_mean", "1.running_var"],
            "ns": ["1.weight", "1.bias"],
            "f": ["3.weight", "3.bias"],
        }
        assert found.keys() == wanted.keys()
        assert [array.tolist() for array in found["n"][2:]] == [[1.0]]
        for blob, keys in wanted.items():
            for array, key in zip(found[blob], keys, strict=False):
                assert array.tobytes() == module.state_dict()[key].numpy().tobytes(), key


def test_folding_is_what_is_worked_out_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    values = {"0.weight": [[[[2.0]], [[4.0]], [[-6.0]]]], "0.bias": [1.0], "1.weight": [3.0], "1.bias": [0.5]}
    values |= {"1.running_mean": [5.0], "1.running_var": [4.0]}
    module.load_state_dict({key: torch.tensor(value) for key, value in values.items()}, strict=False)
    done = resnet_convert.port_from(net(conv("c", "data", "num_output: 1 kernel_size: 1")), None, module)
    weight, bias = done.blobs["c"]
    assert weight.ravel().tolist() == [3.0, 6.0, -9.0]  # times 3 / 2
    assert bias.tolist() == [-5.5]  # (1 - 5) · 3 / 2 + 0.5


REFUSED: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a bias": ([NO_BIAS], lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)), "Caffe's layer has no bias, the module's has"),
    "an eps above the variance where there is no Scale": (
        [conv("c", "data"), layer("n", "BatchNorm", "c", of="batch_norm_param", phrase="eps: 50")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4, affine=False)),
        "Caffe's n has no factor",
    ),
    "a factor of either sign": (
        [layer("n", "BatchNorm", "data"), conv("c", "n")],
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, **C3)),
        "Caffe's n has no factor",
    ),
    "another width": (
        [conv("c", "data", "num_output: 5 kernel_size: 3 pad: 1")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        r"3 -> 5, 3×3; 0 \(Conv2d\) of Sequential in its place: 3 -> 4, 3×3",
    ),
    "a layer that the module lacks": (
        [conv("c", "data"), conv("d", "c", "num_output: 2 kernel_size: 1")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        r"layer 'd' \(Convolution\): Sequential has nothing in its place",
    ),
    "a module that the net lacks": (
        [conv("c", "data")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LayerNorm(9)),
        r"the Caffe net has nothing in its place \(1\.weight, 1\.bias\)",
    ),
    "weights that two layers share": (
        [
            layer("c", "Convolution", "data", phrase="num_output: 3 kernel_size: 1").replace(
                "top", 'param { name: "w" } param { name: "b" } top'
            ),
            layer("r", "ReLU", "c"),
            layer("d", "Convolution", "r", phrase="num_output: 3 kernel_size: 1").replace(
                "top", 'param { name: "w" } param { name: "b" } top'
            ),
        ],
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)),
        r"Caffe has one c\.\w+ for this layer and for 0 \(Conv2d\); the module has two",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_net_cannot_hold_is_refused_and_nothing_written(what: str) -> None:
    layers, module, said = REFUSED[what]
    with pytest.raises((NetError, ErrorGroup), match=said):
        resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert os.listdir() == ["net.prototxt"]


def test_with_force_what_cannot_be_ported_is_left_out_of_the_file() -> None:
    file = net(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"), conv("e", "d"))
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, **C3), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, **C3)))
    done = resnet_convert.port_from(file, None, module, output="o.caffemodel", force=True)
    assert re.fullmatch(
        r"net\.prototxt:3: error: layer 'd' \(Convolution\): 4 -> 5, 3×3; 1 .*: 4 -> 5, 1×1", *done.left
    )
    with open_weights("o.caffemodel") as weights:  # Caffe keeps what the net's fillers give
        assert [stored.name for stored in weights.layers] == ["data", "c", "e"]
    assert done.report is not None
    assert not done.report.ok
    assert done.report.first_bad is not None
    assert done.report.first_bad.layer == "d"


def test_layers_that_share_their_weights_take_those_of_a_module_that_is_called_twice() -> None:
    shared = 'param { name: "w" } param { name: "b" } top'
    same = [layer(n, "Convolution", b, phrase="num_output: 3 kernel_size: 1") for n, b in (("c", "data"), ("d", "c"))]
    file = net(*(each.replace("top", shared) for each in same))
    done = resnet_convert.port_from(file, None, drawn(Function(lambda m, x: m.c(m.c(x)), c=nn.Conv2d(3, 3, 1))))
    assert done.report is not None
    assert done.report.ok
    assert np.array_equal(done.blobs["c"][0], done.blobs["d"][0])


def test_arrays_are_copies_and_a_file_is_as_the_module_was() -> None:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, **C3)))
    done = resnet_convert.port_from(net(conv("c", "data")), None, module, output="o.caffemodel")
    before = done.blobs["c"][0]
    with torch.no_grad():
        module[0].weight.zero_()
    with open_weights("o.caffemodel") as weights:
        assert np.array_equal(next(layer.blobs[0].array() for layer in weights.layers if layer.blobs), before)
    assert before.any()


def test_a_module_in_training_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    done = resnet_convert.port_from(net(conv("c", "data"), norm("n", "c")), None, module)
    assert done.report is not None
    assert done.report.ok
    assert (module.training, module[1].training) == (True, True)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


FORKS: dict[str, tuple[list[str], Callable[[], nn.Module]]] = {
    "cuDNN's normalisation with an inverse deviation": (
        [conv("c", "data"), layer("n", "BN", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
    ),
    "NVIDIA's normalisation with scale and bias": (
        [conv("c", "data"), layer("n", "BatchNorm", "c", of="batch_norm_param", phrase="scale_bias: true")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
    ),
    "a convolution of each channel": (
        [layer("c", "DepthwiseConvolution", "data", of="convolution_param", phrase="num_output: 3 kernel_size: 3")],
        lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3)),
    ),
    "a rectifier within a convolution": (
        [conv("c", "data", f"{SIZED} relu: true")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU()),
    ),
}


@pytest.mark.parametrize("what", FORKS)
def test_layers_of_forks_get_their_own_blobs(what: str) -> None:
    layers, module = FORKS[what]
    done = resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert_same_numbers("o.caffemodel", done)


def test_keys_that_no_pass_reads_are_named() -> None:
    parts = {"c": nn.Conv2d(3, 4, **C3), "n": nn.BatchNorm2d(4), "spare": nn.Linear(2, 2)}
    done = resnet_convert.port_from(
        net(conv("c", "data"), norm("n", "c")), None, Function(lambda m, x: m.n(m.c(x)), **parts)
    )
    assert done.unread == ["spare.weight", "spare.bias"]


def test_what_a_net_has_for_training_stays_in_the_file() -> None:
    drop = layer("o", "Dropout", "c")
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }'
    label = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 7 dim: 9 } } }'
    file = net(conv("c", "data"), drop, layer("r", "ReLU", "o"), label, loss)
    resnet_convert.port_from(
        file, None, drawn(nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU())), output="o.caffemodel", outputs=["r"]
    )
    with open_weights("o.caffemodel") as weights:
        assert [stored.name for stored in weights.layers] == ["data", "c", "o", "r"]
    again = resnet_convert.port_from("o.caffemodel", None, drawn(nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU()), 6))
    assert again.report is not None
    assert again.report.ok


def pooled(phrase: str) -> list[str]:
    return [conv("c", "data"), layer("p", "Pooling", "c", phrase=phrase)]


def neighbours(phrase: str) -> list[str]:
    return [conv("c", "data"), layer("l", "LRN", "c", of="lrn_param", phrase=phrase)]


DIFFER: dict[str, tuple[list[str], Callable[[], nn.Module], str, list[str]]] = {
    "stride, padding, dilation": (
        [conv("c", "data", "num_output: 4 kernel_size: 3")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, (1, 2), 2)),
        "stride: 2 pad_h: 1 pad_w: 2 dilation: 2",
        [conv("c", "data", "num_output: 4 kernel_size: 3 stride: 2 pad_h: 1 pad_w: 2 dilation: 2")],
    ),
    "padding and rounding of a pooling": (
        pooled("kernel_size: 3 stride: 2"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.MaxPool2d(3, 2, 1)),
        "pad: 1",
        pooled("kernel_size: 3 stride: 2 pad: 1"),
    ),
    "method and rounding of a pooling": (
        pooled("kernel_size: 2 stride: 2"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.AvgPool2d(2)),
        "pool: AVE round_mode: FLOOR",
        pooled("pool: AVE kernel_size: 2 stride: 2 round_mode: FLOOR"),
    ),
    "rounding of a pooling that rounds down": (
        pooled("kernel_size: 2 stride: 2 round_mode: FLOOR"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.MaxPool2d(2, ceil_mode=True)),
        "round_mode: CEIL",
        pooled("kernel_size: 2 stride: 2"),
    ),
    "window of a pooling": (
        pooled("kernel_size: 3 stride: 1"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.MaxPool2d((3, 2), 1)),
        "kernel_h: 3 kernel_w: 2",
        pooled("kernel_h: 3 kernel_w: 2 stride: 1"),
    ),
    "a pooling of the whole map": (
        pooled("kernel_size: 7 stride: 1"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.AdaptiveAvgPool2d(1)),
        "pool: AVE global_pooling: true, without kernel_size",
        pooled("pool: AVE global_pooling: true"),
    ),
    "a bound": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU6()),
        'type: "ReLU6"',
        [conv("c", "data"), layer("r", "ReLU6", "c")],
    ),
    "a slope": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LeakyReLU(0.1)),
        "negative_slope: 0.1",
        [conv("c", "data"), layer("r", "ReLU", "c", of="relu_param", phrase="negative_slope: 0.1")],
    ),
    "normalisation by neighbours": (
        neighbours("local_size: 5 alpha: 0.5"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LocalResponseNorm(3, 0.25, k=2.0)),
        "local_size: 3 alpha: 0.25 k: 2",
        neighbours("local_size: 3 alpha: 0.25 k: 2"),
    ),
    "a bound that Caffe has no layer for": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.Hardtanh(0, 3)),
        "",
        [],
    ),
    "padding that counts not": (
        pooled("pool: AVE kernel_size: 3 stride: 2 pad: 1"),
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        "",
        [],
    ),
    "a layer at the end that only the module has": (
        [conv("c", "data")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU()),
        "",
        [],
    ),
    "a layer at the end that only the net has": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "",
        [],
    ),
    "a softmax that only the module has": (
        [conv("c", "data")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.Softmax(1)),
        "",
        [],
    ),
}


@pytest.mark.parametrize("what", DIFFER)
def test_a_difference_of_settings_is_named_with_what_makes_it_none(what: str) -> None:
    layers, module, fields, mended = DIFFER[what]
    done = resnet_convert.port_from(net(*layers), None, drawn(module()))
    assert done.report is not None
    assert not done.report.ok
    (mismatch,) = done.mismatches
    assert in_prototxt(mismatch) == fields
    assert done.cause is not None
    assert done.cause.why is mismatch
    if mended:
        again = resnet_convert.port_from(net(*mended), None, done.module, output="o.caffemodel")
        assert again.mismatches == []
        assert again.report is not None
        assert again.report.ok, again.report.first_bad
        assert_same_numbers("o.caffemodel", again)
