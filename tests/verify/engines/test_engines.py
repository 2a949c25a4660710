"""Engines show every blob under its layer and top, and turn what goes wrong in a model into one plain error."""

from __future__ import annotations

import json
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from prototxt import load_net, parse_net
from prototxt.errors import MissingDependencyError, RequestError
from verify.engines.engine import TOPS
from verify.engines.onnx import OnnxRuntime, more_outputs
from verify.engines.opencv import OpenCv
from verify.engines.opening import open_model
from verify.engines.pycaffe import PyCaffe
from verify.engines.torch import TorchModel
from weights import LayerRecord, blob_from_array, write_caffemodel

Array = npt.NDArray[np.float32]
X = np.arange(6, dtype=np.float32).reshape(1, 2, 3) - 2


def onnx_file(path: Path, metadata: Mapping[str, str], *, outside: bool = False) -> Path:
    """y = relu(x + w), z = y * w, with w = 10, 20, 30."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "w"], ["sum"]),
            helper.make_node("Relu", ["sum"], ["y"]),
            helper.make_node("Mul", ["y", "w"], ["z"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 3])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2, 3])],
        [numpy_helper.from_array(np.float32([10, 20, 30]), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    more = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0} if outside else {}
    onnx.save_model(model, str(path), **more)
    return path


LISTED = {
    TOPS: json.dumps(
        [["x", "in", "x"], ["sum", "add", "s"], ["y", "relu", "s"], ["y", "split", "t"], ["z", "mul", "z"]]
    )
}


@pytest.mark.parametrize("outside", [False, True])
def test_onnxruntime_shows_every_value_that_the_model_names(outside: bool, tmp_path: Path) -> None:
    engine = OnnxRuntime(onnx_file(tmp_path / "m.onnx", LISTED, outside=outside))
    before = sorted(p.name for p in tmp_path.iterdir())
    assert [(i.name, i.shape) for i in engine.inputs] == [("x", (None, 2, 3))]
    answers = engine.run({"x": X})
    total = X + np.float32([10, 20, 30])
    assert answers.tops["add", "s"].tolist() == total.tolist()
    assert answers.tops["relu", "s"].tolist() == answers.tops["split", "t"].tolist() == np.maximum(total, 0).tolist()
    assert answers.tops["mul", "z"].tolist() == answers.outputs["z"].tolist()
    assert answers.notes == ()
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_an_onnx_file_of_another_maker_gives_its_outputs_and_says_why(tmp_path: Path) -> None:
    answers = OnnxRuntime(onnx_file(tmp_path / "m.onnx", {})).run({"x": X})
    assert answers.tops == {}
    assert list(answers.outputs) == ["z"]
    assert "only its outputs are compared" in answers.notes[0]


def test_an_onnx_file_whose_graph_lost_a_named_value_gives_its_outputs(tmp_path: Path) -> None:
    metadata = {TOPS: json.dumps([["gone", "conv", "conv"], ["z", "mul", "z"]])}
    answers = OnnxRuntime(onnx_file(tmp_path / "m.onnx", metadata)).run({"x": X})
    assert "lost blobs" in answers.notes[0]
    assert list(answers.outputs) == ["z"]


def test_outputs_appended_to_a_model_s_bytes_are_merged_into_its_graph(tmp_path: Path) -> None:
    import onnx

    long = "n" * 300  # a length of two bytes
    whole = onnx_file(tmp_path / "m.onnx", {}).read_bytes() + more_outputs(["sum", long])
    model = onnx.ModelProto.FromString(whole)
    assert [o.name for o in model.graph.output] == ["z", "sum", long]
    assert len(model.graph.node) == 3


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x08\x08" * 50])
def test_a_file_that_is_no_onnx_model_is_one_error_with_its_path(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"broken\.onnx: error: onnxruntime cannot load it"):
        OnnxRuntime(path)


@pytest.mark.parametrize("tops", ["{", "3", '[["x"]]', "[[1, 2, 3]]"])
def test_damaged_metadata_is_told_as_such(tops: str, tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "m.onnx", {TOPS: tops})
    with pytest.raises(RequestError, match="its metadata"):
        OnnxRuntime(path)


def test_feeds_of_a_wrong_shape_are_the_requests_fault(tmp_path: Path) -> None:
    engine = OnnxRuntime(onnx_file(tmp_path / "m.onnx", LISTED))
    with pytest.raises(RequestError, match="cannot run it"):
        engine.run({"x": np.zeros((1, 5, 7), np.float32)})


MODEL = """
from pathlib import Path
import torch
from torch import nn
from safetensors.torch import load_file

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, in_put):
        total = in_put + \\
            self.scale
        # statements may span lines, and a variable may be used again
        total = torch.relu(total)
        total.mul_(2)
        {more}
        product = total * self.scale
        return {result}

def load(weights=Path(__file__).with_name("model.safetensors")):
    model = Model()
    model.load_state_dict(load_file(weights))
    return model.eval()
"""


def torch_folder(folder: Path, tops: object, *, more: str = "", result: str = "product") -> Path:
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "model.py").write_text(MODEL.format(more=more, result=result))
    weights = {"scale": np.float32([10, 20, 30])}
    save_file(weights, folder / "model.safetensors", {TOPS: json.dumps(tops)})
    return folder


THREE = [["add", "s"], ["relu", "s"], ["mul", "out"]]


def test_torch_shows_each_assignment_as_it_was_before_later_statements_changed_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    engine = TorchModel(torch_folder(tmp_path / "m", THREE))
    assert [i.name for i in engine.inputs] == ["in_put"]
    modules = set(sys.modules)
    answers = engine.run({"in/put": X})
    total = X + np.float32([10, 20, 30])
    assert answers.tops["add", "s"].tolist() == total.tolist()
    assert answers.tops["relu", "s"].tolist() == np.maximum(total, 0).tolist()
    assert answers.outputs["out"].tolist() == answers.tops["mul", "out"].tolist()
    assert answers.notes == ()
    assert set(sys.modules) == modules


def test_an_intermediate_statement_is_null_in_the_list_and_no_blob(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    answers = TorchModel(torch_folder(tmp_path / "m", [None, ["relu", "s"], ["mul", "out"]])).run({"x": X})
    assert list(answers.tops) == [("relu", "s"), ("mul", "out")]


def test_a_forward_that_was_edited_gives_its_outputs_only(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = torch_folder(tmp_path / "m", THREE, more="total = total + 1", result="{'out': product}")
    answers = TorchModel(folder).run({"x": X})
    assert answers.tops == {}
    assert list(answers.outputs) == ["out"]
    assert "model.py was changed since its conversion (4 assignments, 3 expected)" in answers.notes[0]


def test_an_error_in_model_py_names_its_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = torch_folder(tmp_path / "m", THREE, more="raise ValueError('no\\nluck')")
    with pytest.raises(RequestError, match=r"model\.py:18: error: fails to run: ValueError: no$"):
        TorchModel(folder).run({"x": X})


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.py", b"def (", "is no Python source"),
        ("model.py", b"\x00", "is no Python source"),
        ("model.py", b"x = 1", r"has no function load\(\)"),
        ("model.py", b"import not_there_at_all", "ModuleNotFoundError"),
        ("model.safetensors", b"", "no safetensors file"),
        ("model.safetensors", b"\xff" * 40, "no safetensors file"),
        ("model.safetensors", b"\x02" + b"\x00" * 7 + b"[]", "no safetensors file"),
    ],
)
def test_a_damaged_folder_is_one_error_with_its_path(file: str, content: bytes, message: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = torch_folder(tmp_path / "m", THREE)
    (folder / file).write_bytes(content)
    with pytest.raises(RequestError, match=message):
        TorchModel(folder)


@pytest.mark.parametrize("name", ["gone.onnx", "model.txt"])
def test_what_is_no_model_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("hello")
    with pytest.raises(RequestError, match=r"no such file|onnxruntime cannot load it"):
        open_model(tmp_path / name)


@pytest.mark.parametrize(("package", "engine"), [("onnxruntime", "m.onnx"), ("torch", "m")])
def test_a_missing_runtime_is_told_with_the_command_that_installs_it(
    package: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx_file(tmp_path / "m.onnx", LISTED)
    torch_folder(tmp_path / "m", THREE)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {package}"):
        open_model(tmp_path / engine)


NET = """
name: 'judged'
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 2 dim: 5 dim: 4 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' convolution_param { num_output: 3 kernel_size: 2 } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool' pooling_param { kernel_size: 2 stride: 2 } }
"""


def caffe_files(folder: Path) -> tuple[Path, Path, Array, Array]:
    """A net, its weights, and what those are."""
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((3, 2, 2, 2)).astype(np.float32)
    bias = rng.standard_normal(3).astype(np.float32)
    (folder / "net.prototxt").write_text(NET)
    record = LayerRecord("conv", "Convolution", (blob_from_array(weight), blob_from_array(bias)))
    write_caffemodel(folder / "net.caffemodel", "judged", [record])
    return folder / "net.prototxt", folder / "net.caffemodel", weight, bias


def convolved(x: Array, weight: Array, bias: Array) -> npt.NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (2, 2), axis=(2, 3))
    return np.einsum("ncijhw,ochw->noij", windows, weight) + bias[:, None, None]


def test_opencv_shows_each_layer_in_place_steps_apart(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe files")
    text, learned, weight, bias = caffe_files(tmp_path)
    x = np.random.default_rng(1).standard_normal((1, 2, 5, 4)).astype(np.float32)
    answers = OpenCv(load_net(text), str(learned)).run({"data": x})
    expected = convolved(x, weight, bias)
    np.testing.assert_allclose(answers.tops["conv", "conv"], expected, atol=1e-5)
    np.testing.assert_allclose(answers.tops["relu", "conv"], np.maximum(expected, 0), atol=1e-5)
    assert answers.tops["pool", "pool"].shape == (1, 3, 2, 2)


def test_opencv_judges_a_convolution_whose_top_has_another_name(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("this OpenCV reads no Caffe files")
    text, learned, weight, bias = caffe_files(tmp_path)
    text.write_text(re.sub(r"(top|bottom): (.)conv.", r"\1: \2maps\2", NET))
    x = np.random.default_rng(1).standard_normal((1, 2, 5, 4)).astype(np.float32)
    answers = OpenCv(load_net(text), str(learned)).run({"data": x})
    assert list(answers.tops) == [("conv", "maps"), ("relu", "maps"), ("pool", "pool")]
    np.testing.assert_allclose(answers.tops["conv", "maps"], convolved(x, weight, bias), atol=1e-5)


def test_opencv_s_refusal_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    text, learned, _, _ = caffe_files(tmp_path)
    learned.write_bytes(b"no model")
    with pytest.raises(RequestError, match=r"net\.prototxt: error: OpenCV 4\S* cannot read it"):
        OpenCv(load_net(text), str(learned))


class FakeBlob:
    def __init__(self, *shape: int) -> None:
        self.data = np.zeros(shape, np.float32)

    def reshape(self, *shape: int) -> None:
        self.data = np.zeros(shape, np.float32)


class FakeNet:
    """Behaves as caffe.Net does: blobs written in place, a split that Caffe put in, `_forward` by index."""

    def __init__(self, path: str, phase: int, weights: str | None = None) -> None:
        if path == "broken.prototxt":
            raise RuntimeError("Could not open file")
        self.given = (path, phase, weights)
        self.blobs = OrderedDict(data=FakeBlob(1, 2), a=FakeBlob(1, 2), a_split_0=FakeBlob(1, 2))
        self._layer_names = ["data", "double", "add", "a_add_0_split"]
        none: list[str] = []
        self.bottom_names = {"data": none, "double": ["data"], "add": ["a"], "a_add_0_split": ["a"]}
        self.top_names = {"data": ["data"], "double": ["a"], "add": ["a"], "a_add_0_split": ["a_split_0"]}
        self.outputs = ["a_split_0"]
        self.reshaped = 0

    def reshape(self) -> None:
        self.reshaped += 1
        for name in ("a", "a_split_0"):
            self.blobs[name].reshape(*self.blobs["data"].data.shape)

    def _forward(self, first: int, last: int) -> None:
        assert first == last
        a = self.blobs["a"].data
        if first == 0:
            raise AssertionError("a data layer must not run over what was fed")
        if first == 1:
            a[...] = self.blobs["data"].data * 2
        elif first == 2:
            a[...] += 1
        else:
            self.blobs["a_split_0"].data[...] = a


@pytest.fixture
def fake_caffe(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("caffe")
    vars(module).update(Net=FakeNet, TEST=1, set_mode_cpu=lambda: None, __version__="1.0.0")
    monkeypatch.setitem(sys.modules, "caffe", module)
    return module


DOUBLED = parse_net(
    "layer { name: 'data' type: 'Input' top: 'data' } layer { name: 'double' type: 'Power' bottom: 'data' top: 'a' } "
    "layer { name: 'add' type: 'Power' bottom: 'a' top: 'a' }",
    "doubled.prototxt",
)


@pytest.mark.usefixtures("fake_caffe")
def test_pycaffe_shows_each_in_place_step_of_a_reshaped_net() -> None:
    engine = PyCaffe(DOUBLED, "w.caffemodel")
    answers = engine.run({"data": np.float32([[1, 2], [3, 4], [5, 6]])})
    assert engine.name == "Caffe 1.0.0"
    assert answers.tops["double", "a"].tolist() == [[2, 4], [6, 8], [10, 12]]
    assert answers.tops["add", "a"].tolist() == [[3, 5], [7, 9], [11, 13]]
    assert answers.outputs["a_split_0"].tolist() == [[3, 5], [7, 9], [11, 13]]


@pytest.mark.usefixtures("fake_caffe")
def test_pycaffe_s_refusal_is_one_error() -> None:
    with pytest.raises(RequestError, match=r"broken\.prototxt: error: Caffe cannot load it: Could not open file"):
        PyCaffe(parse_net("layer { name: 'x' type: 'Input' top: 'x' }", "broken.prototxt"), None)


def test_without_pycaffe_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caffe", None)
    with pytest.raises(MissingDependencyError, match="pip install caffe"):
        PyCaffe(DOUBLED, None)


def test_an_opencv_without_a_caffe_reader_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="5.0.1"))  # type: ignore[arg-type]
    with pytest.raises(MissingDependencyError, match=r"OpenCV 5\.0\.1 is installed, which reads no Caffe files"):
        OpenCv(DOUBLED, None)
