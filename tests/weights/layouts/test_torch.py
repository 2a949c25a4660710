"""Ported weights in torch: the modules that `build` gives compute what Caffe computes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError
from tests.weights.layouts.porting_nets import EACH_DEPTH, Array, interpret, make_case, seeded_weights, worst
from weights import Weights, open_weights
from weights.layouts import LazyArray, caffe_net, detectron2, layout, mmdet, read, records, timm, torchvision

torch = pytest.importorskip("torch")
MODULES = {"torchvision": torchvision, "timm": timm, "mmdet": mmdet, "detectron2": detectron2}


def filled(model: Any, arrays: Mapping[str, LazyArray]) -> Any:
    """The model with every one of the arrays in it, and nothing missing."""
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return model


def scores(model: Any, images: Array) -> Array:
    with torch.inference_mode():
        found: Array = model(torch.from_numpy(images)).numpy()
    return found


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("depth", EACH_DEPTH)
def test_a_built_model_gives_the_interpreters_numbers(name: str, depth: int) -> None:
    case = make_case(depth)
    model = filled(MODULES[name].build(depth), layout(name).to(case.weights))
    assert not model.training
    assert worst(scores(model, case.images), case.scores) < 1e-5


def test_the_structure_without_torchvision_gives_them_too() -> None:
    from weights.layouts.torch_resnet import TorchResNet

    case = make_case(50)
    model = torchvision.patch(TorchResNet(50, 1000)).eval()
    assert worst(scores(filled(model, layout("torchvision").to(case.weights)), case.images), case.scores) < 1e-5


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.slow)])
def test_the_stride_in_the_wrong_convolution_gives_wrong_numbers(depth: int) -> None:
    """The weights load all the same: the shapes are equal."""
    case = make_case(depth)
    model = filled(torchvision.build(depth, stride="3x3"), layout("torchvision").to(case.weights))
    assert worst(scores(model, case.images), case.scores) > 0.03
    assert worst(scores(torchvision.patch(model), case.images), case.scores) < 1e-5


@pytest.mark.parametrize("depth", [18, 50])
def test_a_padded_first_pooling_gives_wrong_numbers(depth: int) -> None:
    case = make_case(depth)
    model = filled(torchvision.build(depth), layout("torchvision").to(case.weights))
    model.maxpool = torch.nn.MaxPool2d(3, 2, 1)
    assert worst(scores(model, case.images), case.scores) > 0.03


@pytest.mark.parametrize("depth", [18, 50])
def test_weights_of_torchvisions_own_model_run_in_its_own_caffe_net(depth: int) -> None:
    """Stride in the 3×3, padded first pooling: the way back of weights that were trained there."""
    from weights.layouts.torch_resnet import make_resnet

    case = make_case(depth)
    own = filled(make_resnet(depth, 1000).eval(), layout("torchvision").to(case.weights))
    expected = scores(own, case.images)
    arrays = {name: LazyArray(tuple(value.shape), value.numpy) for name, value in own.state_dict().items()}
    net = layout("torchvision").back(arrays)
    for message, right in ((caffe_net(net, stride="3x3", padded_pool=True), True), (caffe_net(net), False)):
        weights = Weights("back", list(records(net, message)))
        assert (worst(interpret(message, weights, case.images)["fc1000"], expected) < 1e-5) == right


def test_stride_in_the_3x3_is_right_for_a_caffe_net_that_has_it_there() -> None:
    weights = seeded_weights(50)
    message = caffe_net(read(weights), stride="3x3")
    images = np.random.default_rng(4).standard_normal((1, 3, 70, 66)).astype(np.float32) * 60
    expected = interpret(message, weights, images)["fc1000"]
    for name in ("torchvision", "detectron2"):
        model = filled(MODULES[name].build(50, stride="3x3"), layout(name).to(weights))
        assert worst(scores(model, images), expected) < 1e-5


def test_a_model_has_as_many_classes_as_asked() -> None:
    weights = seeded_weights(18, classes=7)
    for name, module in MODULES.items():
        model = filled(module.build(18, 7), layout(name).to(weights))
        assert scores(model, np.zeros((1, 3, 40, 36), np.float32)).shape == (1, 7)


def test_what_is_no_resnet_is_not_patched() -> None:
    with pytest.raises(RequestError, match="a Linear is no ResNet like torchvision's: it lacks maxpool or layer1 to 4"):
        torchvision.patch(torch.nn.Linear(2, 3))
    with pytest.raises(RequestError, match="a Linear has no conv1 to pad"):
        torchvision.pad_with(torch.nn.Linear(2, 3), [1, 2, 3])
    with pytest.raises(RequestError, match="2 values for the 3 channels of conv1"):
        torchvision.pad_with(torchvision.build(18), [1, 2])
    for module in MODULES.values():
        with pytest.raises(RequestError, match="no ResNet-51 among those for ImageNet"):
            module.build(51)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_a_built_model_gives_the_original_caffes_numbers(depth: int, shared: Path, tmp_path: Path) -> None:
    """MSRA's own prototxt, seeded weights of full size, 224×224."""
    from benchmarks.msra import make_cases

    [folder] = make_cases(tmp_path, (depth,), shared)
    with np.load(folder / "golden.npz") as golden, open_weights(folder / "weights.caffemodel") as weights:
        for name in ("torchvision", "detectron2"):
            model = filled(MODULES[name].build(depth), layout(name).to(weights))
            found = torch.from_numpy(scores(model, golden["in:data"])).softmax(1)
            assert worst(found, golden["full:prob"].reshape(found.shape)) < 1e-5
