"""Preprocessing folded into the first layer of a module: it takes what no data layer has touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import resnet_convert
from prototxt import load_net
from prototxt.errors import RequestError
from resnet_convert.cli.main import main
from tests.resnet_convert.modules.nets import SIZED, UNEVEN, Function, conv, layer, norm
from verify import run
from weights import open_weights

MEAN = (103.939, 116.779, 123.68)
SCALE = 0.017
PLAIN_C = f"num_output: 4 kernel_size: 3 stride: 2 {UNEVEN}"
NO_BIAS = "num_output: 4 kernel_size: 3 bias_term: false"


def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, 3, 7, 9)).astype(np.float32)


def expected(files: tuple[str, str], rgb: bool, mean: Any = MEAN, scale: float = SCALE) -> np.ndarray:
    """What the Caffe net makes of the pixels once they are preprocessed, in BGR."""
    values = pixels()[:, ::-1] if rgb else pixels()
    fed = ((values.astype(np.float64) - np.reshape(mean, (-1, 1, 1))) * scale).astype(np.float32)
    with open_weights(files[1]) as weights:
        return list(run(load_net(files[0]), weights, {"data": fed}).blobs.values())[-1]


def given(module: nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(pixels())).numpy()
    return found


def assert_near(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.ravel(), wanted.ravel(), atol=1e-5 * abs(wanted).max(), rtol=0)


FIRST: dict[str, tuple[list[str], Callable[[], nn.Module]]] = {
    "a bias": ([conv("c", "data", PLAIN_C)], lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2))),
    "no bias in the net": ([conv("c", "data", NO_BIAS)], lambda: nn.Sequential(nn.Conv2d(3, 4, 3))),
    "no bias in the module": (
        [conv("c", "data", PLAIN_C), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2, bias=False), nn.BatchNorm2d(4)),
    ),
    "a folded normalisation": (
        [conv("c", "data", NO_BIAS), norm("n", "c")],
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3)),
    ),
    "a fully connected layer": (
        [layer("f", "InnerProduct", "data", phrase="num_output: 5")],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(189, 5)),
    ),
    "its matrix the other way, its map with channels last": (
        [layer("f", "InnerProduct", "data", phrase="num_output: 5 transpose: true")],
        lambda: Function(lambda m, x: m.f(x.permute(0, 2, 3, 1).flatten(1)), f=nn.Linear(189, 5)),
    ),
    "two layers": (
        [conv("c", "data", NO_BIAS), conv("d", "data", NO_BIAS), layer("k", "Concat", "c", "d")],
        lambda: Function(lambda m, x: torch.cat([m.c(x), m.d(x)], 1), c=nn.Conv2d(3, 4, 3), d=nn.Conv2d(3, 4, 3)),
    ),
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_the_module_takes_pixels(first: str, order: str, made: Callable[..., tuple[str, str]]) -> None:
    layers, module = FIRST[first]
    files = made(*layers)
    how: dict[str, Any] = {"fold_preprocessing": True, "input_order": order, "mean": MEAN, "scale": SCALE}
    done = resnet_convert.port_into(*files, module().eval(), **how)
    assert done.report is not None
    assert done.report.ok
    assert_near(given(done.module), expected(files, order == "rgb"))
    said = [bridge.what for bridge in done.bridges]
    assert "takes what is not preprocessed; compared before that" in said
    assert not any("border" in what for what in said)


@pytest.mark.parametrize(
    ("how", "mean", "scale"),
    [
        ({"input_order": "rgb"}, (0,), 1.0),
        ({"mean": (117.5,)}, (117.5,), 1.0),
        ({"scale": 0.25}, (0,), 0.25),
        ({"mean": np.array([[[1.0]], [[2.0]], [[3.0]]]), "input_order": "rgb"}, (1, 2, 3), 1.0),
    ],
)
def test_a_part_of_it(how: dict[str, Any], mean: Any, scale: float, made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data", PLAIN_C))
    done = resnet_convert.port_into(*files, nn.Conv2d(3, 4, 3, 2), fold_preprocessing=True, **how)
    assert_near(given(done.module), expected(files, "input_order" in how, mean, scale))


def test_the_border_is_said_and_right_once_it_is_padded_with_the_mean(made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data", f"{SIZED} stride: 2 {UNEVEN}"))
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1))
    done = resnet_convert.port_into(*files, module, fold_preprocessing=True, input_order="rgb", mean=MEAN)
    said = [bridge.what for bridge in done.bridges]
    # Of 4 × 5 places the first and last row and column of windows reach beyond: 2 × 3 lie inside.
    assert "its border is black where Caffe's has the mean colour: 70.0% of its places see it" in said
    wanted = expected(files, rgb=True, scale=1.0)
    found = given(done.module)
    assert_near(found[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1])
    assert np.abs(found - wanted).max() > 0.01 * np.abs(wanted).max()
    mean = torch.tensor(MEAN[::-1]).reshape(1, 3, 1, 1)
    padded = nn.functional.pad(torch.from_numpy(pixels()) - mean, (1, 1, 1, 1)) + mean
    with torch.no_grad():
        assert_near(nn.functional.conv2d(padded, module[0].weight, module[0].bias, 2).numpy(), wanted)


@pytest.mark.parametrize(
    ("layers", "module", "how", "said"),
    [
        (
            [norm("n", "data")],
            nn.BatchNorm2d(3),
            {"mean": MEAN},
            "reads the input; preprocessing can be folded into an ordinary",
        ),
        (
            [conv("c", "data", "num_output: 6 kernel_size: 1 group: 3")],
            nn.Conv2d(3, 6, 1, groups=3),
            {"mean": MEAN},
            "reads the input; preprocessing can be folded into an ordinary",
        ),
        (
            [conv("c", "data", NO_BIAS)],
            nn.Conv2d(3, 4, 3, bias=False),
            {"mean": MEAN},
            "preprocessing does not go into Conv2d: the module's layer has no bias",
        ),
        ([conv("c", "data", NO_BIAS)], nn.Conv2d(3, 4, 3), {"mean": (1, 2)}, "2 mean values for the 3 channels"),
        ([conv("c", "data", NO_BIAS)], nn.Conv2d(3, 4, 3), {"scale": 0.0}, "scale 0.0; expected a finite number"),
        ([conv("c", "data", NO_BIAS)], nn.Conv2d(3, 4, 3), {}, "go together"),
    ],
)
def test_what_cannot_be_folded_is_refused_and_nothing_is_filled(
    layers: list[str], module: nn.Module, how: dict[str, Any], said: str, made: Callable[..., tuple[str, str]]
) -> None:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(RequestError, match=said):
        resnet_convert.port_into(*made(*layers), module, output="o.pth", fold_preprocessing=True, **how)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not Path("o.pth").exists()


OWN = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, 2))\n"


def test_the_command_line_folds(made: Callable[..., tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    files = made(conv("c", "data", PLAIN_C))
    Path("mine.py").write_text(OWN)
    words = ["port", *files, "--into", "mine.py:net", "-o", "o.pth", "--mean", "103.939,116.779,123.68"]
    assert main(words) == 2
    assert "--fold-preprocessing and what to fold" in capsys.readouterr().err
    assert main([*words, "--fold-preprocessing", "--input-order", "rgb", "--scale", "0.017"]) == 0
    assert "takes what is not preprocessed; compared before that" in capsys.readouterr().out
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2))
    module.load_state_dict(torch.load("o.pth", weights_only=True))
    assert_near(given(module), expected(files, rgb=True))
