"""`port --into`: two forms of one net give the same numbers, and what makes them differ is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import resnet_convert
from prototxt.errors import CaffeModelError, ErrorGroup, NetError, RequestError, UnsupportedError
from resnet_convert.cli.main import main
from tests.resnet_convert.into_nets import C3, SIZED, UNEVEN, Function, Matrix, assert_same_numbers, conv, layer, norm
from weights import open_weights

FORMS: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a bias and a normalisation": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "",
    ),
    "a bias without a place": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "the bias in the normalisation's mean",
    ),
    "a place without a bias": (
        [conv("c", "data", f"{SIZED} bias_term: false"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "a bias of 0",
    ),
    "a normalisation that is folded": (
        [conv("c", "data"), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "folded into the weights",
    ),
    "a normalisation in a transposed convolution": (
        [
            layer(
                "c", "Deconvolution", "data", of="convolution_param", phrase=f"num_output: 4 kernel_size: 2 {UNEVEN}"
            ),
            norm("n", "c"),
        ],
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 2)),
        "folded into the weights",
    ),
    "a normalisation that changes nothing": (
        [conv("c", "data")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "adds the bias",
    ),
    "a factor as a normalisation": (
        [conv("c", "data"), layer("s", "Scale", "c", of="scale_param", phrase="bias_term: true " + UNEVEN)],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4)),
        "adds the bias",
    ),
    "another eps": (
        [conv("c", "data"), norm("n", "c", "eps: 0.01")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4)),
        "eps 0.01 instead of the module's 1e-05, in its variance",
    ),
    "an eps above the variance": (
        [conv("c", "data"), norm("n", "c", "eps: 0.00001")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4, eps=50.0)),
        "in its gamma",
    ),
    "a normalisation of the input": (
        [norm("n", "data"), conv("c", "ns")],
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, **C3)),
        "",
    ),
    "a layer of the whole map as a convolution": (
        [layer("f", "InnerProduct", "data", phrase="num_output: 5")],
        lambda: nn.Sequential(nn.Conv2d(3, 5, (7, 9))),
        "a fully connected layer as a convolution of 7×9",
    ),
    "a convolution as a layer of the whole map": (
        [conv("c", "data", "num_output: 5 kernel_h: 7 kernel_w: 9 stride: 3")],
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(189, 5)),
        "a convolution of 7×9 as a fully connected layer",
    ),
    "a map flattened with its channels last": (
        [conv("c", "data"), layer("f", "InnerProduct", "c", phrase="num_output: 5")],
        lambda: Function(
            lambda m, x: m.f(m.c(x).permute(0, 2, 3, 1).flatten(1)), c=nn.Conv2d(3, 4, **C3), f=nn.Linear(252, 5)
        ),
        "the inputs in the order in which the module flattens its map",
    ),
    "a matrix that lies the other way": (
        [layer("f", "InnerProduct", "data", phrase="num_output: 5")],
        lambda: nn.Sequential(nn.Flatten(), Matrix(189, 5)),
        "",
    ),
    "a transposed matrix on Caffe's side": (
        [layer("f", "InnerProduct", "data", phrase="num_output: 5 transpose: true")],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(189, 5)),
        "",
    ),
    "padding apart, and a mean": (
        [
            conv("c", "data"),
            layer("p", "Pooling", "c", phrase="pool: MAX kernel_size: 3 stride: 2 pad: 1"),
            layer("g", "Pooling", "p", phrase="pool: AVE global_pooling: true"),
        ],
        lambda: Function(
            lambda m, x: functional.max_pool2d(
                functional.pad(m.c(functional.pad(x, (1, 1, 1, 1))), (1, 1, 1, 1), value=-torch.inf), 3, 2
            ).mean((-1, -2)),
            c=nn.Conv2d(3, 4, 3),
        ),
        "",
    ),
    "sums of sums, and a slope": (
        [conv(name, "data") for name in "abc"]
        + [layer("r", "ReLU", "a", of="relu_param", phrase="negative_slope: 0.25")]
        + [layer("s", "Eltwise", "r", "b", "c")],
        lambda: Function(
            lambda m, x: m.one(x) + (m.two(x) + functional.leaky_relu(m.three(x), 0.25)),
            **{name: nn.Conv2d(3, 4, **C3) for name in ("one", "two", "three")},
        ),
        "",
    ),
    "a cut into pieces": (
        [
            conv("c", "data"),
            layer("s", "Slice", "c").replace('top: "s"', 'top: "s" top: "t"'),
            conv("d", "t", "num_output: 6 kernel_size: 1"),
            layer("k", "Concat", "d", "s"),
        ],
        lambda: Function(
            lambda m, x: (lambda s, t: torch.cat([m.d(t), s], 1))(*m.c(x).chunk(2, 1)),
            c=nn.Conv2d(3, 4, **C3),
            d=nn.Conv2d(2, 6, 1),
        ),
        "",
    ),
    "branches that nothing but their order tells apart": (
        [conv(name, "data") for name in "ab"]
        + [conv("d", "a", "num_output: 5 kernel_size: 1"), conv("e", "b", "num_output: 5 kernel_size: 1")]
        + [layer("s", "Eltwise", "d", "e")],
        lambda: Function(
            lambda m, x: m.three(m.one(x)) + m.four(m.two(x)),
            **{name: nn.Conv2d(3, 4, **C3) for name in ("one", "two")},
            **{name: nn.Conv2d(4, 5, 1) for name in ("three", "four")},
        ),
        "",
    ),
    "normalisation by neighbours": (
        [conv("c", "data"), layer("l", "LRN", "c", of="lrn_param", phrase="local_size: 3 alpha: 0.5 k: 2")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LocalResponseNorm(3, 0.5, k=2.0)),
        "",
    ),
    "learned slopes": (
        [conv("c", "data"), layer("p", "PReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.PReLU(4)),
        "",
    ),
    "a gate of squeezed channels": (
        [
            conv("c", "data"),
            layer("g", "Pooling", "c", phrase="pool: AVE global_pooling: true"),
            conv("f", "g", "num_output: 4 kernel_size: 1"),
            layer("s", "Sigmoid", "f"),
            layer("x", "Axpy", "s", "c", "c"),
        ],
        lambda: Function(
            lambda m, x: (lambda c: c + torch.sigmoid(m.f(c.mean((2, 3))))[:, :, None, None] * c)(m.c(x)),
            c=nn.Conv2d(3, 4, **C3),
            f=nn.Linear(4, 4),
        ),
        "",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_two_forms_of_a_net_give_the_same_numbers(form: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module, what = FORMS[form]
    files = made(*layers)
    done = resnet_convert.port_into(*files, module().eval())
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert done.mismatches == []
    assert bool(what) == any(what and what in bridge.what for bridge in done.bridges)
    assert_same_numbers(files, done)


def test_python_writes_the_page_that_it_is_asked_for(made: Callable[..., tuple[str, str]]) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, **C3))
    resnet_convert.port_into(*made(conv("named_here", "data")), module, report="page.html")
    assert "named_here" in Path("page.html").read_text()


def test_what_order_alone_tells_apart_is_said(made: Callable[..., tuple[str, str]]) -> None:
    layers, module, _ = FORMS["branches that nothing but their order tells apart"]
    done = resnet_convert.port_into(*made(*layers), module())
    first, *others = [(ours.label, theirs.label) for ours, theirs, by_order in done.layers if by_order]
    assert first in (("a", "one"), ("d", "three"))
    assert len(others) == 1
    assert [(ours.label, theirs.label) for ours, theirs, _ in done.layers] == [
        *(("a", "one"), ("b", "two"), ("d", "three"), ("e", "four"))
    ]


def test_arrays_keep_their_bits_where_only_names_change(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), norm("n", "c"))
    state = resnet_convert.port_into(*files, nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4))).state_dict
    with open_weights(files[1]) as weights:
        blobs = {found.name: [blob.array().ravel() for blob in found.blobs] for found in weights.layers}
    assert blobs["n"][2] == 1
    pairs = {"0.weight": "c", "0.bias": "c", "1.weight": "ns", "1.bias": "ns", "1.running_mean": "n"}
    pairs["1.running_var"] = "n"
    places = [0, 1, 0, 1, 0, 1]
    for (key, name), place in zip(pairs.items(), places, strict=True):
        assert np.array_equal(state[key].numpy().ravel(), blobs[name][place]), key


DIFFER: dict[str, tuple[list[str], Callable[[], nn.Module], str, str, dict[str, Any]]] = {
    "stride": (
        [conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 1 stride: 2")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3, stride=2), nn.Conv2d(4, 5, 1)),
        "c",
        "stride 1, there 2",
        {"0.stride": (1, 1), "1.stride": (2, 2)},
    ),
    "padding of a pooling": (
        [layer("p", "Pooling", "data", phrase="pool: MAX kernel_size: 3 stride: 2"), conv("c", "p")],
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(3, 4, **C3)),
        "p",
        "padding 0, there 1",
        {"0.padding": (0, 0), "0.ceil_mode": False},
    ),
    "rounding of a pooling": (
        [layer("p", "Pooling", "data", phrase="pool: AVE kernel_size: 2 stride: 2"), conv("c", "p")],
        lambda: nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(3, 4, **C3)),
        "p",
        "windows 4×5, there 3×4",
        {"0.ceil_mode": True},
    ),
    "bound of a rectifier": (
        [conv("c", "data"), layer("r", "ReLU", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.ReLU6()),
        "r",
        "upper bound none, there 6.0",
        {"1.max_val": float("inf")},
    ),
    "normalisation by neighbours": (
        [conv("c", "data"), layer("l", "LRN", "c", of="lrn_param", phrase="local_size: 3 alpha: 0.5")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LocalResponseNorm(5, 0.5)),
        "l",
        "size 3, there 5",
        {"1.size": 3},
    ),
    "dilation": (
        [conv("c", "data", f"num_output: 4 kernel_size: 3 pad: 2 dilation: 2 {UNEVEN}")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, **C3)),
        "c",
        "padding 2, there 1, dilation 2, there 1",
        {"0.padding": (2, 2), "0.dilation": (2, 2)},
    ),
}


@pytest.mark.parametrize("what", DIFFER)
def test_a_difference_of_settings_is_named_and_patched(what: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module, where, said, attributes = DIFFER[what]
    files = made(*layers)
    done = resnet_convert.port_into(*files, module())
    assert done.report is not None
    assert not done.report.ok
    assert done.cause is not None
    assert done.cause.caffe.label == where
    assert said in str(done.cause.why)
    assert re.search(r"\(\w+, net\.prototxt:\d+\) is ", str(done.cause.why))
    patched = resnet_convert.port_into(*files, module(), patch=True)
    assert patched.report is not None
    assert patched.report.ok, patched.report.first_bad
    assert_same_numbers(files, patched)
    for path, value in attributes.items():
        place, _, name = path.rpartition(".")
        assert getattr(patched.module.get_submodule(place), name) == value


def test_a_difference_in_the_users_own_code_is_named_and_not_patched(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), layer("l", "LRN", "c"), layer("p", "Pooling", "l", phrase="kernel_size: 2"))
    module = Function(lambda m, x: functional.avg_pool2d(m.c(x), 2, 1), c=nn.Conv2d(3, 4, **C3))
    done = resnet_convert.port_into(*files, module, patch=True)
    assert done.patched == []
    assert [(each.caffe and each.caffe.label, each.advice) for each in done.mismatches] == [("l", ""), ("p", "")]
    assert "method maximum, there average" in str(done.mismatches[1])
    assert str(done.mismatches[0]).endswith("the module has nothing like it there")
    assert done.cause is not None


@pytest.mark.parametrize("place", [0, 1])
def test_outputs_are_compared_whatever_only_one_side_has_before_them(
    place: int, made: Callable[..., tuple[str, str]]
) -> None:
    files = made(conv("c", "data"), *[layer("r", "ReLU", "c")][:place])
    module = nn.Sequential(nn.Conv2d(3, 4, **C3), *[nn.ReLU()][place:], nn.Identity())
    done = resnet_convert.port_into(*files, module)
    assert done.report is not None
    assert not done.report.ok
    assert done.cause is not None
    assert [done.cause.why] == done.mismatches


def test_a_module_that_is_called_twice_is_patched_for_both_or_not_at_all(made: Callable[..., tuple[str, str]]) -> None:
    pools = [layer(n, "Pooling", b, phrase=f"kernel_size: {k} stride: 2") for n, b, k in (("p", "c", 3), ("q", "d", 2))]
    files = made(conv("c", "data"), pools[0], conv("d", "p", "num_output: 5 kernel_size: 1"), pools[1])
    parts = {"c": nn.Conv2d(3, 4, **C3), "d": nn.Conv2d(4, 5, 1), "pool": nn.MaxPool2d(4, 2, 1)}
    done = resnet_convert.port_into(*files, Function(lambda m, x: m.pool(m.d(m.pool(m.c(x)))), **parts), patch=True)
    assert done.patched == []
    assert [each.caffe.label for each in done.mismatches if each.caffe] == ["p", "q"]


def test_other_shapes_are_refused_with_both_sides_and_nothing_is_filled(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"), conv("e", "d"))
    module = nn.Sequential(nn.Conv2d(3, 4, **C3), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 4, **C3))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(NetError) as caught:
        resnet_convert.port_into(*files, module, output="out.pth")
    assert str(caught.value) == (
        "net.prototxt:3: error: layer 'd' (Convolution): 4 -> 5, 3×3; "
        "1 (Conv2d) of Sequential in its place: 4 -> 5, 1×1"
    )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not Path("out.pth").exists()
    done = resnet_convert.port_into(*files, module, output="out.pth", force=True)
    assert done.arrays == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert done.left == [str(caught.value)]
    assert done.report is not None
    assert not done.report.ok
    assert torch.equal(torch.load("out.pth", weights_only=True)["1.weight"], before["1.weight"])


def test_nothing_is_patched_where_something_cannot_be_ported(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "c", "num_output: 5 kernel_size: 3"))
    module = nn.Sequential(nn.Conv2d(3, 4, **C3, stride=2), nn.Conv2d(4, 5, 1))
    with pytest.raises(NetError):
        resnet_convert.port_into(*files, module, patch=True)
    assert module[0].stride == (2, 2)


def test_a_net_without_a_text_has_no_lines(made: Callable[..., tuple[str, str]]) -> None:
    _, weights = made(conv("c", "data"), layer("p", "PReLU", "c"))
    with pytest.raises(NetError) as caught:
        resnet_convert.port_into(weights, into=nn.Conv2d(3, 4, **C3))
    where = caught.value.position
    assert (where and where.path, where and where.line, caught.value.layer) == (weights, 0, "p")
    assert str(caught.value).startswith(f"{weights}: error: layer 'p' (PReLU): Conv2d has nothing in its place")
    done = resnet_convert.port_into(weights, into=nn.Sequential(nn.Conv2d(3, 4, **C3), nn.PReLU(4)))
    assert done.report is not None
    assert done.report.ok
    assert [ours.place for ours, _, _ in done.layers] == ["model.caffemodel"] * 2


def test_advice_for_a_module_without_parts(made: Callable[..., tuple[str, str]]) -> None:
    done = resnet_convert.port_into(*made(conv("c", "data")), nn.Conv2d(3, 4, **C3, stride=2), patch=True)
    assert [each.advice for each in done.patched] == ["model.stride = (1, 1)"]
    assert done.report is not None
    assert done.report.ok


def test_joining_along_another_axis_is_named(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), conv("d", "data"), layer("k", "Concat", "c", "d"))
    parts = {name: nn.Conv2d(3, 4, **C3) for name in ("one", "two")}
    done = resnet_convert.port_into(*files, Function(lambda m, x: torch.cat([m.one(x), m.two(x)], 2), **parts))
    assert [str(each) for each in done.mismatches] == [
        "k (Concat, net.prototxt:4) is cat in Function with other settings: axis 1, there 2"
    ]


def test_a_bias_that_the_module_has_no_place_for_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"))
    with pytest.raises(NetError, match="the module's layer has no bias, Caffe's has one"):
        resnet_convert.port_into(*files, nn.Sequential(nn.Conv2d(3, 4, **C3, bias=False)))


def test_one_weight_of_the_module_for_two_of_the_net_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    same = "num_output: 3 kernel_size: 1"
    files = made(conv("c", "data", same), layer("r", "ReLU", "c"), conv("d", "r", same))
    module = Function(lambda m, x: m.c(functional.relu(m.c(x))), c=nn.Conv2d(3, 3, 1))
    with pytest.raises(NetError, match=r"one c\.\w+ for this layer and for c .*; Caffe has two"):
        resnet_convert.port_into(*files, module)


def test_layers_without_a_counterpart_on_either_side_are_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), layer("p", "PReLU", "c"))
    module = nn.Sequential(nn.Conv2d(3, 4, **C3), nn.LayerNorm(9))
    with pytest.raises(ErrorGroup) as caught:
        resnet_convert.port_into(*files, module)
    said = str(caught.value)
    assert "layer 'p' (PReLU): Sequential has nothing in its place" in said
    assert "the Caffe net has nothing in its place (1.weight, 1.bias)" in said


def test_what_no_pass_reads_is_named_and_kept(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"))
    module = Function(lambda m, x: m.c(x), c=nn.Conv2d(3, 4, **C3), spare=nn.Linear(2, 2))
    before = module.spare.weight.clone()
    done = resnet_convert.port_into(*files, module)
    assert done.kept == ["spare.weight", "spare.bias"]
    assert torch.equal(done.state_dict["spare.weight"], before)


def test_a_module_in_training_is_run_in_eval_mode_and_left_as_it_was(
    made: Callable[..., tuple[str, str]],
) -> None:
    files = made(conv("c", "data"), norm("n", "c"))
    module = nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4), nn.Dropout())
    done = resnet_convert.port_into(*files, module)
    assert done.report is not None
    assert done.report.ok
    assert (module.training, module[1].training) == (True, True)


class Checked(nn.Sequential):
    """One that looks at its numbers, which no tracing follows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.isnan(x).any():
            raise ValueError("not a number")
        made: torch.Tensor = super().forward(x)
        return made


def test_what_torch_export_cannot_follow_is_watched(made: Callable[..., tuple[str, str]]) -> None:
    files = made(
        conv("c", "data"), norm("n", "c"), layer("r", "ReLU", "ns"), layer("p", "Pooling", "r", phrase="kernel_size: 2")
    )
    module = Checked(
        nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4, eps=0.01), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1)
    )
    done = resnet_convert.port_into(*files, module.eval(), patch=True)
    assert done.followed.way == "hooks"
    assert "torch.export: GuardOnDataDependentSymNode" in done.followed.failed
    assert "; torch.fx: TraceError" in done.followed.failed
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert [row.layer for row in done.report.rows] == ["ns", "r", "p"]
    assert [each.advice for each in done.patched] == ["model.3.kernel_size = (2, 2)"]
    assert_same_numbers(files, done)


@pytest.mark.parametrize(
    "made_of",
    [
        lambda m: torch.jit.script(m),
        nn.DataParallel,
        torch.compile,
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.requires_grad_(False),
        nn.SyncBatchNorm.convert_sync_batchnorm,
    ],
    ids=["scripted", "parallel", "compiled", "channels last", "frozen", "synchronised"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript's own
def test_modules_in_other_clothes(made_of: Callable[[Any], Any], made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), norm("n", "c"), layer("r", "ReLU", "ns"))
    plainly = nn.Sequential(nn.Conv2d(3, 4, **C3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    done = resnet_convert.port_into(*files, made_of(plainly))
    assert done.report is not None
    assert done.report.ok
    assert (done.mismatches, done.kept) == ([], [])
    assert_same_numbers(files, done)


class Scaled(nn.Module):
    """A factor that is in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, **C3)
        self.register_buffer("scale", torch.full((4, 1, 1), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(x) * self.scale


def test_a_buffer_that_is_in_no_state_dict_gets_nothing(made: Callable[..., tuple[str, str]]) -> None:
    scale = layer("s", "Scale", "c", of="scale_param", phrase="bias_term: true")
    module = Scaled()
    done = resnet_convert.port_into(*made(conv("c", "data"), scale), module)
    assert done.arrays == ["c.weight", "c.bias"]
    assert [str(each) for each in done.mismatches] == ["mul in Scaled: the Caffe net has nothing like it there"]
    assert torch.all(module.scale == 2)
    assert done.report is not None
    assert not done.report.ok


def test_a_module_without_shapes_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    with pytest.raises(RequestError, match=r"0\.weight has no shape yet; run the module once before"):
        resnet_convert.port_into(*made(conv("c", "data")), nn.Sequential(nn.LazyConv2d(4, 3)))


def test_a_module_that_decides_by_its_numbers_is_refused(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"))
    module = Function(lambda m, x: m.c(x) if x.sum() > 0 else x, c=nn.Conv2d(3, 4, **C3))
    with pytest.raises(UnsupportedError, match="what Function does hangs on the numbers that it is fed"):
        resnet_convert.port_into(*files, module)


MODELS = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=PAD), nn.ReLU(), nn.MaxPool2d(2, 1))
"""


@pytest.fixture
def small(made: Callable[..., tuple[str, str]]) -> tuple[str, str]:
    """A net, and `mine.py:net` that is it."""
    Path("mine.py").write_text(MODELS.replace("PAD", "1"))
    pool = layer("p", "Pooling", "r", phrase="kernel_size: 2")
    return made(conv("c", "data"), layer("r", "ReLU", "c"), pool, layer("s", "Softmax", "p"))


@pytest.mark.parametrize(
    ("name", "load"), [("o.pth", lambda f: torch.load(f, weights_only=True)), ("o.safetensors", load_file)]
)
def test_the_command_line_writes_what_its_framework_reads(
    name: str,
    load: Callable[[str], dict[str, torch.Tensor]],
    small: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["port", *small, "--into", "mine.py:net", "-o", name, "--report", "page.html"]) == 0
    state = load(name)
    with open_weights(small[1]) as weights:
        (stored,) = [found for found in weights.layers if found.blobs]
        assert np.array_equal(state["0.weight"].numpy(), stored.blobs[0].array())
        assert np.array_equal(state["0.bias"].numpy(), stored.blobs[1].array())
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"mine.py:net: 1 layers paired, 2 arrays filled -> {name} (0.0 MB)"
    assert printed[1] == "  s (Softmax, net.prototxt:5) is not in the module, which gives what it reads"
    assert printed[2].startswith("parity: 3 of 3 blobs within bound in PyTorch")
    assert "mine.py:net" in Path("page.html").read_text()


def test_the_command_line_says_where_numbers_leave(small: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(MODELS.replace("PAD", "0"))
    assert main(["port", *small, "--into", "mine.py:net"]) == 3
    errors = " ".join(capsys.readouterr().err.split())
    why = "c (Convolution, net.prototxt:2) is 0 (Conv2d) with other settings: padding 1, there 0"
    assert f"warning: {why}; equal with model.0.padding = (1, 1)" in errors
    at = "the numbers leave at c (Convolution, net.prototxt:2), in the module 0 (Conv2d)"
    assert f"{at}: {why}; equal with model.0.padding = (1, 1) (--patch sets it)" in errors
    assert Path("net.safetensors").exists()
    assert main(["port", *small, "--into", "mine.py:net", "--patch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["patched"] == ["model.0.padding = (1, 1)"]
    assert (facts["differences"], facts["leaves_at"], facts["verification"]["ok"]) == ([], None, True)
    assert facts["followed_by"] == "torch.export"


CHECKED = """
class Net(nn.Sequential):
    def forward(self, x):
        assert x.sum() < 1e9
        return super().forward(x)
"""


def test_the_command_line_says_how_a_module_was_followed(
    small: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(MODELS.replace("nn.Sequential", "Net").replace("PAD", "1") + CHECKED)
    assert main(["port", *small, "--into", "mine.py:net"]) == 0
    printed, errors = capfd.readouterr()
    assert errors == ""
    assert printed.splitlines()[1].startswith(
        "  the module was followed by hooks, since others can't: torch.export: Guard"
    )


BAD = """import sys

def late():
    return sum([1, 2, 3 / 0])

def never():
    raise KeyError("never")
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["net.prototxt", "W", "--into", "vgg16"], 2, "'vgg16' names no module; expected torchvision:NAME, timm:NAME"),
        (["net.prototxt", "W", "--into", "none.py:net"], 2, "none.py: error: no such file"),
        (["net.prototxt", "W", "--into", "mine.py:Nett"], 2, "mine.py: error: has nothing called 'Nett'"),
        (["net.prototxt", "W", "--into", "mine.py:nn"], 2, "mine.py: error: fails to load: TypeError"),
        (["net.prototxt", "W", "--into", "bad.py:late"], 2, "bad.py:4: error: fails to load: ZeroDivisionError: "),
        (["net.prototxt", "W", "--into", "bad.py:never"], 2, "bad.py:7: error: fails to load: KeyError: 'never'"),
        (["net.prototxt", "W", "--into", "odd.py:net"], 2, "odd.py:3: error: fails to load: SyntaxError: "),
        (["net.prototxt", "W", "--into", "mine.py:net", "-o", "o.bin"], 2, "expected a name that ends in .safetensors"),
        (["net.prototxt", "W", "--into", "mine.py:net", "--layout", "timm"], 2, "--layout does not go with --into"),
        (["net.prototxt", "W", "--into", "mine.py:net", "--net", "own"], 2, "--net does not go with --into"),
        (["net.prototxt", "--into", "mine.py:net"], 2, "net.prototxt brings no weights"),
        (["W", "--patch"], 2, "--patch goes with --into MODULE"),
        (["net.prototxt", "W", "--layout", "timm"], 2, "a second file goes with --into MODULE"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    words: list[str], status: int, said: str, small: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.py").write_text(BAD)
    Path("odd.py").write_text("\n\ndef net(:\n    pass\n")
    assert main(["port", *(small[1] if word == "W" else word for word in words)]) in (status, 1)
    assert said in capsys.readouterr().err


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="the real one is installed")
def test_a_library_that_fails_to_load_is_said(
    small: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["port", *small, "--into", "torchvision:vgg16"]) == 2
    assert "needs torchvision.models, which is not installed: pip install torchvision" in capsys.readouterr().err
    Path("torchvision").mkdir()
    Path("torchvision/__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert main(["port", *small, "--into", "torchvision:vgg16"]) in (1, 2)
    said = "torchvision is installed and cannot be imported: operator torchvision::nms does not exist"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("place", [0, 1])
def test_no_input_is_written_over(place: int, small: tuple[str, str]) -> None:
    victim = f"in{place}.safetensors"
    shutil.copy(small[place], victim)
    files = [victim if i == place else name for i, name in enumerate(small)]
    with pytest.raises(RequestError, match="is a file that is read"):
        resnet_convert.port_into(*files, "mine.py:net", output=victim)
    Path("code.pth.py").write_text(MODELS.replace("PAD", "1"))
    with pytest.raises(CaffeModelError):
        resnet_convert.port_into(*small, "code.pth.py:net", output="code.pth.py")
