"""Caffe nets and modules that are one net in two forms: layers, the module, what is said of the difference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from tests.resnet_convert.modules.nets import (
    BARE,
    C3,
    NO_BIAS,
    NORMED,
    SCALED,
    UNEVEN,
    Function,
    Matrix,
    conv,
    convolved,
    layer,
    norm,
)

FORMS: dict[str, tuple[list[str], Callable[[], nn.Module], str]] = {
    "a bias and a normalisation": (
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4)),
        "",
    ),
    "a bias without a place": (
        NORMED,
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "the bias in the normalisation's mean",
    ),
    "a place without a bias": (
        [NO_BIAS, norm("n", "c")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "a bias of 0",
    ),
    "a normalisation that is folded": (
        NORMED,
        convolved,
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
        BARE,
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "adds the bias",
    ),
    "a factor as a normalisation": (
        SCALED,
        lambda: convolved(nn.BatchNorm2d(4), bias=False),
        "adds the bias",
    ),
    "another eps": (
        [conv("c", "data"), norm("n", "c", "eps: 0.01")],
        lambda: convolved(nn.BatchNorm2d(4)),
        "eps 0.01 instead of the module's 1e-05, in its variance",
    ),
    "an eps above the variance": (
        [conv("c", "data"), norm("n", "c", "eps: 0.00001")],
        lambda: convolved(nn.BatchNorm2d(4, eps=50.0)),
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
        lambda: convolved(nn.LocalResponseNorm(3, 0.5, k=2.0)),
        "",
    ),
    "learned slopes": (
        [conv("c", "data"), layer("p", "PReLU", "c")],
        lambda: convolved(nn.PReLU(4)),
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
