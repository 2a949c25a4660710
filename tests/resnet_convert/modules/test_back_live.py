"""`port --from` a live module: called twice, in training, with keys that no pass reads; and nets for training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import resnet_convert
from tests.resnet_convert.modules.nets import BARE, C3, NORMED, Function, conv, convolved, drawn, layer, net
from weights import open_weights

pytestmark = pytest.mark.usefixtures("in_a_folder")


def test_layers_that_share_their_weights_take_those_of_a_module_that_is_called_twice() -> None:
    shared = 'param { name: "w" } param { name: "b" } top'
    same = [layer(n, "Convolution", b, phrase="num_output: 3 kernel_size: 1") for n, b in (("c", "data"), ("d", "c"))]
    file = net(*(each.replace("top", shared) for each in same))
    done = resnet_convert.port_from(file, None, drawn(Function(lambda m, x: m.c(m.c(x)), c=nn.Conv2d(3, 3, 1))))
    assert done.report is not None
    assert done.report.ok
    assert np.array_equal(done.blobs["c"][0], done.blobs["d"][0])


def test_arrays_are_copies_and_a_file_is_as_the_module_was() -> None:
    module = drawn(convolved())
    done = resnet_convert.port_from(net(*BARE), None, module, output="o.caffemodel")
    before = done.blobs["c"][0]
    with torch.no_grad():
        module[0].weight.zero_()
    with open_weights("o.caffemodel") as weights:
        assert np.array_equal(next(layer.blobs[0].array() for layer in weights.layers if layer.blobs), before)
    assert before.any()


def test_a_module_in_training_is_left_as_it_was() -> None:
    module = convolved(nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    done = resnet_convert.port_from(net(*NORMED), None, module)
    assert done.report is not None
    assert done.report.ok
    assert (module.training, module[1].training) == (True, True)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_keys_that_no_pass_reads_are_named() -> None:
    parts = {"c": nn.Conv2d(3, 4, **C3), "n": nn.BatchNorm2d(4), "spare": nn.Linear(2, 2)}
    done = resnet_convert.port_from(net(*NORMED), None, Function(lambda m, x: m.n(m.c(x)), **parts))
    assert done.unread == ["spare.weight", "spare.bias"]


def test_what_a_net_has_for_training_stays_in_the_file() -> None:
    drop = layer("o", "Dropout", "c")
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }'
    label = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 7 dim: 9 } } }'
    file = net(conv("c", "data"), drop, layer("r", "ReLU", "o"), label, loss)
    resnet_convert.port_from(file, None, drawn(convolved(nn.ReLU())), output="o.caffemodel", outputs=["r"])
    with open_weights("o.caffemodel") as weights:
        assert [stored.name for stored in weights.layers] == ["data", "c", "o", "r"]
    again = resnet_convert.port_from("o.caffemodel", None, drawn(convolved(nn.ReLU()), 6))
    assert again.report is not None
    assert again.report.ok
