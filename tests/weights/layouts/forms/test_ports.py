"""A port to each form and back: which endings a layout has, and what its framework finds in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError, WeightsError
from tests.weights.layouts.porting_nets import seeded_weights
from weights import write_caffemodel
from weights.layouts import LAYOUTS, layout
from weights.layouts.compare import compare
from weights.layouts.files import open_arrays
from weights.layouts.forms.reading import fault
from weights.layouts.port import port

ENDINGS = {
    "torchvision": [".safetensors", ".npz", ".pth", ".pt"],
    "timm": [".safetensors", ".npz", ".pth", ".pt"],
    "keras": [".safetensors", ".npz", ".weights.h5"],
    "detectron2": [".safetensors", ".npz", ".pkl", ".pth"],
    "mmdet": [".safetensors", ".npz", ".pth"],
    "flax": [".safetensors", ".npz", ".msgpack"],
}
EVERY = [
    pytest.param(name, ending, marks=pytest.mark.slow if name == "keras" and ending != ".weights.h5" else ())
    for name, endings in ENDINGS.items()
    for ending in endings
]


def depth(name: str) -> int:
    return min(LAYOUTS[name].depths)


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("origins")
    found = {}
    for each in (18, 50):
        found[each] = folder / f"{each}.caffemodel"
        write_caffemodel(found[each], "", seeded_weights(each, factor=1.0).layers)
    return found


@pytest.mark.parametrize(("name", "ending"), EVERY)
def test_a_port_to_a_form_is_the_same_net(name: str, ending: str, origins: dict[int, Path], tmp_path: Path) -> None:
    origin, ported = origins[depth(name)], tmp_path / f"net{ending}"
    done = port(origin, ported, to=name)
    expected = layout(name).to(seeded_weights(depth(name), factor=1.0))
    with open_arrays(ported) as found:
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            assert found[key].shape == array.shape, key
            assert found[key].array().tobytes() == array.array().tobytes(), key
    assert done.arrays == len(expected)
    assert compare(origin, ported).same
    port(ported, tmp_path / "back.caffemodel", source=name, to="caffe")
    assert compare(ported, tmp_path / "back.caffemodel").same


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("ending", [".pth", ".pt", ".pkl", ".msgpack", ".weights.h5", ".h5", ".onnx", ""])
def test_a_form_that_a_framework_does_not_take_is_refused(
    name: str, ending: str, origins: dict[int, Path], tmp_path: Path
) -> None:
    if ending in ENDINGS[name]:
        return
    with pytest.raises(RequestError) as caught:
        port(origins[depth(name)], tmp_path / f"net{ending}", to=name)
    title, own = LAYOUTS[name].title, ENDINGS[name]
    wanted = f"{', '.join(own[:-1])} or {own[-1]}"
    told = f"weights for {title} are written to a file that ends in {wanted}, not to 'net{ending}'"
    others = [other for other in LAYOUTS if ending in ENDINGS[other]]
    assert told in str(caught.value)
    assert (" is for " in str(caught.value)) == bool(others)
    assert all(other in str(caught.value).partition(" is for ")[2] for other in others)
    assert list(tmp_path.iterdir()) == []


def test_mmengine_finds_meta_and_state_dict(origins: dict[int, Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    port(origins[18], tmp_path / "net.pth", to="mmdet")
    found = torch.load(tmp_path / "net.pth", weights_only=True)
    assert list(found) == ["meta", "state_dict"]
    assert isinstance(found["meta"], dict)
    assert "backbone.layer1.0.conv1.weight" in found["state_dict"]


def test_detectron2_finds_what_makes_it_translate_the_names(origins: dict[int, Path], tmp_path: Path) -> None:
    """`DetectionCheckpointer` takes "Caffe2" for names to be translated, where heuristics are allowed."""
    torch = pytest.importorskip("torch")
    for ending in (".pkl", ".pth"):
        path = tmp_path / f"net{ending}"
        port(origins[18], path, to="detectron2")
        if ending == ".pth":
            found: Any = torch.load(path, weights_only=True)
        else:
            found = pickle.loads(path.read_bytes(), encoding="latin1")
        assert (found["__author__"], found["matching_heuristics"]) == ("Caffe2", True)
        assert "res2_0_branch2a_bn_s" in found["model"]
        assert {str(array.dtype) for array in found["model"].values()} <= {"float32", "torch.float32"}


def test_a_bias_of_conv1_that_detectron2_does_not_read_is_passed_over(origins: dict[int, Path], tmp_path: Path) -> None:
    port(origins[18], tmp_path / "net.pkl", to="detectron2")
    found = pickle.loads((tmp_path / "net.pkl").read_bytes())
    found["model"] |= {"conv1_b": np.zeros(64, np.float32), "conv1_w_momentum": np.zeros((64, 3, 7, 7), np.float32)}
    (tmp_path / "more.pkl").write_bytes(pickle.dumps(found, 2))
    assert compare(origins[18], tmp_path / "more.pkl").same


def test_a_checkpoint_of_a_wrapped_model_in_half_precision_is_ported(origins: dict[int, Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    port(origins[18], tmp_path / "net.pth", to="torchvision")
    state = torch.load(tmp_path / "net.pth", weights_only=True)
    wrapped = {f"module.{name}": tensor.half() for name, tensor in state.items()}
    wrapped["module.bn1.num_batches_tracked"] = torch.tensor(7)
    torch.save({"epoch": 90, "state_dict": wrapped, "optimizer": {}}, tmp_path / "model_best.pth.tar")
    port(tmp_path / "model_best.pth.tar", tmp_path / "back.caffemodel", source="torchvision", to="caffe")
    assert compare(origins[18], tmp_path / "back.caffemodel", tolerance=2e-3).same
    assert not compare(origins[18], tmp_path / "back.caffemodel").same


@pytest.mark.parametrize("ending", [".npz", ".pth", ".pkl", ".msgpack", ".weights.h5"])
def test_weights_that_fail_while_they_are_written_leave_no_file(ending: str, tmp_path: Path) -> None:
    from weights.layouts.arrays import LazyArray, held
    from weights.layouts.forms.writing import write_arrays

    def fail() -> Any:
        raise fault("w.caffemodel", "is cut short")

    name = next(name for name, endings in ENDINGS.items() if ending in endings)
    arrays = {key: held(array.array()) for key, array in layout(name).to(seeded_weights(depth(name))).items()}
    arrays[list(arrays)[-1]] = LazyArray((1000,), fail)
    (tmp_path / f"old{ending}").write_bytes(b"older")
    for path in (tmp_path / f"new{ending}", tmp_path / f"old{ending}"):
        with pytest.raises(WeightsError, match=r"w\.caffemodel: error: is cut short"):
            write_arrays(path, arrays, layout(name))
    assert [path.name for path in tmp_path.iterdir()] == [f"old{ending}"]
    assert (tmp_path / f"old{ending}").read_bytes() == b"older"
