"""The rarer layers with parameters unlike the golden ones: onnxruntime, torch and the independent interpreter agree.

Also the helpers with which the other test_layers_* files run one layer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from converter.api import prepare
from converter.graph import Graph
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from converter.targets.torch_model import Training, emit_torch, live_module
from converter.training.module import training_graph
from prototxt import Net, parse_net
from prototxt.errors import CaffeModelError, NetError
from tests.golden import assert_close, run_onnx, run_torch
from verify import run
from weights import ArrayWeights, Weights

Array = npt.NDArray[np.float32]
Feeds = dict[str, Array]

SHAPES = {
    "x": (2, 6, 7, 5),
    "y": (2, 6, 7, 5),
    "image": (2, 3, 11, 13),
    "wide": (2, 8, 5, 3),
    "deep": (2, 3, 4, 5, 6),
    "scores": (7, 4),
    "other": (7, 4),
    "marks": (7,),
    "spatial": (2, 1, 7, 5),
    "plane": (2, 7, 5),
    "soft": (7, 4),
    "matrix": (6, 6),
    "small_matrix": (1, 1, 4, 4),
    "flags": (7,),
    "select": (2,),
    "numbers": (3, 5),
    "seq": (5, 2, 3),
    "seq4": (4, 3, 2, 5),
    "cont": (5, 2),
    "cont4": (4, 3),
    "static": (2, 7),
    "h": (1, 2, 6),
    "c": (1, 2, 6),
    "h_flat": (2, 6),
    "item": (9,),
}
WHOLE = {"marks": 4, "spatial": 6, "plane": 6, "select": 2, "numbers": 11}
"""Blobs of whole numbers: below which."""


def layer(kind: str, params: str = "", bottoms: str = "x", tops: str = "out") -> str:
    reads = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    writes = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "it" type: "{kind}" {reads} {writes} {params} }}'


def inputs_of(feeds: Feeds) -> str:
    text = ""
    for name, feed in feeds.items():
        dims = " ".join(f"dim: {d}" for d in feed.shape)
        text += f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    return text


def net_of(text: str, feeds: Feeds) -> Net:
    return parse_net(inputs_of(feeds) + text, "net.prototxt")


def weights_of(*blobs: Array) -> ArrayWeights:
    """The learned blobs of the layer `it`."""
    return ArrayWeights({"it": list(blobs)}, path="w.caffemodel")


def random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def answers(
    text: str, feeds: Feeds, folder: Path, weights: Weights | None = None, opset: int = 13
) -> tuple[Feeds, Feeds]:
    """What onnxruntime and torch make of one layer."""
    net = net_of(text, feeds)
    graph = prepare(net, weights, Options(outputs=list(net.layers[-1].tops))).graph
    return run_onnx(graph, feeds, folder, opset), run_torch(graph, feeds)


def assert_gives(text: str, feeds: Feeds, expected: Array, folder: Path, weights: Weights | None = None) -> None:
    """Both targets give the expected values for the layer's last top."""
    for name, got in zip(("onnx", "torch"), answers(text, feeds, folder, weights), strict=True):
        assert_close(list(got.values())[-1], np.asarray(expected, np.float32), name, 1e-6)


def refusal(text: str, feeds: Feeds, **options: object) -> str:
    """The message with which a layer is refused, without the place and the layer's name."""
    net = net_of(text, feeds)
    asked = Options(random_weights=0, outputs=list(net.layers[-1].tops), **options)  # type: ignore[arg-type]
    with pytest.raises(CaffeModelError) as caught:
        prepare(net, None, asked)
    return str(caught.value)


def assert_both_refuse(text: str, feeds: Feeds, said: tuple[str, str], weights: Weights | None = None) -> None:
    """The converter refuses a layer with the first of two messages, the interpreter with what the second matches."""
    ours, theirs = said
    assert ours in refusal(text, feeds)
    with pytest.raises(NetError, match=theirs):
        run(net_of(text, feeds), weights, feeds)


def feeds_of(text: str) -> Feeds:
    rng = np.random.default_rng(sum(map(ord, text)))
    feeds: Feeds = {}
    for name, shape in SHAPES.items():
        if f'bottom: "{name}"' not in text:
            continue
        values = rng.integers(0, WHOLE[name], shape) if name in WHOLE else rng.standard_normal(shape)
        if name in ("cont", "cont4", "flags"):
            values = rng.random(shape) > 0.4
        if name == "soft":
            values = rng.random(shape)
        feeds[name] = values.astype(np.float32)
    return feeds


LOSS, POOL = "loss_param {{ {} }}".format, "pooling_param {{ {} }}".format
RECURRENT = "recurrent_param {{ num_output: 6 weight_filler {{ type: 'gaussian' std: 0.5 }} {} }}".format
CONV = "convolution_param {{ {} }}".format

CASES = {
    "accuracy of every position": layer("Accuracy", "accuracy_param { top_k: 2 }", "x plane", "all each"),
    "accuracy along the last axis": layer("Accuracy", "accuracy_param { axis: -1 top_k: 3 }", "scores marks"),
    "argmax flat of rank 4": layer("ArgMax", "argmax_param { top_k: 4 }"),
    "argmax flat of single values": layer("ArgMax", "argmax_param { out_max_val: true }", "item"),
    "argmax flat with values": layer("ArgMax", "argmax_param { top_k: 3 out_max_val: true }"),
    "argmax along the last axis": layer("ArgMax", "argmax_param { top_k: 2 axis: -1 }"),
    "argmax values along an axis": layer("ArgMax", "argmax_param { top_k: 5 axis: 2 out_max_val: true }"),
    "argmax of a vector by axis": layer("ArgMax", "argmax_param { axis: 0 top_k: 4 }", "item"),
    "softmax loss and probabilities": layer("SoftmaxWithLoss", "", "x spatial", "loss probabilities"),
    "softmax loss ignoring, by position": layer("SoftmaxWithLoss", LOSS("ignore_label: 3"), "x plane"),
    "softmax loss ignoring, full": layer("SoftmaxWithLoss", LOSS("ignore_label: 3 normalization: FULL"), "x plane"),
    "softmax loss ignoring, by item": layer(
        "SoftmaxWithLoss", LOSS("ignore_label: 1 normalization: BATCH_SIZE"), "x spatial"
    ),
    "softmax loss ignoring, summed": layer(
        "SoftmaxWithLoss", LOSS("ignore_label: 1 normalization: NONE"), "scores marks"
    ),
    "softmax loss old flag on": layer("SoftmaxWithLoss", LOSS("normalize: true"), "x plane"),
    "infogain": layer("InfogainLoss", "", "x plane matrix", "loss probabilities"),
    "infogain ignoring": layer("InfogainLoss", LOSS("ignore_label: 2"), "scores marks small_matrix"),
    "infogain by item": layer("InfogainLoss", LOSS("normalization: BATCH_SIZE"), "x spatial matrix"),
    "multinomial": layer("MultinomialLogisticLoss", "", "soft marks"),
    "hinge": layer("HingeLoss", "", "scores marks"),
    "euclidean": layer("EuclideanLoss", "", "x y"),
    "contrastive": layer("ContrastiveLoss", "contrastive_loss_param { margin: 4 }", "scores other flags"),
    "contrastive legacy": layer(
        "ContrastiveLoss", "contrastive_loss_param { margin: 9 legacy_version: true }", "scores other flags"
    ),
    "sigmoid loss by value": layer("SigmoidCrossEntropyLoss", LOSS("normalization: VALID"), "scores soft"),
    "sigmoid loss summed": layer("SigmoidCrossEntropyLoss", LOSS("normalization: NONE"), "scores soft"),
    "sigmoid loss ignoring": layer("SigmoidCrossEntropyLoss", LOSS("ignore_label: 1"), "x y"),
    "sigmoid loss ignoring, valid": layer(
        "SigmoidCrossEntropyLoss", LOSS("ignore_label: 1 normalization: VALID"), "x y"
    ),
    "sum of squares": layer("Reduction", "reduction_param { operation: SUMSQ axis: 2 coeff: -0.3 }"),
    "mean of everything": layer("Reduction", "reduction_param { operation: MEAN }"),
    "sum of magnitudes of the last axis": layer("Reduction", "reduction_param { operation: ASUM axis: -1 }"),
    "mvn with a large eps": layer("MVN", "mvn_param { eps: 0.5 }"),
    "mvn across channels": layer("MVN", "mvn_param { across_channels: true eps: 0.1 }"),
    "mvn of rank 3": layer("MVN", "", "plane"),
    "mvn mean only": layer("MVN", "mvn_param { normalize_variance: false }"),
    "normalize across space": layer("Normalize", "norm_param { eps: 0.3 }"),
    "normalize channels of a pixel": layer(
        "Normalize", "norm_param { across_spatial: false channel_shared: false eps: 0.01 }"
    ),
    "normalize shared factor": layer(
        "Normalize", "norm_param { across_spatial: false scale_filler { type: 'constant' value: 20 } }"
    ),
    "hard sigmoid": layer("HardSigmoid", "hardsigmoid_param { alpha: 0.7 beta: 0.4 }"),
    "hard swish": layer("HardSwish"),
    "embed": layer("Embed", "embed_param { num_output: 4 input_dim: 11 }", "numbers"),
    "embed without bias": layer("Embed", "embed_param { num_output: 4 input_dim: 11 bias_term: false }", "numbers"),
    "batch reindex": layer("BatchReindex", "", "x select"),
    "filter": layer("Filter", "", "scores other flags", "a b"),
    "pixel shuffle": layer("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }", "wide"),
    "shuffle channels in three groups": layer("ShuffleChannel", "shuffle_channel_param { group: 3 }"),
    "im2col": layer("Im2col", CONV("kernel_size: 2 kernel_size: 3 stride: 2 pad: 1 pad: 2 dilation: 2 dilation: 1")),
    "depthwise": layer("ConvolutionDepthwise", CONV("num_output: 6 kernel_size: 3 stride: 2 pad: 1")),
    "depthwise, twice the channels": layer("DepthwiseConvolution", CONV("num_output: 12 group: 6 kernel_size: 2")),
    "pool with mask": layer("Pooling", POOL("kernel_size: 3 stride: 2"), "x", "out mask"),
    "pool with mask and padding": layer("Pooling", POOL("kernel_size: 3 stride: 2 pad: 1"), "x", "out mask"),
    "pool with mask and much padding": layer("Pooling", POOL("kernel_size: 3 stride: 2 pad: 2"), "x", "out mask"),
    "pool of all with mask": layer("Pooling", POOL("global_pooling: true"), "x", "out mask"),
    "spp of two levels": layer("SPP", "spp_param { pyramid_height: 2 }"),
    "spp by averages": layer("SPP", "spp_param { pyramid_height: 3 pool: AVE }", "image"),
    "lstm": layer("LSTM", RECURRENT(""), "seq cont"),
    "lstm with static input": layer("LSTM", RECURRENT(""), "seq cont static"),
    "lstm exposed": layer("LSTM", RECURRENT("expose_hidden: true"), "seq cont h c", "out last_h last_c"),
    "lstm exposed, static": layer(
        "LSTM", RECURRENT("expose_hidden: true"), "seq cont static h_flat c", "out last_h last_c"
    ),
    "lstm over images": layer("LSTM", RECURRENT(""), "seq4 cont4"),
    "rnn": layer("RNN", RECURRENT(""), "seq cont"),
    "rnn over images": layer("RNN", RECURRENT(""), "seq4 cont4"),
    "rnn exposed, static": layer("RNN", RECURRENT("expose_hidden: true"), "seq cont static h", "out last"),
    "prior boxes": layer(
        "PriorBox",
        "prior_box_param { min_size: 4.7 min_size: 9 max_size: 7.9 max_size: 12 aspect_ratio: 2 aspect_ratio: 3 "
        "aspect_ratio: 0.5 variance: 0.2 clip: true }",
        "x image",
    ),
    "prior boxes, stated": layer(
        "PriorBox",
        "prior_box_param { min_size: 3 aspect_ratio: 1.5 flip: false img_h: 20 img_w: 30 step_h: 2.5 step_w: 4 "
        "offset: 0.25 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4 }",
        "x image",
    ),
}

FIXED_BATCH = ("lstm", "rnn", "prior", "batch reindex")
"""Cases whose batch isn't the first axis of every bottom."""


def ready_of(text: str, feeds: Feeds, **options: object) -> tuple[Graph, Feeds]:
    """The graph with random weights, and what the interpreter answers."""
    net = net_of(text, feeds)
    ready = prepare(net, None, Options(random_weights=5, outputs=list(net.layers[-1].tops), **options))  # type: ignore[arg-type]
    return ready.graph, run(net, ready.weights, feeds).blobs


@pytest.mark.parametrize("name", CASES)
def test_three_ways_to_compute_a_layer_agree(name: str, tmp_path: Path) -> None:
    feeds = feeds_of(CASES[name])
    graph, expected = ready_of(CASES[name], feeds)
    results = {f"onnx {v}": run_onnx(graph, feeds, tmp_path, v) for v in (13, 18, onnx.defs.onnx_opset_version())}
    for target, got in {**results, "torch": run_torch(graph, feeds)}.items():
        for top in graph.output_names:
            assert_close(got[top], expected[top], f"{name}: {top} in {target}", 3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_torch_can_export_every_layer(name: str) -> None:
    import torch

    feeds = feeds_of(CASES[name])
    graph, expected = ready_of(CASES[name], feeds)
    module = live_module(emit_torch(graph))
    arguments = tuple(torch.from_numpy(feeds[v.name]) for v in graph.inputs)
    out = torch.export.export(module, arguments).module()(*arguments)
    for top, got in (out if isinstance(out, dict) else {graph.output_names[0]: out}).items():
        assert_close(got.detach().numpy(), expected[top], f"{name}: {top}", 3e-6)


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(FIXED_BATCH)])
def test_a_free_batch_gives_the_same_numbers_at_another_size(name: str, tmp_path: Path) -> None:
    feeds = feeds_of(CASES[name])
    batch = next(iter(feeds.values())).shape[0]
    free = {
        blob: ("N", *map(int, feed.shape[1:]))
        for blob, feed in feeds.items()
        if feed.shape[0] == batch and "matrix" not in blob
    }
    other = {blob: np.repeat(feed, 2, 0) if blob in free else feed for blob, feed in feeds.items()}
    net = net_of(CASES[name], other)
    ready = prepare(net, None, Options(random_weights=5, outputs=list(net.layers[-1].tops), input_shapes=free))
    expected = run(net, ready.weights, feeds).blobs
    for target, got in (
        ("onnx", run_onnx(ready.graph, feeds, tmp_path)),
        ("torch", run_torch(ready.graph, feeds)),
    ):
        for top in ready.graph.output_names:
            assert_close(got[top], expected[top], f"{name}: {top} in {target}", 3e-6)


@pytest.mark.parametrize("name", CASES)
def test_every_operator_and_constant_is_read(name: str) -> None:
    graph, _ = ready_of(CASES[name], feeds_of(CASES[name]))
    model = emit_onnx(graph)
    read = {value for node in model.proto.graph.node for value in node.input}
    read |= {value.name for value in model.proto.graph.output}
    assert {constant for constant, _ in model.initializers} <= read
    assert all(read & set(node.output) for node in model.proto.graph.node)


PRODUCT: Feeds = {"x": random(1, 2, 3, 4), "weights": random(2, 5, 12), "bias": random(3, 5)}


def product_of(params: str, bottoms: str = "x weights") -> str:
    return layer("InnerProduct", f"inner_product_param {{ {params} }}", bottoms)


@pytest.mark.parametrize(
    ("text", "feeds", "said"),
    [
        (
            product_of("num_output: 5"),
            PRODUCT,
            ("bias_term with two bottoms", "reads a bias that it does not have; bias_term: false"),
        ),
        (
            product_of("bias_term: false axis: 2"),
            PRODUCT,
            ("the second bottom is 5×12; expected outputs × 4", "the second bottom is 5×12, expected outputs × 4"),
        ),
        (
            product_of("num_output: 5", "x weights bias"),
            {**PRODUCT, "bias": random(3, 6)},
            ("the third bottom is 6; expected 5 values", "the third bottom has 6 values for 5 outputs"),
        ),
    ],
)
def test_weights_that_are_a_bottom_must_fit(text: str, feeds: Feeds, said: tuple[str, str]) -> None:
    used = {name: value for name, value in feeds.items() if f'"{name}"' in text}
    assert_both_refuse(text, used, said)


def test_weights_that_are_a_bottom_are_not_trained() -> None:
    net = net_of(product_of("bias_term: false"), {name: PRODUCT[name] for name in ("x", "weights")})
    graph = training_graph(net, None, Options(outputs=["out"]), None)
    with pytest.raises(CaffeModelError, match="adds the gradient of a bottom's weights to that of the step before"):
        emit_torch(graph, training=Training({}))
