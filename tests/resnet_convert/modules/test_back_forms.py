"""`port --from MODULE`: what is written gives the module's numbers, whatever the two differ in by form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import resnet_convert
from resnet_convert.modules.back import PortedFrom
from tests.resnet_convert.modules.forms import FORMS
from tests.resnet_convert.modules.nets import (
    BARE,
    C3,
    NO_BIAS,
    NORMED,
    SIZED,
    Function,
    Matrix,
    assert_same_numbers_back,
    conv,
    convolved,
    drawn,
    layer,
    net,
    norm,
)
from weights import open_weights

pytestmark = pytest.mark.usefixtures("in_a_folder")


def assert_comes_back(layers: list[str], module: Callable[[], nn.Module]) -> PortedFrom:
    """What is written for a net from a module of drawn weights gives the module's numbers."""
    done = resnet_convert.port_from(net(*layers), None, drawn(module()), output="o.caffemodel")
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert_same_numbers_back("o.caffemodel", done)
    return done


@pytest.mark.parametrize("form", FORMS)
def test_what_goes_into_a_module_comes_out_of_it(form: str) -> None:
    layers, module, _ = FORMS[form]
    assert_comes_back(layers, module)


class Affine(nn.Module):
    """A factor and a summand for each channel, as parameters of the user's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.c = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.a[:, None, None] + self.c[:, None, None]


BACK: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a normalisation and its Scale": (
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4)),
        "",
    ),
    "a normalisation without scale and bias": (
        [NO_BIAS, norm("n", "c")],
        lambda: convolved(nn.BatchNorm2d(4, affine=False), bias=False),
        "",
    ),
    "a normalisation whose scale and bias are parameters behind it": (
        [NO_BIAS, norm("n", "c")],
        lambda: convolved(nn.BatchNorm2d(4, affine=False), Affine(4), bias=False),
        "",
    ),
    "a normalisation that Caffe has folded": (
        BARE,
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "1 folded into the weights: Caffe has no normalisation",
    ),
    "a normalisation of which Caffe has the Scale": (
        [NO_BIAS, layer("s", "Scale", "c", of="scale_param", phrase="bias_term: true")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "the bias in the normalisation's mean: Caffe's layer has none",
    ),
    "a normalisation of which Caffe has a Scale without a bias": (
        [conv("c", "data"), layer("s", "Scale", "c")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "the factor in the weights: what Caffe has behind them can't hold it",
    ),
    "a Scale whose bias is a layer of its own": (
        [conv("c", "data"), layer("n", "BatchNorm", "c"), layer("s", "Scale", "n"), layer("b", "Bias", "s")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "",
    ),
    "a bias that is a layer of its own": (
        [NO_BIAS, layer("b", "Bias", "c")],
        convolved,
        "",
    ),
    "a normalisation that the module has folded": (
        [NO_BIAS, norm("n", "c")],
        convolved,
        "a normalisation that changes nothing but adds the bias: the module's layer has none",
    ),
    "a normalisation without Scale that the module has folded": (
        [NO_BIAS, layer("n", "BatchNorm", "c")],
        convolved,
        "what is added in the normalisation's mean: Caffe has no place for it",
    ),
    "a scale that has no layer": (
        [conv("c", "data"), layer("n", "BatchNorm", "c")],
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "the factor in the weights: what Caffe has behind them can't hold it",
    ),
    "a bias without a place": (
        [NO_BIAS, norm("n", "c")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "the bias in the normalisation's mean: Caffe's layer has none",
    ),
    "a place without a bias": (
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "a bias of 0: the module's layer has none",
    ),
    "another eps": (
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4, eps=0.01)),
        "eps 0.01 instead of Caffe's 1e-05, in its variance",
    ),
    "an eps above the variance": (
        [conv("c", "data"), norm("n", "c", "eps: 50")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "eps 1e-05 instead of Caffe's 50, in its gamma",
    ),
    "an eps that is added behind the root": (
        [conv("c", "data"), norm("n", "c", "eps: 0.01 add_eps_before_sqrt: false")],
        lambda: convolved(nn.BatchNorm2d(4)),
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
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4), nn.BatchNorm2d(4)),
        "1 and 2 as a normalisation of mean 0",
    ),
    "a factor before the normalisation": (
        [conv("c", "data"), layer("s", "Scale", "c"), norm("n", "s")],
        lambda: convolved(nn.BatchNorm2d(4)),
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
        lambda: convolved(nn.Conv2d(4, 5, (7, 9), bias=False), nn.BatchNorm2d(5)),
        "a convolution of 7×9 as a fully connected layer",
    ),
}


@pytest.mark.parametrize("form", BACK)
def test_a_module_of_another_form_gives_the_same_numbers(form: str) -> None:
    layers, module, what = BACK[form]
    bridges = assert_comes_back(layers, module).bridges
    assert bool(what) == any(what and what in bridge.what for bridge in bridges), bridges


def test_arrays_keep_their_bits_where_only_names_change() -> None:
    module = drawn(convolved(nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(252, 5)))
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


FORKS: dict[str, tuple[list[str], Callable[[], nn.Module]]] = {
    "cuDNN's normalisation with an inverse deviation": (
        [conv("c", "data"), layer("n", "BN", "c")],
        lambda: convolved(nn.BatchNorm2d(4)),
    ),
    "NVIDIA's normalisation with scale and bias": (
        [conv("c", "data"), layer("n", "BatchNorm", "c", of="batch_norm_param", phrase="scale_bias: true")],
        lambda: convolved(nn.BatchNorm2d(4)),
    ),
    "a convolution of each channel": (
        [layer("c", "DepthwiseConvolution", "data", of="convolution_param", phrase="num_output: 3 kernel_size: 3")],
        lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3)),
    ),
    "a rectifier within a convolution": (
        [conv("c", "data", f"{SIZED} relu: true")],
        lambda: convolved(nn.ReLU()),
    ),
}


@pytest.mark.parametrize("what", FORKS)
def test_layers_of_forks_get_their_own_blobs(what: str) -> None:
    assert_comes_back(*FORKS[what])
