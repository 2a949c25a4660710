"""A small Caffe net, and the same net as ONNX and PyTorch models written by hand; nothing comes from a converter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prototxt import Net, parse_net
from weights import ArrayWeights

Array = npt.NDArray[np.float32]
NET = """
name: "handmade"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "score" type: "InnerProduct" bottom: "conv" top: "score" inner_product_param { num_output: 7 } }
layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
"""
TOPS = [
    ["data", "in", "data"],
    ["c", "conv", "conv"],
    ["r", "relu", "conv"],
    ["s", "score", "score"],
    ["prob", "prob", "prob"],
]
INPUT_SHAPE = (2, 3, 9, 8)


def net(path: str = "handmade.prototxt") -> Net:
    return parse_net(NET, path)


def parameters() -> dict[str, list[Array]]:
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    return {"conv": [normal(5, 3, 3, 3), normal(5)], "score": [normal(7, 60) / np.float32(200), normal(7)]}


def weights() -> ArrayWeights:
    return ArrayWeights(parameters())


def feeds(seed: int = 4) -> dict[str, Array]:
    return {"data": np.random.default_rng(seed).standard_normal(INPUT_SHAPE).astype(np.float32)}


def write_onnx(
    path: Path,
    *,
    tops: list[list[str]] | None = TOPS,
    learned: dict[str, list[Array]] | None = None,
    metadata: dict[str, str] | None = None,
    external: bool = False,
    mean: float | None = None,
    names: tuple[str, str] = ("data", "prob"),
) -> Path:
    """The net in ONNX operators; with `mean`, RGB less that mean is what the net sees."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    learned = learned or parameters()
    x, y = names
    arrays = {
        "cw": learned["conv"][0],
        "cb": learned["conv"][1],
        "sw": learned["score"][0],
        "sb": learned["score"][1],
    }
    nodes = []
    start = x
    if mean is not None:
        arrays |= {"mean": np.float32([mean]), "bgr": np.array([2, 1, 0])}
        nodes += [helper.make_node("Gather", [x, "bgr"], ["bgr_image"], axis=1)]
        nodes += [helper.make_node("Sub", ["bgr_image", "mean"], ["image"])]
        start = "image"
    nodes += [
        helper.make_node("Conv", [start, "cw", "cb"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "sw", "sb"], ["s"], transB=1),
        helper.make_node("Softmax", ["s"], [y], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["N", 3, 9, 8])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", 7])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    said = {} if tops is None else {"resnet_convert.tops": json.dumps(tops)}
    helper.set_model_props(model, said | (metadata or {}))
    where = {"save_as_external_data": True, "location": "w.data", "size_threshold": 0} if external else {}
    onnx.save(model, str(path), **where)
    return path


MODEL = """
import torch
import torch.nn.functional as F
from pathlib import Path
from safetensors.torch import load_file
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.score = nn.Linear(60, 7)

    def forward(self, data):
        # data: 2×3×9×8
        conv = self.conv(data)
        conv = F.relu(conv{inplace})
        flat = conv.flatten(1)
        score = self.score(
            flat
        )
        prob = F.softmax(score, 1)
        return {returned}


def load(weights=Path(__file__).with_name("model.safetensors")):
    model = Model()
    model.load_state_dict(load_file(weights))
    return model.eval()
"""
TORCH_TOPS: list[list[str] | None] = [
    ["conv", "conv"],
    ["relu", "conv"],
    None,
    ["score", "score"],
    ["prob", "prob"],
]


def write_torch(
    folder: Path,
    *,
    tops: list[list[str] | None] | None = TORCH_TOPS,
    learned: dict[str, list[Array]] | None = None,
    source: str = MODEL,
    inplace: str = "",
    returned: str = "prob",
    metadata: dict[str, str] | None = None,
) -> Path:
    """The net as a folder with model.py and model.safetensors."""
    from safetensors.numpy import save_file

    learned = learned or parameters()
    folder.mkdir(parents=True, exist_ok=True)
    text = source.replace("{inplace}", inplace).replace("{returned}", returned)
    (folder / "model.py").write_text(text, encoding="utf-8")
    parts = ("weight", "bias")
    state = {f"{layer}.{part}": learned[layer][place] for layer in learned for place, part in enumerate(parts)}
    said = {} if tops is None else {"resnet_convert.tops": json.dumps(tops)}
    save_file(state, str(folder / "model.safetensors"), metadata=said | (metadata or {}))
    return folder
