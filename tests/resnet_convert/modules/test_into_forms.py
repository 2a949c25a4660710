"""`port --into`: two forms of one net give the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

import resnet_convert
from tests.resnet_convert.modules.forms import FORMS
from tests.resnet_convert.modules.nets import NORMED, assert_same_numbers, convolved
from weights import open_weights


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
    files = made(*NORMED)
    state = resnet_convert.port_into(*files, convolved(nn.BatchNorm2d(4))).state_dict
    with open_weights(files[1]) as weights:
        blobs = {found.name: [blob.array().ravel() for blob in found.blobs] for found in weights.layers}
    assert blobs["n"][2] == 1
    pairs = {"0.weight": "c", "0.bias": "c", "1.weight": "ns", "1.bias": "ns", "1.running_mean": "n"}
    pairs["1.running_var"] = "n"
    places = [0, 1, 0, 1, 0, 1]
    for (key, name), place in zip(pairs.items(), places, strict=True):
        assert np.array_equal(state[key].numpy().ravel(), blobs[name][place]), key
