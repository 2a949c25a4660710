"""Reading MSRA's layers out of Caffe's weights: factors, settings, old forms, and files that are no such net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prototxt import resnet
from prototxt.errors import CaffeModelError, RequestError, WeightsError
from tests.weights.layouts.porting_nets import interpret, seeded_arrays, seeded_weights, weights_of, worst
from weights import Blob, LayerRecord, LayerWeights, Weights, open_hdf5, open_weights, write_caffemodel, write_hdf5
from weights.layouts import caffe_net, layout, read, records, units


def test_a_factor_of_0_counts_as_0() -> None:
    arrays = seeded_arrays(18)
    arrays["bn2a_branch2a"][2][:] = 0
    ported = layout("torchvision").to(weights_of(arrays))
    assert not np.any(ported["layer1.0.bn1.running_mean"])
    assert not np.any(ported["layer1.0.bn1.running_var"])


def test_sums_are_divided_in_float64_and_cast_once() -> None:
    arrays = seeded_arrays(18)
    sums, factor = arrays["bn5b_branch2b"][1], float(arrays["bn5b_branch2b"][2][0])
    expected = (sums.astype(np.float64) / factor).astype(np.float32)
    assert np.array_equal(layout("torchvision").to(weights_of(arrays))["layer4.1.bn2.running_var"], expected)


def test_another_eps_in_the_file_goes_into_the_variance(tmp_path: Path) -> None:
    """Keras' eps, in one layer: sqrt(v + 1.001e-5) = sqrt((v + 1e-8) + 1e-5)."""
    net = read(seeded_weights(18, factor=1.0))
    message = caffe_net(net)
    for layer in message.layer:
        if layer.name == "bn_conv1":
            layer.batch_norm_param.eps = 2e-3
    write_caffemodel(tmp_path / "eps.caffemodel", "", records(net, message))
    with open_weights(tmp_path / "eps.caffemodel") as weights:
        ported = {name: array.array() for name, array in layout("torchvision").to(weights).items()}
    variance = seeded_arrays(18, factor=1.0)["bn_conv1"][1].astype(np.float64)
    stored = float(np.float32(2e-3))
    assert np.array_equal(ported["bn1.running_var"], (variance + (stored - 1e-5)).astype(np.float32))
    other = seeded_arrays(18, factor=1.0)["bn2a_branch2a"][1]
    assert np.array_equal(ported["layer1.0.bn1.running_var"], other)


def test_the_stride_is_read_where_the_file_tells_it(tmp_path: Path) -> None:
    net = read(seeded_weights(50))
    assert net.stride is None
    for stride in ("1x1", "3x3"):
        write_caffemodel(tmp_path / "w.caffemodel", "", records(net, caffe_net(net, stride=stride)))
        with open_weights(tmp_path / "w.caffemodel") as weights:
            found = read(weights)
        assert found.stride == stride
        told = layout("torchvision").caution(found)
        assert ("want a bottleneck's stride in the first 1×1" in told) == (stride == "1x1")


def test_letters_are_read_where_msra_numbers_blocks() -> None:
    arrays = seeded_arrays(101)
    letters = {f"{stage}b{number}": f"{stage}{chr(97 + number)}" for stage in (3, 4) for number in range(1, 23)}

    def lettered(name: str) -> str:
        for numbered, letter in letters.items():
            if f"{numbered}_" in name:
                return name.replace(f"{numbered}_", f"{letter}_")
        return name

    renamed = weights_of({lettered(name): blobs for name, blobs in arrays.items()})
    assert renamed.get("scale4w_branch2c") is not None
    expected, found = (layout("detectron2").to(weights) for weights in (weights_of(arrays), renamed))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_blobs_of_the_old_form_are_read() -> None:
    def old(layer: LayerWeights) -> LayerWeights:
        blobs = [Blob((1,) * (4 - len(b.shape)) + b.shape, True, lambda b=b: b.array()[None]) for b in layer.blobs]
        return LayerWeights(layer.name, layer.type, tuple(blobs))

    weights = seeded_weights(18)
    legacy = Weights("old.caffemodel", [old(layer) for layer in weights.layers])
    expected = layout("torchvision").to(weights)
    for name, array in layout("torchvision").to(legacy).items():
        assert array.shape == expected[name].shape
        assert np.array_equal(array, expected[name])


def test_caffes_hdf5_is_read(tmp_path: Path) -> None:
    weights = seeded_weights(18, classes=3)
    write_hdf5(tmp_path / "w.caffemodel.h5", weights.layers)
    expected = layout("timm").to(weights)
    with open_hdf5(tmp_path / "w.caffemodel.h5") as hdf5:
        found = layout("timm").to(hdf5)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_layers_of_a_detector_are_left_out_and_told() -> None:
    arrays = seeded_arrays(50)
    del arrays["fc1000"]
    one = np.ones((2, 3, 1, 1), np.float32)
    net = read(weights_of(arrays | {"rpn_conv": [one], "rpn_cls": [one, np.ones(2, np.float32)]} | {}))
    assert net.head is None
    assert net.left_out == ("rpn_conv", "rpn_cls")


def test_the_caffemodel_of_a_port_is_a_net_in_itself(tmp_path: Path) -> None:
    """Built from the layers' settings in the file, it gives what MSRA's net gives."""
    from weights import load_structure

    net = read(seeded_weights(18, factor=1.0))
    write_caffemodel(tmp_path / "w.caffemodel", "ResNet-18", records(net, caffe_net(net)))
    structure = load_structure(tmp_path / "w.caffemodel")
    assert [layer.name for layer in structure.layers][:2] == ["data", "conv1"]
    assert [layer.param for layer in structure.layers[1:]] == list(resnet(18).layer)


@pytest.mark.parametrize("depth", [18, 50])
def test_units_are_those_of_the_paper(depth: int) -> None:
    found = {unit.conv: unit for unit in units(depth)}
    assert ("res2a_branch1" in found) == (depth == 50)
    assert found["res3a_branch2a"].stride == found["res3a_branch1"].stride == 2
    assert found["res3a_branch2b"].stride == found["res2a_branch2a"].stride == 1
    assert found["conv1"].bias == (depth == 50)


def test_nets_that_are_none_of_the_family_are_refused() -> None:
    arrays = seeded_arrays(18)
    with pytest.raises(WeightsError, match="holds no ResNet with MSRA's layer names: it has no res2a_branch2a"):
        read(weights_of({"conv1": arrays["conv1"]}))
    shorter = {name: blobs for name, blobs in arrays.items() if "3b" not in name}
    with pytest.raises(
        WeightsError, match=r"has 2, 1, 2, 2 basic blocks in stages 2 to 5, as no ResNet of depth 18, 34"
    ):
        read(weights_of(shorter))
    projected = arrays | {"res2a_branch1": arrays["res2a_branch2a"]}
    with pytest.raises(WeightsError, match=r"layer 'res2a_branch1': is of no layer of ResNet-18, but the file has it"):
        read(weights_of(projected))
    twice = arrays | {"res3b1_branch2a": arrays["res3b_branch2a"]}
    with pytest.raises(WeightsError, match=r"layer 'res3b1_branch2a': names the same convolution as 'res3b_branch2a'"):
        read(weights_of(twice))
    with pytest.raises(RequestError, match="no ResNet-20 among those for ImageNet; expected a depth of 18, 34, 50"):
        units(20)


def test_every_fault_of_a_file_is_told_at_once() -> None:
    arrays = seeded_arrays(18)
    del arrays["scale_conv1"], arrays["bn4a_branch1"]
    arrays["res5b_branch2b"] = [np.zeros((512, 512, 1, 3), np.float32)]
    arrays["bn3a_branch1"] = arrays["bn3a_branch1"][:2]
    with pytest.raises(CaffeModelError) as caught:
        read(weights_of(arrays))
    lines = str(caught.value).splitlines()
    assert lines == [
        "seeded weights: error: has no weights for 2 layers of the net: 'scale_conv1', 'bn4a_branch1'",
        "seeded weights: error: layer 'bn3a_branch1': has 2 blobs; expected 3",
        "seeded weights: error: layer 'res5b_branch2b': a blob is 512×512×1×3; expected 512×512×3×3",
    ]


@pytest.mark.parametrize("name", ["torchvision", "keras"])
def test_the_net_of_a_frameworks_own_model_differs_where_that_does(name: str) -> None:
    found = layout(name)
    message = caffe_net(read(seeded_weights(50)), stride=found.own_stride, padded_pool=True, eps=found.own_eps)
    layers = {layer.name: layer for layer in message.layer}
    first, second = (layers[f"res4a_branch2{letter}"].convolution_param.stride[0] for letter in "ab")
    assert (first, second) == ((1, 2) if name == "torchvision" else (2, 1))
    assert layers["res2a_branch2b"].convolution_param.stride[0] == 1
    assert layers["pool1"].pooling_param.pad == 1
    assert layers["bn_conv1"].batch_norm_param.eps == np.float32(1e-5 if name == "torchvision" else 1.001e-5)


def test_a_record_keeps_what_the_interpreter_needs() -> None:
    net = read(seeded_weights(18, factor=1.0))
    assert all(isinstance(layer, LayerRecord) for layer in records(net, caffe_net(net)))
    images = np.random.default_rng(3).standard_normal((1, 3, 40, 36)).astype(np.float32)
    back = Weights("back", list(records(net, caffe_net(net))))
    there = interpret(resnet(18), seeded_weights(18, factor=1.0), images)["fc1000"]
    assert worst(interpret(caffe_net(net), back, images)["fc1000"], there) == 0
