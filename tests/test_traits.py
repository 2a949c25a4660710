"""What layers say of themselves is true of their numbers, which the interpreter gives without knowing of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from converter.layers.base import registry
from converter.node import Layer
from prototxt import NetLayer, load_net
from tests.golden import GoldenCase, golden_cases
from verify import run
from verify.layers import find
from verify.layers.registry import Array, labels
from weights import open_weights

Rearrange = Callable[[Array], Array]


def alone(case: GoldenCase) -> NetLayer | None:
    """A case's one layer that computes; None where there are several."""
    layers = [layer for layer in load_net(case.net).layers if layer.bottoms]
    return layers[0] if len(layers) == 1 else None


def as_read(layer: NetLayer) -> Layer:
    return registry()[layer.kind].read(layer)


ALONE = [(case, layer) for case in golden_cases() if (layer := alone(case)) is not None]


def layer_of(case: GoldenCase) -> Layer:
    return next(as_read(layer) for other, layer in ALONE if other == case)


def cases_of(acts_on: str) -> list[GoldenCase]:
    return [case for case, layer in ALONE if as_read(layer).acts_on == acts_on]


def of_whole_bottoms() -> list[GoldenCase]:
    """Those where no bottom is spread over axes that only another has."""
    return [case for case in cases_of("values") if not getattr(layer_of(case), "axis", 0)]


def along_channels() -> list[GoldenCase]:
    """Those of one bottom that has places, where the layer works along axis 1."""
    found = []
    for case in cases_of("channels"):
        along = getattr(layer_of(case), "axis", 1), getattr(layer_of(case), "num_axes", 1)
        if along == (1, 1) and len({array.shape[2:] for array in case.feeds().values()}) == 1:
            found.append(case)
    return found


def told(case: GoldenCase, feeds: dict[str, Array]) -> tuple[list[Array], list[Array]]:
    """The bottoms and tops of a case's one layer."""
    net, layer = load_net(case.net), alone(case)
    assert layer is not None
    blobs = run(net, open_weights(case.weights) if case.weights else None, feeds).blobs
    return [feeds[name] for name in layer.bottoms], [blobs[name] for name in layer.tops]


def of_one_shape(feeds: dict[str, Array]) -> dict[str, Array]:
    """Bottoms as large as the largest: a layer that takes smaller ones too repeats their values."""
    largest = max(feeds.values(), key=lambda array: array.size).shape
    return {name: np.resize(array, largest) for name, array in feeds.items()}


def shuffled(array: Array) -> Array:
    """All values in other places, of arrays of one size in the same ones."""
    order = np.random.default_rng(7).permutation(array.size)
    return array.ravel()[order].reshape(array.shape)


def with_places_shuffled(array: Array) -> Array:
    """Each channel's values in other places, of all channels in the same ones."""
    rows = array.reshape(*array.shape[:2], -1)
    return rows[:, :, np.random.default_rng(7).permutation(rows.shape[2])].reshape(array.shape)


@pytest.mark.parametrize("case", of_whole_bottoms(), ids=str)
def test_a_layer_that_acts_on_values_gives_the_same_ones_in_other_places(case: GoldenCase) -> None:
    feeds = of_one_shape(case.feeds())
    moved = {name: shuffled(array) for name, array in feeds.items()}
    for got, top in zip(told(case, moved)[1], told(case, feeds)[1], strict=True):
        np.testing.assert_array_equal(got, shuffled(top))


@pytest.mark.parametrize("case", along_channels(), ids=str)
def test_a_layer_that_acts_on_channels_gives_the_same_ones_at_other_places(case: GoldenCase) -> None:
    moved = {name: with_places_shuffled(array) for name, array in case.feeds().items()}
    for got, top in zip(told(case, moved)[1], told(case, case.feeds())[1], strict=True):
        np.testing.assert_allclose(got, with_places_shuffled(top), rtol=1e-6)


@pytest.mark.parametrize("case", cases_of("shape"), ids=str)
def test_a_layer_that_acts_on_the_shape_leaves_values_in_their_order(case: GoldenCase) -> None:
    (bottom,), tops = told(case, case.feeds())
    assert [np.array_equal(top.ravel(), bottom.ravel()) for top in tops] == [True]


@pytest.mark.parametrize("acts_on", ["values", "channels", "shape"])
def test_every_layer_that_acts_on_less_than_the_map_is_held_to_it(acts_on: str) -> None:
    types = {kind for kind, layer in registry().items() if layer.acts_on == acts_on}
    cases = {"values": of_whole_bottoms, "channels": along_channels}.get(acts_on, lambda: cases_of("shape"))()
    assert types <= {layer.kind for layer in map(alone, cases) if layer}


@pytest.mark.parametrize("case", [case for case, layer in ALONE if (r := find(layer.kind)) and r.keeps_shape], ids=str)
def test_a_rule_that_keeps_the_shape_does(case: GoldenCase) -> None:
    bottoms, tops = told(case, case.feeds())
    assert {top.shape for top in tops} == {bottoms[0].shape}


@pytest.mark.parametrize(
    "case", [case for case, layer in ALONE if (r := find(layer.kind)) and r.passed_on(layer)], ids=str
)
def test_what_a_rule_passes_on_are_the_bottoms_values(case: GoldenCase) -> None:
    layer = alone(case)
    assert layer is not None
    rule = find(layer.kind)
    assert rule is not None
    bottoms, tops = told(case, case.feeds())
    passed = [top for name, top in zip(layer.tops, tops, strict=True) if name in rule.passed_on(layer)]
    assert [np.array_equal(top.ravel(), bottoms[0].ravel()) for top in passed] == [True] * len(passed)


def test_every_measure_that_reads_labels_beside_scores_says_that_it_reads_scores() -> None:
    measures = {kind: layer for kind, layer in registry().items() if layer.role == "loss"}
    beside_labels = {kind for kind in measures if (rule := find(kind)) and rule.feeds.get(1) is labels}
    assert {"Accuracy", "SoftmaxWithLoss", "SoftmaxWithLossOHEM", "HingeLoss"} <= beside_labels
    assert [kind for kind in beside_labels if not measures[kind].reads_scores] == []


def test_a_class_whose_layers_keep_statistics_says_so_before_it_reads_one() -> None:
    keeping = {layer.kind for _, layer in ALONE if as_read(layer).statistics}
    assert keeping == {kind for kind, layer in registry().items() if layer.keeps_statistics}


@pytest.mark.parametrize("case", [case for case, layer in ALONE if as_read(layer).box_classes is not None], ids=str)
def test_a_layer_that_gives_boxes_has_rows_of_image_class_score_and_corners(case: GoldenCase) -> None:
    classes = layer_of(case).box_classes
    (rows,) = told(case, case.feeds())[1]
    assert classes is not None
    assert rows.shape[:2] == (1, 1)
    assert rows.shape[3] >= 7
    assert {*rows[..., 1].ravel().tolist()} <= {*classes, -1}


@pytest.mark.parametrize(
    "case", [case for case, layer in ALONE if type(as_read(layer)) is not registry()[layer.kind]], ids=str
)
def test_a_layer_of_another_class_than_its_types_is_one_that_the_class_names(case: GoldenCase) -> None:
    layer = alone(case)
    assert layer is not None
    cls = registry()[layer.kind]
    assert isinstance(as_read(layer), (*cls.read_as, cls))
