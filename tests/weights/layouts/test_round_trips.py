"""There and back: what a layout does not compute keeps its bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prototxt.errors import WeightsError
from tests.weights.layouts.porting_nets import (
    EACH_DEPTH,
    EACH_LAYOUT,
    FACTOR,
    seeded_arrays,
    seeded_weights,
    weights_of,
)
from weights import open_weights, write_caffemodel
from weights.layouts import LazyArray, caffe_net, held, layout, read, records
from weights.layouts.files import open_arrays, write_safetensors
from weights.layouts.keras import write_h5


def assert_same_bits(found: dict[str, LazyArray], expected: dict[str, LazyArray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert found[name].array().tobytes() == array.array().tobytes(), name


@pytest.mark.parametrize(("name", "depth"), EACH_LAYOUT)
def test_a_port_comes_back_from_a_caffemodel_with_the_same_bits(name: str, depth: int, tmp_path: Path) -> None:
    there = {key: held(array.array()) for key, array in layout(name).to(seeded_weights(depth)).items()}
    net = layout(name).back(there)
    write_caffemodel(tmp_path / "back.caffemodel", "back", records(net, caffe_net(net)))
    with open_weights(tmp_path / "back.caffemodel") as weights:
        assert weights.get("bn_conv1").blobs[2].array().tolist() == [1.0]  # type: ignore[union-attr]
        assert_same_bits(layout(name).to(weights), there)


@pytest.mark.parametrize("depth", EACH_DEPTH)
def test_a_caffemodel_of_factor_1_comes_back_from_torchvision_with_the_same_bits(depth: int) -> None:
    """conv1's bias of ResNet-50, zero in this one, is the only number that torchvision has no place for."""
    arrays = seeded_arrays(depth, factor=1.0)
    if depth == 50:
        arrays["conv1"][1][:] = 0
    net = layout("torchvision").back(layout("torchvision").to(weights_of(arrays)))
    written = {layer.name: layer.blobs for layer in records(net, caffe_net(net)) if layer.blobs}
    assert written.keys() == arrays.keys()
    for name, blobs in arrays.items():
        for blob, back in zip(blobs, written[name], strict=True):
            assert blob.tobytes() == back.array().tobytes(), name


def test_conv1s_bias_goes_into_the_mean_once_rounded() -> None:
    arrays = seeded_arrays(50)
    (_, bias), (sums, _, _) = arrays["conv1"], arrays["bn_conv1"]
    expected = (sums.astype(np.float64) / float(np.float32(FACTOR)) - bias.astype(np.float64)).astype(np.float32)
    assert np.array_equal(layout("torchvision").to(seeded_weights(50))["bn1.running_mean"], expected)
    keras = layout("keras").to(seeded_weights(50))
    assert np.array_equal(keras["conv1_conv/bias"], bias)
    assert not np.any(keras["conv2_block1_1_conv/bias"])


def test_affine_numbers_are_the_folded_ones() -> None:
    """Worked in float64 from the stored blobs."""
    arrays = seeded_arrays(18)
    mean, variance = (blob.astype(np.float64) / float(np.float32(FACTOR)) for blob in arrays["bn3a_branch1"][:2])
    gamma, beta = (blob.astype(np.float64) for blob in arrays["scale3a_branch1"])
    slope = gamma / np.sqrt(variance + 1e-5)
    found = layout("detectron2").to(seeded_weights(18))
    assert np.array_equal(found["res3_0_branch1_bn_s"], slope.astype(np.float32))
    assert np.array_equal(found["res3_0_branch1_bn_b"], (beta - mean * slope).astype(np.float32))


@pytest.mark.parametrize("name", ["torchvision", "detectron2", "flax"])
def test_a_safetensors_file_holds_what_was_given(name: str, tmp_path: Path) -> None:
    expected = layout(name).to(seeded_weights(18))
    write_safetensors(tmp_path / "net.safetensors", expected)
    with open_arrays(tmp_path / "net.safetensors") as found:
        assert_same_bits(found, expected)


def test_a_file_of_keras_holds_what_was_given(tmp_path: Path) -> None:
    expected = layout("keras").to(seeded_weights(50))
    write_h5(tmp_path / "net.weights.h5", expected)
    with open_arrays(tmp_path / "net.weights.h5") as found:
        assert_same_bits(found, expected)


def test_a_backbone_without_last_layer_comes_back_without_one() -> None:
    arrays = seeded_arrays(18)
    del arrays["fc1000"]
    ported = layout("timm").to(weights_of(arrays))
    assert "fc.weight" not in ported
    net = layout("timm").back(ported)
    assert net.classes is None
    assert caffe_net(net).layer[-1].name == "pool5"


def test_the_last_layer_is_named_after_its_classes() -> None:
    net = layout("timm").back(layout("timm").to(seeded_weights(18, classes=7)))
    assert net.classes == 7
    assert [layer.name for layer in records(net, caffe_net(net)) if layer.blobs][-1] == "fc7"


def test_counters_of_batches_are_passed_over() -> None:
    arrays = layout("torchvision").to(seeded_weights(18))
    counted = arrays | {"bn1.num_batches_tracked": held(np.int64(3))}
    assert read(seeded_weights(18)).depth == layout("torchvision").back(counted).depth == 18


def test_what_does_not_fit_is_told_by_name() -> None:
    arrays = layout("torchvision").to(seeded_weights(34))
    without = {name: array for name, array in arrays.items() if name != "layer3.5.bn2.weight"}
    with pytest.raises(WeightsError, match=r"^f.st: error: lacks 'layer3.5.bn2.weight' of torchvision's ResNet-34$"):
        layout("torchvision").back(without, "f.st")
    with pytest.raises(WeightsError, match=r"holds 'layer1.0.se.w', which torchvision's ResNet-34 does not have$"):
        layout("torchvision").back(arrays | {"layer1.0.se.w": held([1.0])})
    with pytest.raises(WeightsError, match=r"has none of the names of Keras's ResNets, such as 'conv1_conv/kernel'"):
        layout("keras").back(arrays)
    turned = arrays | {"conv1.weight": held(np.zeros((64, 3, 5, 7))), "fc.bias": held(np.zeros(()))}
    with pytest.raises(Exception, match=r"(?s)'conv1.weight' is 64×3×5×7; expected 64×3×7×7.*'fc.weight' is 1000×512"):
        layout("torchvision").back(turned)
