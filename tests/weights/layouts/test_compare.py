"""Two weight files side by side."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from prototxt.errors import RequestError, WeightsError
from tests.weights.layouts.porting_nets import Array, seeded_arrays, seeded_weights, weights_of
from weights import ArrayWeights, write_caffemodel, write_hdf5
from weights.layouts import LAYOUTS, layout
from weights.layouts.compare import compare
from weights.layouts.files import write_safetensors
from weights.layouts.keras import write_h5


def msra(path: Path, factor: float = 1.0, depth: int = 50, change: dict[str, tuple[int, Array]] | None = None) -> Path:
    arrays = seeded_arrays(depth, factor=factor)
    for name, (blob, values) in (change or {}).items():
        arrays[name][blob] = values
    write_caffemodel(path, "", weights_of(arrays).layers)
    return path


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "detectron2"])
def test_a_port_and_its_origin_are_the_same(name: str, tmp_path: Path) -> None:
    origin = msra(tmp_path / "w.caffemodel")
    write_safetensors(tmp_path / "w.safetensors", layout(name).to(seeded_weights(50, factor=1.0)))
    found = compare(origin, tmp_path / "w.safetensors")
    assert found.same
    assert (found.how, found.compared) == ("resnet", 5 * 53 + 2)
    told = "torchvision" if name == "timm" else name
    assert found.notes[1] == f"{tmp_path / 'w.safetensors'}: ResNet-50 with the names of {told}"


def test_affine_numbers_are_compared_folded(tmp_path: Path) -> None:
    origin = msra(tmp_path / "w.caffemodel")
    write_safetensors(tmp_path / "w.safetensors", layout("detectron2").to(seeded_weights(50, factor=1.0)))
    found = compare(tmp_path / "w.safetensors", origin)
    assert found.same
    assert found.compared == 3 * 53 + 2


def test_a_caffemodel_and_kerass_file_and_caffes_hdf5_are_the_same(tmp_path: Path) -> None:
    origin = msra(tmp_path / "w.caffemodel")
    write_h5(tmp_path / "w.weights.h5", layout("keras").to(seeded_weights(50, factor=1.0)))
    write_hdf5(tmp_path / "w.caffemodel.h5", seeded_weights(50, factor=1.0).layers)
    assert compare(origin, tmp_path / "w.weights.h5").same
    assert compare(tmp_path / "w.caffemodel.h5", tmp_path / "w.weights.h5").same


def test_the_layers_that_differ_are_told(tmp_path: Path) -> None:
    origin = msra(tmp_path / "a.caffemodel", depth=18)
    bias = seeded_arrays(18, factor=1.0)["fc1000"][1]
    bias[[3, 700]] += np.float32([0.5, -0.25])
    changed = msra(tmp_path / "b.caffemodel", depth=18, change={"fc1000": (1, bias)})
    found = compare(origin, changed)
    [entry] = found.different
    assert (entry.layer, entry.parameter, entry.shapes, entry.values) == ("fc1000", "bias", ((1000,), (1000,)), 2)
    assert entry.largest == pytest.approx(0.5, rel=1e-6)
    assert entry.relative == pytest.approx(0.5 / np.abs(bias).max(), rel=1e-6)
    assert not found.same
    assert compare(origin, changed, tolerance=0.5).same


def test_another_factor_differs_by_rounding_only(tmp_path: Path) -> None:
    a, b = (msra(tmp_path / f"{factor}.caffemodel", factor, 18) for factor in (1.0, 3.0))
    found = compare(a, b)
    assert {entry.parameter for entry in found.different} == {"mean", "variance"}
    assert max(entry.relative for entry in found.different) < 2e-7
    assert compare(a, b, tolerance=1e-6).same


def test_a_resnet_of_another_depth_is_told(tmp_path: Path) -> None:
    found = compare(msra(tmp_path / "a.caffemodel", depth=18), msra(tmp_path / "b.caffemodel", depth=34))
    assert found.notes[0] == "one is a ResNet-18, the other a ResNet-34"
    assert found.only[0] == []
    assert "res3c_branch2a.weight" in found.only[1]


WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def save(path: Path, **arrays: Array) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, path)
    return path


def test_other_nets_match_by_name(tmp_path: Path) -> None:
    a = save(tmp_path / "a.npz", **{"ip.weight": WEIGHT, "ip.bias": np.float32([1, 2]), "x": np.float32([1])})
    b = save(tmp_path / "b.safetensors", **{"ip.weight": WEIGHT, "ip.bias": np.float32([1, 2, 3]), "y": WEIGHT})
    found = compare(a, b)
    assert found.how == "names"
    assert [(entry.layer, entry.parameter, entry.shapes) for entry in found.different] == [("ip", "bias", ((2,), (3,)))]
    assert found.only == (["x"], ["y"])


def test_a_caffemodel_matches_what_the_converter_names(tmp_path: Path) -> None:
    """BatchNorm's sums are divided by the factor, as in `--to npz --fold none`."""
    layers = {
        "bn": [np.float32([2, 4, 6]), np.float32([8, 6, 4]), np.float32([2])],
        "ip": [WEIGHT[0], np.float32([1, 2, 3])],
        "prelu": [np.float32([0.25])],
    }
    kinds = {"bn": "BatchNorm", "ip": "InnerProduct", "prelu": "PReLU"}
    write_caffemodel(tmp_path / "w.caffemodel", "", ArrayWeights(layers, types=kinds).layers)
    write_hdf5(tmp_path / "w.h5", ArrayWeights(layers).layers)
    arrays = {
        "bn.mean": np.float32([1, 2, 3]),
        "bn.variance": np.float32([4, 3, 2]),
        "prelu.weight": layers["prelu"][0],
    }
    arrays |= {"ip.weight": WEIGHT[0], "ip.bias": np.float32([1, 2, 3])}
    npz = save(tmp_path / "w.npz", **arrays)
    assert compare(tmp_path / "w.caffemodel", npz).same
    assert compare(tmp_path / "w.h5", npz).same


def test_without_a_common_name_shapes_and_order_match(tmp_path: Path) -> None:
    a = save(tmp_path / "a.npz", one=WEIGHT, two=WEIGHT + 1, three=np.float32([1, 2]))
    b = save(tmp_path / "b.npz", eins=WEIGHT, zwei=WEIGHT, drei=np.float32([[1, 2]]))
    found = compare(a, b)
    assert found.how == "shapes"
    assert found.notes == ["no name is in both files: arrays were matched by shape, in their order"]
    assert [(entry.parameter, entry.values, entry.largest) for entry in found.different] == [("two", 24, 1.0)]
    assert found.only == ([], [])


def test_by_shape_a_normalisation_has_its_statistics_first(tmp_path: Path) -> None:
    """Caffe's BatchNorm stands before its Scale; PyTorch has weight and bias before both, and other modules between."""
    mean, variance, weight, bias, slope = np.random.default_rng(3).random((5, 4), np.float32)
    norm = {"bn": [mean, variance, np.float32([1])], "scale": [weight, bias], "prelu": [slope]}
    kinds = {"bn": "BatchNorm", "scale": "Scale", "prelu": "PReLU"}
    write_caffemodel(tmp_path / "w.caffemodel", "", ArrayWeights(norm, types=kinds).layers)
    there = {"a.b.weight": weight, "a.b.bias": bias, "a.b.running_mean": mean, "a.b.running_var": variance}
    npz = save(tmp_path / "w.npz", **there, **{"a.c.weight": slope})
    assert compare(tmp_path / "w.caffemodel", npz).same
    assert compare(npz, tmp_path / "w.caffemodel").same
    assert not compare(tmp_path / "w.caffemodel", save(tmp_path / "x.npz", **{**there, "a.b.bias": weight})).same


def test_no_number_equals_no_number(tmp_path: Path) -> None:
    a = save(tmp_path / "a.npz", w=np.float32([np.nan, np.inf, -np.inf, 1, 0]))
    same = save(tmp_path / "b.npz", w=np.float32([np.nan, np.inf, -np.inf, 1, -0.0]))
    other = save(tmp_path / "c.npz", w=np.float32([1, np.inf, np.inf, 1, 0]))
    assert compare(a, same).same
    [entry] = compare(a, other, tolerance=10).different
    assert (entry.values, entry.largest) == (2, math.inf)


def test_what_looks_like_a_resnet_and_is_none_is_compared_by_name(tmp_path: Path) -> None:
    arrays = seeded_arrays(18)
    del arrays["scale5b_branch2b"]
    write_caffemodel(tmp_path / "w.caffemodel", "", weights_of(arrays).layers)
    found = compare(tmp_path / "w.caffemodel", tmp_path / "w.caffemodel")
    assert (found.same, found.how, found.notes) == (True, "names", [])


def test_why_a_file_is_no_resnet_is_told_where_names_do_not_pair(tmp_path: Path) -> None:
    arrays = seeded_arrays(18)
    write_caffemodel(tmp_path / "whole.caffemodel", "", weights_of(arrays).layers)
    del arrays["scale5b_branch2b"]
    write_caffemodel(tmp_path / "w.caffemodel", "", weights_of(arrays).layers)
    for other in (save(tmp_path / "a.npz", w=WEIGHT), tmp_path / "whole.caffemodel"):
        notes = "\n".join(compare(tmp_path / "w.caffemodel", other).notes)
        assert "has no weights for 1 layer of the net: 'scale5b_branch2b'" in notes


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = save(tmp_path / "a.npz", w=WEIGHT)
    with pytest.raises(WeightsError, match="no such file"):
        compare(a, tmp_path / "none.npz")
    (tmp_path / "text").write_text("hello there")
    with pytest.raises(WeightsError, match="is text, not the weights"):
        compare(a, tmp_path / "text")
    with pytest.raises(RequestError, match=r"tolerance -1; expected 0 or more"):
        compare(a, a, tolerance=-1)
