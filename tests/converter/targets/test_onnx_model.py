"""The ONNX file: one normal ModelProto, checked, named after Caffe's layers, the same bytes every time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from converter.api import convert, prepare
from converter.graph import Graph
from converter.options import Options
from converter.targets.onnx_model import DEFAULT_OPSET, OnnxModel, emit_onnx, newest_opset
from converter.targets.writers import write_onnx
from prototxt import load_net, parse_net
from prototxt.errors import RequestError
from prototxt.version import VERSION
from tests.converter.layers.test_rarer_agreement import layer, net_of, random
from tests.golden import LAYERS, GoldenCase
from weights import open_weights

CASE = GoldenCase(LAYERS / "conv_bn_scale_relu")


DOCS = [
    "y (Convolution) net.prototxt:3",
    "bn (BatchNorm) net.prototxt:4, sc (Scale) net.prototxt:5",
    "r (ReLU) net.prototxt:6",
]


def model_of(case: GoldenCase = CASE, **options: object) -> tuple[Graph, OnnxModel]:
    weights = open_weights(case.weights) if case.weights else None
    graph = prepare(load_net(case.net), weights, Options(**options)).graph  # type: ignore[arg-type]
    return graph, emit_onnx(graph)


def test_the_file_is_what_onnx_itself_would_write(tmp_path: Path) -> None:
    _, model = model_of()
    write_onnx(model, tmp_path / "m.onnx")
    loaded = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(loaded, full_check=True)
    whole = onnx.ModelProto()
    whole.CopyFrom(model.proto)
    for name, values in model.initializers:
        array = values if isinstance(values, np.ndarray) else values.load().reshape(tuple(map(int, values.shape)))
        whole.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    assert loaded == whole


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert(CASE.net, CASE.weights, output=tmp_path / f"{name}.onnx")
        convert(CASE.net, CASE.weights, to="torch", output=tmp_path / name)
        convert(CASE.net, CASE.weights, to="npz", output=tmp_path / f"{name}.npz")
        convert(CASE.net, CASE.weights, to="hdf5", output=tmp_path / f"{name}.h5")
    for suffix in (".onnx", ".npz", ".h5", "/model.py", "/model.safetensors"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_weights_are_never_graph_inputs() -> None:
    _, model = model_of()
    names = {name for name, _ in model.initializers}
    assert names.isdisjoint(i.name for i in model.proto.graph.input)
    assert [i.name for i in model.proto.graph.input] == ["x"]


def test_names_and_notes_lead_back_to_the_layers() -> None:
    _, model = model_of()
    proto = model.proto
    assert [n.doc_string for n in proto.graph.node] == DOCS
    metadata = {p.key: p.value for p in proto.metadata_props}
    assert metadata["resnet_convert.source"] == "net.prototxt"
    tops = json.loads(metadata["resnet_convert.tops"])
    layers = {layer.name: layer.tops for layer in load_net(CASE.net).layers}
    assert all(top in layers[layer] for _, layer, top in tops)
    made = {v for n in proto.graph.node for v in n.output} | {i.name for i in proto.graph.input}
    assert {value for value, _, _ in tops} <= made
    assert {v.name for v in proto.graph.value_info} <= made


@pytest.mark.parametrize("opset", [12, newest_opset() + 1])
def test_an_opset_outside_the_range_is_refused(opset: int) -> None:
    graph, _ = model_of()
    with pytest.raises(RequestError, match=f"opset {opset}; expected 13 to {newest_opset()}"):
        emit_onnx(graph, opset=opset)


def test_the_default_opset_is_written_with_the_oldest_ir_that_has_it() -> None:
    _, model = model_of()
    assert model.proto.opset_import[0].version == DEFAULT_OPSET == 13
    assert model.proto.ir_version == 7


def test_a_large_model_puts_its_weights_beside_it(tmp_path: Path) -> None:
    case = GoldenCase(LAYERS / "conv_3d")
    _, model = model_of(case)
    write_onnx(model, tmp_path / "small.onnx")
    files = write_onnx(model, tmp_path / "large.onnx", largest=100)
    assert [f.name for f in files] == ["large.onnx", "large.onnx.data"]
    feeds = case.feeds()
    results = [
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for name in ("small.onnx", "large.onnx")
    ]
    assert np.array_equal(*results)


def test_the_sizes_of_a_split_into_many_steps_stay_in_a_large_model(tmp_path: Path) -> None:
    """Onnxruntime infers shapes without the other file, and refuses a Split whose sizes lie there."""
    feeds = {"x": random(1, 130, 40), "y": np.ones((130, 1), np.float32)}
    net = net_of(layer("Lstm", "lstm_param { num_output: 3 }", "x y"), feeds)
    model = emit_onnx(prepare(net, None, Options(random_weights=1)).graph)
    write_onnx(model, tmp_path / "small.onnx")
    write_onnx(model, tmp_path / "large.onnx", largest=100)
    small, large = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for name in ("small.onnx", "large.onnx")
    )
    assert np.array_equal(small, large)
    tensors = onnx.load(tmp_path / "large.onnx", load_external_data=False).graph.initializer
    assert {t.data_type for t in tensors if t.external_data} == {onnx.TensorProto.FLOAT}


def test_an_output_that_is_an_input_in_place_gets_a_name_of_its_own(tmp_path: Path) -> None:
    net = parse_net(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
           layer { name: "relu" type: "ReLU" bottom: "data" top: "data" }"""
    )
    graph = prepare(net, None, Options()).graph
    write_onnx(emit_onnx(graph), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].name == "data"
    assert session.get_outputs()[0].name == "data/relu"
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    assert np.array_equal(session.run(None, {"data": x})[0], np.maximum(x, 0))


def test_layers_that_do_nothing_leave_no_operator() -> None:
    net = parse_net(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
           layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }
           layer { name: "drop" type: "Dropout" bottom: "a" top: "a" }
           layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }"""
    )
    model = emit_onnx(prepare(net, None, Options()).graph)
    assert [(n.op_type, list(n.input)) for n in model.proto.graph.node] == [("Add", ["data", "data"])]


@pytest.mark.parametrize(
    ("kind", "params", "shape"),
    [
        ("BatchNorm", "batch_norm_param { use_global_stats: false }", (3, 2, 4, 5)),
        ("BatchNorm", "batch_norm_param { use_global_stats: false }", (3, 2, 4, 5, 6)),
        ("BN", "bn_param { moving_average: false }", (3, 2, 4, 5)),
    ],
)
def test_three_axes_with_another_between_them_are_not_reduced_at_once(
    kind: str, params: str, shape: tuple[int, ...]
) -> None:
    # OpenCV 5 mixes up what it reduces over axes 0, 2 and 3 of three items and more.
    net = net_of(layer(kind, params), {"x": random(0, *shape)})
    model = emit_onnx(prepare(net, None, Options(random_weights=0)).graph, opset=13).proto
    means = [node.attribute for node in model.graph.node if node.op_type == "ReduceMean"]
    reduced = [list(next(a.ints for a in attributes if a.name == "axes")) for attributes in means]
    assert reduced == 2 * [list(range(2, len(shape))), [0]]


def test_outputs_keep_their_order_and_may_be_any_blob() -> None:
    _, model = model_of(GoldenCase(LAYERS / "net_inplace_chain"), outputs=["y", "h"])
    assert [o.name for o in model.proto.graph.output] == ["y", "h"]


def test_a_free_axis_is_named_in_the_model() -> None:
    case = GoldenCase(LAYERS / "conv_basic")
    fixed = tuple(map(int, case.feeds()["x"].shape[1:]))
    _, model = model_of(case, input_shapes={"x": ("N", *fixed)})
    dims = list(model.proto.graph.output[0].type.tensor_type.shape.dim)
    assert dims[0].dim_param == "N"
    assert all(d.dim_value > 0 for d in dims[1:])


PASSING = {
    "Dropout": "",
    "Split": "",
    "Concat": "",
    "Slice": "",
    "Reshape": "reshape_param { shape { dim: 0 dim: 2 dim: 5 dim: 4 } }",
    "Flatten": "flatten_param { axis: 1 end_axis: 1 }",
}
PADDING = {
    "convolution": 'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 pad: 1 }',
    "average": 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }',
    "maximum": 'type: "Pooling" pooling_param { kernel_size: 2 stride: 2 pad: 1 }',
}


@pytest.mark.parametrize("reader", PADDING)
@pytest.mark.parametrize("passing", PASSING)
def test_onnxruntime_loads_an_output_that_a_padding_layer_reads_by_another_name(
    passing: str, reader: str, tmp_path: Path
) -> None:
    net = parse_net(
        f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 3 dim: 2 dim: 5 dim: 4 }} }} }}
            layer {{ name: "r" type: "TanH" bottom: "x" top: "r" }}
            layer {{ name: "s" type: "{passing}" bottom: "r" top: "s" {PASSING[passing]} }}
            layer {{ name: "t" type: "Dropout" bottom: "s" top: "t" }}
            layer {{ name: "c" bottom: "r" top: "c" {PADDING[reader]} }}"""
    )
    model = emit_onnx(prepare(net, None, Options(random_weights=0, outputs=["s", "c", "t"])).graph)
    write_onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    x = np.linspace(-2, 2, 120, dtype=np.float32).reshape(3, 2, 5, 4)
    s, _, t = session.run(None, {"x": x})
    assert np.allclose(s, np.tanh(x), atol=1e-6)
    assert np.array_equal(s, t)


def test_an_output_gives_its_name_to_the_value_that_it_passes_on() -> None:
    net = parse_net(
        """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
           layer { name: "r" type: "TanH" bottom: "x" top: "r" }
           layer { name: "s" type: "Split" bottom: "r" top: "s" top: "t" }
           layer { name: "u" type: "AbsVal" bottom: "r" top: "u" }"""
    )
    model = emit_onnx(prepare(net, None, Options()).graph)
    made = [(n.op_type, list(n.input), list(n.output)) for n in model.proto.graph.node]
    assert made == [("Tanh", ["x"], ["s"]), ("Identity", ["s"], ["t"]), ("Abs", ["s"], ["u"])]
    (tops,) = [p.value for p in model.proto.metadata_props if p.key == "resnet_convert.tops"]
    assert json.loads(tops)[1:4] == [["s", "r", "r"], ["s", "s", "s"], ["t", "s", "t"]]


def test_the_model_names_the_tools_version_and_what_it_was_made_from(tmp_path: Path) -> None:
    assert CASE.weights is not None
    convert(CASE.net, CASE.weights, output=tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    assert (model.producer_name, model.producer_version) == ("resnet-convert", VERSION)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["resnet_convert.inputs"]) == [
        {"file": path.name, "bytes": path.stat().st_size} for path in (CASE.net, CASE.weights)
    ]
