"""The names and shapes of each framework, held against what the frameworks themselves have and publish."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from prototxt.errors import RequestError
from tests.weights.layouts.porting_nets import EACH_DEPTH, EACH_LAYOUT, seeded_weights
from weights.layouts import layout
from weights.layouts.caffe2_names import model_names
from weights.layouts.keras import h5_groups

# Trainable parameters, as torchvision's documentation and the paper's tables have them.
TORCHVISION_PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
# `model.count_params()`, as Keras' documentation rounds them: with biases and moving statistics.
KERAS_PARAMETERS = {50: 25_636_712, 101: 44_707_176, 152: 60_419_944}


@pytest.mark.parametrize("depth", EACH_DEPTH)
def test_torchvision_has_as_many_parameters_as_it_publishes(depth: int) -> None:
    arrays = layout("torchvision").to(seeded_weights(depth))
    trained = sum(prod(array.shape) for name, array in arrays.items() if ".running_" not in name)
    assert trained == TORCHVISION_PARAMETERS[depth]


@pytest.mark.parametrize("depth", KERAS_PARAMETERS)
def test_keras_has_as_many_parameters_as_it_publishes(depth: int) -> None:
    arrays = layout("keras").to(seeded_weights(depth))
    assert sum(prod(array.shape) for array in arrays.values()) == KERAS_PARAMETERS[depth]


@pytest.mark.parametrize(
    ("name", "depth", "expected", "count"),
    [
        ("torchvision", 18, {"bn1.running_var", "layer2.0.downsample.1.running_mean", "layer4.1.conv2.weight"}, 102),
        ("torchvision", 152, {"layer3.35.bn3.bias", "layer2.7.conv3.weight", "fc.bias"}, 777),
        ("timm", 50, {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.weight"}, 267),
        ("mmdet", 50, {"backbone.conv1.weight", "backbone.layer1.0.downsample.1.bias", "head.fc.weight"}, 267),
        ("detectron2", 101, {"conv1_w", "res_conv1_bn_s", "res4_22_branch2c_bn_b", "fc1000_w"}, 314),
        ("detectron2", 50, {"res2_0_branch1_w", "res2_0_branch1_bn_s", "res5_2_branch2b_bn_b", "fc1000_b"}, 161),
        ("keras", 50, {"conv1_conv/bias", "conv2_block1_0_bn/moving_variance", "predictions/kernel"}, 320),
        ("flax", 18, {"params/ResNetBlock_2/conv_proj/kernel", "batch_stats/ResNetBlock_7/BatchNorm_1/var"}, 102),
        ("flax", 50, {"params/BottleneckResNetBlock_15/Conv_2/kernel", "params/bn_init/scale"}, 267),
    ],
)
def test_names_are_the_frameworks(name: str, depth: int, expected: set[str], count: int) -> None:
    names = layout(name).names(depth)
    assert expected <= set(names)
    assert len(names) == len(set(names)) == count


@pytest.mark.parametrize(("name", "depth"), EACH_LAYOUT)
def test_a_port_has_the_names_that_are_told(name: str, depth: int) -> None:
    assert set(layout(name).to(seeded_weights(depth))) == set(layout(name).names(depth))


def test_detectron2_translates_its_names_as_its_loader_does() -> None:
    """Pairs worked by hand with the rules of c2_model_loading.py."""
    pairs = {
        "conv1_w": "stem.conv1.weight",
        "res_conv1_bn_s": "stem.conv1.norm.weight",
        "res_conv1_bn_b": "stem.conv1.norm.bias",
        "res2_0_branch1_w": "res2.0.shortcut.weight",
        "res3_1_branch2a_bn_s": "res3.1.conv1.norm.weight",
        "res4_22_branch2b_bn_b": "res4.22.conv2.norm.bias",
        "res5_2_branch2c_w": "res5.2.conv3.weight",
        "fc1000_b": "linear.bias",
    }
    assert {name: model_names(name) for name in pairs} == pairs


def test_kerass_file_numbers_the_layers_in_the_order_of_the_model() -> None:
    """As `model.save_weights` of Keras 3.15 wrote them for ResNet50."""
    groups = {layer: group for group, layer, _ in h5_groups(50)}
    assert groups["conv1_conv"] == "layers/conv2d"
    assert groups["conv1_bn"] == "layers/batch_normalization"
    assert groups["conv2_block1_2_conv"] == "layers/conv2d_2"
    assert groups["conv2_block1_0_conv"] == "layers/conv2d_3"
    assert groups["conv2_block1_3_bn"] == "layers/batch_normalization_4"
    assert groups["conv5_block3_3_conv"] == "layers/conv2d_52"
    assert groups["predictions"] == "layers/dense"


def test_kernels_of_keras_and_flax_are_turned_around() -> None:
    weights = seeded_weights(50)
    kernel = weights.layers[0].blobs[0].array()
    for name, key in (("keras", "conv1_conv/kernel"), ("flax", "params/conv_init/kernel")):
        turned = np.asarray(layout(name).to(weights)[key])
        assert turned.shape == (7, 7, 3, 64)
        assert turned[1, 4, 2, 63] == kernel[63, 2, 1, 4]


def test_a_depth_or_a_framework_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match=r"Keras has no ResNet-18; it has 50, 101 and 152"):
        layout("keras").to(seeded_weights(18))
    with pytest.raises(RequestError, match="no layout 'caffe2'; expected torchvision, timm, keras"):
        layout("caffe2")
