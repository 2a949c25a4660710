"""Which weights a net takes, as the original Caffe copies them, and how a misfit is told."""

from __future__ import annotations

import numpy as np
import pytest

from prototxt.errors import ErrorGroup, Position, WeightsError
from tests.weights.caffe_bytes import floats, layer, legacy_shape, saved, shape
from weights import ArrayWeights, Wanted, match_weights, open_weights

WEIGHTS = ArrayWeights(
    {"conv1": [np.ones((64, 3, 7, 7)), np.ones(64)], "extra": [np.ones(5)], "relu": []}, path="m.caffemodel"
)
AT = Position("deploy.prototxt", 14, 1)


def test_layers_match_by_name_and_those_that_the_net_lacks_are_ignored():
    found = match_weights(WEIGHTS, [Wanted("conv1", "Convolution", ((64, 3, 7, 7), (64,)))])
    assert {name: [b.shape for b in blobs] for name, blobs in found.items()} == {"conv1": [(64, 3, 7, 7), (64,)]}


def test_a_shape_that_differs_is_told_with_both_shapes_and_the_place():
    with pytest.raises(WeightsError) as caught:
        match_weights(WEIGHTS, [Wanted("conv1", "Convolution", ((32, 3, 7, 7), (64,)), AT)])
    assert str(caught.value) == (
        "m.caffemodel: error: layer 'conv1' (Convolution): blob 0 is 64×3×7×7, but the prototxt "
        "(deploy.prototxt:14:1) makes it 32×3×7×7"
    )


def test_advice_goes_with_a_shape_that_differs():
    with pytest.raises(WeightsError, match=r"makes it 10×3×7×7; call it something else$"):
        match_weights(WEIGHTS, [Wanted("conv1", "", ((10, 3, 7, 7), (64,)))], advice="; call it something else")


def test_layers_that_the_file_lacks_are_all_named_in_one_error():
    wanted = [Wanted(name, "Scale", ((4,),), AT._replace(line=line)) for line, name in enumerate(["a", "b"], 1)]
    with pytest.raises(WeightsError) as caught:
        match_weights(WEIGHTS, wanted)
    assert str(caught.value) == (
        "m.caffemodel: error: has no weights for 2 layers of the net: "
        "'a' (deploy.prototxt:1:1), 'b' (deploy.prototxt:2:1)"
    )


@pytest.mark.parametrize("shapes", [((64, 3, 7, 7),), ((64, 3, 7, 7), (64,), (1,))])
def test_another_number_of_blobs_is_refused(shapes):
    with pytest.raises(WeightsError, match=f"the file has 2 blobs, but the prototxt needs {len(shapes)}"):
        match_weights(WEIGHTS, [Wanted("conv1", "Convolution", shapes)])


def test_a_layer_that_the_file_lists_without_blobs_lacks_them():
    with pytest.raises(WeightsError, match="layer 'relu': the file has 0 blobs, but the prototxt needs 1"):
        match_weights(WEIGHTS, [Wanted("relu", "", ((3,),))])


def test_all_faults_are_reported_together():
    wanted = [Wanted("conv1", "Convolution", ((1, 3, 7, 7), (1,))), Wanted("absent", "Scale", ((4,),))]
    with pytest.raises(ErrorGroup) as caught:
        match_weights(WEIGHTS, wanted)
    assert [type(e) for e in caught.value.errors] == [WeightsError] * 3
    assert "absent" in str(caught.value.errors[0])


def test_the_old_form_fits_with_ones_in_front(tmp_path):
    matrix, vector = legacy_shape(1, 1, 2, 3) + floats(range(6)), legacy_shape(1, 1, 1, 2) + floats([1, 2])
    data = layer("ip", "InnerProduct", matrix, vector)
    with open_weights(saved(tmp_path, data)) as weights:
        found = match_weights(weights, [Wanted("ip", "InnerProduct", ((2, 3), (2,)))])
        assert [b.shape for b in found["ip"]] == [(1, 1, 2, 3), (1, 1, 1, 2)]
        with pytest.raises(WeightsError, match="blob 0 is 1×1×2×3, but the prototxt makes it 3×2"):
            match_weights(weights, [Wanted("ip", "InnerProduct", ((3, 2), (2,)))])


def test_the_last_of_two_layers_with_one_name_counts(tmp_path):
    data = layer("a", "Scale", shape(2) + floats([1, 1])) + layer("a", "Scale", shape(3) + floats([2, 2, 2]))
    with open_weights(saved(tmp_path, data)) as weights:
        found = match_weights(weights, [Wanted("a", "Scale", ((3,),))])
        assert found["a"][0].array().tolist() == [2, 2, 2]


def test_a_shared_parameter_may_be_missing_where_another_layer_owns_it(shared):
    pytest.importorskip("h5py")
    folder = shared / "golden" / "train" / "solver" / "sgd_shared_weights"
    wanted = Wanted("s2", "InnerProduct", ((9, 9), (9,)), optional=frozenset({0, 1}))
    with open_weights(folder / "snap_iter_6.caffemodel.h5") as weights:
        found = match_weights(weights, [wanted])
        assert [(b.shape, b.stored) for b in found["s2"]] == [((9, 9), False), ((9,), False)]
        with pytest.raises(WeightsError, match="the file has 0 blobs"):
            match_weights(weights, [Wanted("s2", "InnerProduct", ((9, 9), (9,)))])
    with open_weights(folder / "snap_iter_6.caffemodel") as weights:
        assert all(b.stored for b in match_weights(weights, [wanted])["s2"])


def test_a_hole_that_nobody_owns_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/a/1"] = np.ones(3, np.float32)
    with open_weights(tmp_path / "a.h5") as weights:
        assert match_weights(weights, [Wanted("a", "Scale", ((3,), (3,)), optional=frozenset({0}))])
        with pytest.raises(WeightsError, match="blob 0 is not in the file, and the prototxt shares it with no other"):
            match_weights(weights, [Wanted("a", "Scale", ((3,), (3,)))])
