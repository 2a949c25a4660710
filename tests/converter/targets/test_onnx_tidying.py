"""What a layer undoes or repeats of another is not in the file; what is asked for still is, with its numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from converter.api import prepare
from converter.dims import Shape
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from converter.targets.writers import write_onnx
from prototxt import parse_net

X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
TO_NHWC = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
TO_NCHW = "permute_param { order: 0 order: 3 order: 1 order: 2 }"


def permute(bottom: str, top: str, param: str) -> str:
    return f'layer {{ name: "{top}" type: "Permute" bottom: "{bottom}" top: "{top}" {param} }}\n'


def layer(kind: str, bottom: str, top: str, param: str = "") -> str:
    return f'layer {{ name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {param} }}\n'


def written(
    layers: str, folder: Path, outputs: Sequence[str] = (), shape: Shape = X.shape
) -> tuple[list[str], set[str], dict[str, npt.NDArray[np.float32]]]:
    """The operators of a net's file, the blobs that it holds, and its outputs."""
    text = 'layer { name: "x" type: "Input" top: "x" }\n' + layers
    options = Options(input_shapes={"x": shape}, outputs=list(outputs))
    path = folder / "model.onnx"
    write_onnx(emit_onnx(prepare(parse_net(text, "net.prototxt"), None, options).graph), path)
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    tops = json.loads({p.key: p.value for p in model.metadata_props}["resnet_convert.tops"])
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    results = session.run(None, {"x": X})
    return [n.op_type for n in model.graph.node], {top for *_, top in tops}, dict(zip(names, results, strict=True))


@pytest.mark.parametrize("batch", [2, "N"])
def test_a_transpose_that_puts_back_what_one_moved_is_gone_with_it(batch: int | str, tmp_path: Path) -> None:
    layers = permute("x", "a", TO_NHWC) + permute("a", "b", TO_NCHW) + layer("AbsVal", "b", "y")
    kinds, blobs, outputs = written(layers, tmp_path, shape=(batch, *X.shape[1:]))  # type: ignore[arg-type]
    assert kinds == ["Abs"]
    assert blobs == {"x", "b", "y"}
    assert np.array_equal(outputs["y"], np.abs(X))


def test_two_transposes_are_one_of_both_orders(tmp_path: Path) -> None:
    layers = permute("x", "a", TO_NHWC) + permute("a", "y", "permute_param { order: 2 order: 0 order: 1 order: 3 }")
    kinds, blobs, outputs = written(layers, tmp_path)
    assert kinds == ["Transpose"]
    assert blobs == {"x", "y"}
    assert np.array_equal(outputs["y"], X.transpose(0, 2, 3, 1).transpose(2, 0, 1, 3))


def test_a_transpose_that_another_reads_stays(tmp_path: Path) -> None:
    layers = permute("x", "a", TO_NHWC) + permute("a", "b", TO_NCHW)
    layers += layer("AbsVal", "a", "y") + layer("AbsVal", "b", "z")
    kinds, _, outputs = written(layers, tmp_path)
    assert sorted(kinds) == ["Abs", "Abs", "Transpose"]
    assert np.array_equal(outputs["y"], np.abs(X.transpose(0, 2, 3, 1)))
    assert np.array_equal(outputs["z"], np.abs(X))


def test_blobs_that_are_outputs_stay(tmp_path: Path) -> None:
    layers = permute("x", "a", TO_NHWC) + permute("a", "b", TO_NCHW)
    kinds, _, outputs = written(layers, tmp_path, outputs=["a", "b"])
    assert kinds == ["Transpose", "Transpose"]
    assert np.array_equal(outputs["a"], X.transpose(0, 2, 3, 1))
    assert np.array_equal(outputs["b"], X)


def test_four_that_undo_each_other_leave_nothing(tmp_path: Path) -> None:
    layers = "".join(
        permute(bottom, top, order)
        for bottom, top, order in (("x", "a", TO_NHWC), ("a", "b", TO_NCHW), ("b", "c", TO_NHWC), ("c", "d", TO_NCHW))
    )
    kinds, blobs, outputs = written(layers + layer("AbsVal", "d", "y"), tmp_path)
    assert kinds == ["Abs"]
    assert blobs == {"x", "b", "d", "y"}
    assert np.array_equal(outputs["y"], np.abs(X))


def test_what_two_layers_compute_alike_is_computed_once(tmp_path: Path) -> None:
    layers = layer("Power", "x", "a", "power_param { shift: 2 }") + layer("Power", "x", "b", "power_param { shift: 2 }")
    layers += layer("AbsVal", "a", "c") + layer("TanH", "b", "y")
    layers += 'layer { name: "z" type: "Eltwise" bottom: "c" bottom: "a" top: "z" }\n'
    kinds, blobs, outputs = written(layers, tmp_path)
    assert kinds.count("Add") == 2  # of both powers, and of the sum
    assert {"a", "b"} <= blobs
    np.testing.assert_allclose(outputs["y"], np.tanh(X + 2), rtol=1e-6)


def test_outputs_alike_are_both_there(tmp_path: Path) -> None:
    layers = layer("AbsVal", "x", "a") + layer("AbsVal", "x", "b")
    kinds, _, outputs = written(layers, tmp_path)
    assert kinds == ["Abs", "Abs"]
    assert np.array_equal(outputs["a"], outputs["b"])


SLICE = "slice_param { slice_point: 1 }"


def sliced(name: str, tops: Sequence[str]) -> str:
    wanted = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "{name}" type: "Slice" bottom: "x" {wanted} {SLICE} }}\n'


def test_of_layers_alike_the_first_gives_the_outputs_of_both(tmp_path: Path) -> None:
    layers = sliced("s", ["a", "b"]) + sliced("t", ["c", "d"])
    layers += layer("AbsVal", "b", "y") + layer("TanH", "c", "z") + layer("TanH", "a", "w")
    kinds, blobs, outputs = written(layers, tmp_path)
    assert list(outputs) == ["d", "y", "z", "w"]
    assert sorted(kinds) == ["Abs", "Split", "Tanh", "Tanh"]  # both TanH are outputs
    assert {"a", "b", "c", "d"} <= blobs
    assert np.array_equal(outputs["d"], X[:, 1:])
    assert np.array_equal(outputs["y"], np.abs(X[:, 1:]))
    np.testing.assert_allclose(outputs["z"], np.tanh(X[:, :1]), rtol=1e-6)
    assert np.array_equal(outputs["w"], outputs["z"])


def test_a_third_alike_whose_top_is_an_output_stays(tmp_path: Path) -> None:
    layers = sliced("s", ["a", "b"]) + sliced("t", ["c", "d"]) + sliced("u", ["e", "f"])
    layers += "".join(layer("AbsVal", top, f"{top}_abs") for top in "abce")
    kinds, _, outputs = written(layers, tmp_path)
    assert kinds.count("Split") == 2
    assert np.array_equal(outputs["d"], X[:, 1:])
    assert np.array_equal(outputs["f"], X[:, 1:])
    assert np.array_equal(outputs["e_abs"], np.abs(X[:, :1]))


def test_a_top_that_only_a_silence_reads_is_not_computed(tmp_path: Path) -> None:
    layers = 'layer { name: "p" type: "Pooling" bottom: "x" top: "y" top: "mask" pooling_param { kernel_size: 2 } }\n'
    layers += 'layer { name: "s" type: "Silence" bottom: "mask" }\n'
    kinds, blobs, outputs = written(layers, tmp_path)
    assert kinds == ["MaxPool"]
    assert blobs == {"x", "y"}
    assert outputs.keys() == {"y"}


def test_a_blob_in_another_shape_stays_for_a_check_to_see(tmp_path: Path) -> None:
    layers = layer("Flatten", "x", "a") + layer("Reshape", "a", "y", "reshape_param { shape { dim: 6 dim: 20 } }")
    kinds, blobs, outputs = written(layers, tmp_path)
    assert kinds == ["Flatten", "Reshape"]
    assert blobs == {"x", "a", "y"}
    assert np.array_equal(outputs["y"], X.reshape(6, 20))
