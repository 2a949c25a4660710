"""What of a model is handed to onnxruntime, and what stays in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from converter.targets.writers import write_onnx
from tests.converter.layers.test_rarer_agreement import layer, net_of, random
from verify.engines.mapped import mapped


def test_the_sizes_of_a_split_into_many_steps_stay_in_the_graph_that_is_checked(tmp_path: Path) -> None:
    """A graph whose Split has its sizes elsewhere is not loaded by onnxruntime."""
    feeds = {"x": random(1, 130, 40), "y": np.ones((130, 1), np.float32)}
    net = net_of(layer("Lstm", "lstm_param { num_output: 3 }", "x y"), feeds)
    graph = prepare(net, None, Options(random_weights=1)).graph
    write_onnx(emit_onnx(graph), tmp_path / "net.onnx")
    tensors = onnx.load_model_from_string(mapped(tmp_path / "net.onnx")).graph.initializer
    lies_outside = {(t.data_type, bool(t.external_data)) for t in tensors if np.prod(t.dims) > 128}
    assert lies_outside == {(onnx.TensorProto.INT64, False), (onnx.TensorProto.FLOAT, True)}
