"""Blobs that share memory, and layers in place on them: as numpy's own views have it, and as Caffe answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import resnet_convert
from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError
from resnet_convert import verify
from resnet_convert.cli.main import main
from tests.golden import Array, assert_close, graph_of, run_onnx, run_torch
from verify.interpreter import run
from weights import ArrayWeights


def layer(kind: str, name: str, bottoms: str, tops: str, fields: str = "") -> str:
    """One layer of a prototxt; blobs are separated by spaces."""
    ends = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {fields} }}\n'


def sizes(*shapes: tuple[int, ...]) -> str:
    """The shapes of an Input layer."""
    return " ".join(f"shape {{ {dims(shape)} }}" for shape in shapes)


def dims(shape: tuple[int, ...]) -> str:
    """The numbers of one shape."""
    return " ".join(f"dim: {size}" for size in shape)


def random(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers of both signs."""
    return rng.standard_normal(shape).astype(np.float32)


INPUT = layer("Input", "x", "", "x", "input_param { shape { dim: 2 dim: 3 dim: 4 } }")
X = np.linspace(-2.2, 2.4, 24, dtype=np.float32).reshape(2, 3, 4)[:, ::-1].copy()
DOUBLED = "power_param { scale: 2 }"

SHARERS = {
    "Flatten": layer("Flatten", "f", "a", "f"),
    "Flatten of its last axes": layer("Flatten", "f", "a", "f", "flatten_param { axis: 0 end_axis: 1 }"),
    "Reshape": layer("Reshape", "f", "a", "f", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }"),
    "Split": layer("Split", "f", "a", "f g"),
    "Concat": layer("Concat", "f", "a", "f", "concat_param { axis: 2 }"),
    "Slice": layer("Slice", "f", "a", "f"),
    "Permute of nothing": layer("Permute", "f", "a", "f", "permute_param { order: 0 order: 1 }"),
    "Permute without an order": layer("Permute", "f", "a", "f"),
    "Squeeze": layer("Squeeze", "f", "a", "f"),
    "a chain": layer("Flatten", "e", "a", "e") + layer("Reshape", "f", "e", "f", "reshape_param { shape { dim: -1 } }"),
}
COPIERS = {
    "Permute": layer("Permute", "f", "a", "f", "permute_param { order: 1 order: 0 }"),
    "Concat of two": layer("Concat", "f", "a a", "f"),
    "Slice in two": layer("Slice", "f", "a", "f g", "slice_param { axis: 2 }"),
    "Dropout": layer("Dropout", "f", "a", "f"),
    "Power": layer("Power", "f", "a", "f"),
    "Tile of one": layer("Tile", "f", "a", "f", "tile_param { tiles: 1 }"),
}


def answers(text: str, folder: Path, outputs: list[str], feeds: dict[str, Array]) -> list[tuple[str, dict[str, Array]]]:
    """What ONNX, PyTorch and the interpreter give for some blobs."""
    path = folder / "net.prototxt"
    path.write_text(text)
    graph = graph_of(path, None, outputs)
    return [
        ("onnx", run_onnx(graph, feeds, folder)),
        ("torch", run_torch(graph, feeds)),
        ("interpreter", run(parse_net(text), None, feeds).blobs),
        ("cut interpreter", run(parse_net(text), None, feeds, blobs=outputs).blobs),
    ]


@pytest.mark.parametrize("case", [*SHARERS, *COPIERS])
def test_what_a_layer_in_place_writes_is_read_through_the_bottom_where_caffe_shares_it(
    case: str, tmp_path: Path
) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + {**SHARERS, **COPIERS}[case]
    text += layer("ReLU", "r", "f", "f") + layer("Power", "p", "a", "p", DOUBLED)
    seen = np.tanh(X).clip(0) if case in SHARERS else np.tanh(X)
    for name, got in answers(text, tmp_path, ["p"], {"x": X}):
        assert_close(got["p"], 2 * seen, f"{case} in {name}")


def test_an_earlier_reader_sees_what_was_there_before(tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + layer("Power", "before", "a", "before", DOUBLED) + SHARERS["Flatten"]
    text += layer("Power", "r", "f", "f", "power_param { shift: 1 }") + layer("Power", "after", "a", "after", DOUBLED)
    for name, got in answers(text, tmp_path, ["before", "f", "after"], {"x": X}):
        assert_close(got["before"], 2 * np.tanh(X), name)
        assert_close(got["f"], (np.tanh(X) + 1).reshape(2, 12), name)
        assert_close(got["after"], 2 * (np.tanh(X) + 1), name)


def test_an_input_is_written_over_through_another_blob(tmp_path: Path) -> None:
    text = INPUT + layer("Split", "s", "x", "s t") + layer("AbsVal", "r", "s", "s") + layer("Eltwise", "p", "x t", "p")
    for name, got in answers(text, tmp_path, ["s", "p"], {"x": X}):
        assert_close(got["p"], 2 * np.abs(X), name)


def test_an_output_that_no_layer_reads_holds_what_its_memory_holds_in_the_end(tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + layer("Flatten", "f", "a", "f")
    text += layer("Reshape", "g", "a", "g", "reshape_param { shape { dim: 3 dim: 8 } }")
    text += layer("ReLU", "r", "g", "g") + layer("Power", "q", "g", "g", DOUBLED)
    expected = 2 * np.tanh(X).clip(0)
    for name, got in answers(text, tmp_path, ["f", "g"], {"x": X}):
        assert_close(got["f"], expected.reshape(2, 12), name)
        assert_close(got["g"], expected.reshape(3, 8), name)


def test_an_inner_blob_that_is_asked_for_is_what_its_layer_left(tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + SHARERS["Flatten"] + layer("ReLU", "r", "f", "f")
    text += layer("Power", "p", "a", "p", DOUBLED)
    for outputs in (["a"], ["a", "p"], ["p", "a", "f"]):
        for name, got in answers(text, tmp_path, outputs, {"x": X}):
            assert_close(got["a"], np.tanh(X), f"{name} of {outputs}")


@pytest.mark.parametrize(("steps", "shares"), [(1, True), (3, False)])
def test_after_one_step_of_an_lstm_the_last_state_is_the_first_top(steps: int, shares: bool, tmp_path: Path) -> None:
    shapes = {"x": (steps, 2, 5), "cont": (steps, 2), "h0": (1, 2, 3), "c0": (1, 2, 3)}
    text = layer("Input", "i", "", " ".join(shapes), f"input_param {{ {sizes(*shapes.values())} }}")
    text += layer("LSTM", "l", "x cont h0 c0", "h hT cT", "recurrent_param { num_output: 3 expose_hidden: true }")
    text += layer("Power", "w", "h", "h", "power_param { shift: 5 }") + layer("Power", "p", "hT", "p", DOUBLED)
    rng = np.random.default_rng(steps)
    feeds = {name: random(rng, *shape) for name, shape in shapes.items()} | {"cont": np.ones((steps, 2), np.float32)}
    weights = ArrayWeights({"l": [random(rng, *shape) for shape in ((12, 5), (12,), (12, 3))]})
    reference = run(parse_net(text), weights, feeds)
    expected = 2 * (reference.tops["l", "hT"] + 5 * shares)
    graph = prepare(parse_net(text), weights, Options(outputs=["p", "h"])).graph
    assert_close(reference.blobs["p"], expected, "interpreter")
    assert_close(run_onnx(graph, feeds, tmp_path)["p"], expected, "onnx")
    assert_close(run_torch(graph, feeds)["p"], expected, "torch")


def test_the_last_state_of_an_rnn_has_memory_of_its_own(tmp_path: Path) -> None:
    text = layer("Input", "i", "", "x cont h0", f"input_param {{ {sizes((1, 2, 5), (1, 2), (1, 2, 3))} }}")
    text += layer("RNN", "l", "x cont h0", "o hT", "recurrent_param { num_output: 3 expose_hidden: true }")
    text += layer("Power", "w", "o", "o", "power_param { shift: 5 }") + layer("Power", "p", "hT", "p", DOUBLED)
    rng = np.random.default_rng(0)
    feeds = {"x": random(rng, 1, 2, 5), "cont": np.ones((1, 2), np.float32), "h0": random(rng, 1, 2, 3)}
    weights = ArrayWeights({"l": [random(rng, *shape) for shape in ((3, 5), (3,), (3, 3), (3, 3), (3,))]})
    reference = run(parse_net(text), weights, feeds)
    assert_close(reference.blobs["p"], 2 * reference.tops["l", "hT"], "interpreter")
    graph = prepare(parse_net(text), weights, Options(outputs=["p", "o"])).graph
    assert_close(run_onnx(graph, feeds, tmp_path)["p"], reference.blobs["p"], "onnx")


def view(rng: np.random.Generator, values: Array) -> tuple[str, str, Array]:
    """A layer that shares memory: its type, its fields, and numpy's view of the same memory."""
    shape = values.shape
    kind = str(rng.choice(["Flatten", "Reshape", "Split", "Concat", "Slice", "Permute"]))
    if kind == "Flatten":
        first = int(rng.integers(0, len(shape)))
        last = int(rng.integers(first, len(shape)))
        size = int(np.prod(shape[first : last + 1]))
        made = values.reshape(*shape[:first], size, *shape[last + 1 :])
        return kind, f"flatten_param {{ axis: {first} end_axis: {last} }}", made
    if kind == "Reshape":
        wish = tuple(map(int, rng.permutation(shape)))
        return kind, f"reshape_param {{ shape {{ {dims((*wish[:-1], -1))} }} }}", values.reshape(wish)
    return kind, "", values


def drawn(seed: int) -> tuple[str, Array, dict[str, Array], dict[tuple[str, str], Array]]:
    """A net of views and layers in place, with numpy's own arrays for Caffe's memory.

    Returns:
        prototxt; what is fed; the blobs that no layer reads, at the end; what each layer left in its tops.
    """
    rng = np.random.default_rng(seed)
    x = random(rng, *(2, 3, 4, 5)[: rng.integers(2, 5)])
    text, memory, left = layer("Input", "x", "", "x", f"input_param {{ {sizes(x.shape)} }}"), {"x": x.copy()}, {}
    read: set[str] = set()
    for number in range(int(rng.integers(6, 16))):
        bottom, top, name = str(rng.choice(list(memory))), f"b{number}", f"layer{number}"
        values, kind = memory[bottom], str(rng.choice(["view", "view", "place", "place", "new", "sum"]))
        if kind == "place" and bottom not in read:  # Else Caffe would refuse it.
            text += layer("Power", name, bottom, bottom, "power_param { scale: -1.5 shift: 0.75 }")
            values[...] = values * np.float32(-1.5) + np.float32(0.75)
            left[name, bottom] = values.copy()
            continue
        read.add(bottom)
        if kind == "sum":
            other = str(rng.choice([blob for blob in memory if memory[blob].shape == values.shape]))
            read.add(other)
            type_, fields, made, bottom = "Eltwise", "", values + memory[other], f"{bottom} {other}"
        elif kind == "view":
            type_, fields, made = view(rng, values)
        else:
            type_, fields, made = "AbsVal", "", np.abs(values)
        tops = [top, f"{top}_too"] if type_ == "Split" else [top]
        text += layer(type_, name, bottom, " ".join(tops), fields)
        memory |= dict.fromkeys(tops, made)
        left |= {(name, blob): made.copy() for blob in tops}
    return text, x, {b: v for b, v in memory.items() if b not in read}, left


WRITTEN_OVER = (1, 2, 5, 8, 13, 14, 18, 19, 25, 26, 30, 31)
"""Seeds whose nets read or give a blob after another layer wrote to its memory."""


@pytest.mark.parametrize("seed", range(40))
def test_any_net_of_views_gives_what_numpys_views_hold(seed: int, tmp_path: Path) -> None:
    text, x, outputs, left = drawn(seed)
    trace = run(parse_net(text), None, {"x": x})
    for key, expected in left.items():
        assert_close(trace.tops[key], expected, f"{key} in the interpreter")
    outputs.pop("x", None)
    for name, got in answers(text, tmp_path, list(outputs), {"x": x}):
        for blob, expected in outputs.items():
            assert_close(got[blob], expected, f"{blob} in {name}")
    for blob in outputs:
        assert_close(answers(text, tmp_path, [blob], {"x": x})[-1][1][blob], outputs[blob], f"{blob} alone")


@pytest.mark.parametrize("seed", WRITTEN_OVER)
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_any_net_of_views_verifies(seed: int, to: str, tmp_path: Path) -> None:
    text, _, outputs, left = drawn(seed)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    inner = list(dict.fromkeys(blob for _, blob in left))
    for number, asked in enumerate(([], inner[::-1], inner[:1], list(outputs)[::-1])):
        model = tmp_path / f"m{number}"
        report = resnet_convert.convert(path, to=to, output=model, outputs=asked, verify=True).report  # type: ignore[arg-type]
        assert report is not None
        assert report.ok, report.first_bad


def learned(kind: str, name: str, bottoms: str, tops: str, fields: str = "") -> str:
    """A layer whose first learned blob is called `w`."""
    return layer(kind, name, bottoms, tops, f'param {{ name: "w" }} {fields}')


PARAMETER = learned("Parameter", "q", "", "q", f"parameter_param {{ shape {{ {dims((3, 4))} }} }}")
PRODUCT = learned("InnerProduct", "y", "x", "y", "inner_product_param { num_output: 3 axis: 2 bias_term: false }")


def test_a_layer_in_place_on_a_learned_blob_is_warned_of(tmp_path: Path) -> None:
    text = INPUT + PARAMETER + PRODUCT + layer("ReLU", "r", "q", "q")
    weights = ArrayWeights({"q": [X[0]]})
    ready = prepare(parse_net(text), weights, Options(outputs=["q", "y"]))
    assert [warning for warning in ready.warnings if "layer r (ReLU): works in place on a learned blob" in warning]
    for got in (run_onnx(ready.graph, {"x": X}, tmp_path), run_torch(ready.graph, {"x": X})):
        assert_close(got["q"], X[0].clip(0), "q")
        assert_close(got["y"], X @ X[0].T, "y, which was computed before")


def test_a_learned_blob_that_was_written_over_is_read_as_it_is_then() -> None:
    text = INPUT + PARAMETER + layer("ReLU", "r", "q", "q") + PRODUCT + PARAMETER.replace('"q"', '"q2"')
    text += layer("Power", "p", "q2", "p", DOUBLED)
    net, weights = parse_net(text), ArrayWeights({"q": [X[0]]})
    for blobs in (None, ["y"], ["p"]):
        trace = run(net, weights, {"x": X}, blobs=blobs)
        assert_close(trace.blobs.get("y", X @ X[0].clip(0).T), X @ X[0].clip(0).T, "y")
        assert_close(trace.blobs.get("p", 2 * X[0].clip(0)), 2 * X[0].clip(0), "p")
    with pytest.raises(CaffeModelError, match="its blob 'w' is written over by layer 'r' before, in place on 'q'"):
        prepare(net, weights, Options())


UNDEFINED = {
    "a sum": layer("Eltwise", "e", "a b", "a"),
    "a maximum": layer("Eltwise", "e", "a b", "a", "eltwise_param { operation: MAX }"),
    "LRN across channels": layer("LRN", "e", "a", "a"),
    "a pooling": layer("Pooling", "e", "a", "a", "pooling_param { kernel_size: 2 }"),
    "a concatenation": layer("Concat", "e", "a b", "a"),
    "a cut": layer("Slice", "e", "a", "a c"),
    "a tile": layer("Tile", "e", "a", "a", "tile_param { tiles: 2 }"),
    "a crop": layer("Crop", "e", "a b", "a", "crop_param { axis: 3 }"),
    "an extreme": layer("ArgMax", "e", "a", "a"),
    "a reduction": layer("Reduction", "e", "a", "a"),
    "a permutation": layer("Permute", "e", "a", "a", "permute_param { order: 0 order: 2 order: 1 order: 3 }"),
}
DEFINED = {
    "a product": layer("Eltwise", "e", "a b", "a", "eltwise_param { operation: PROD }"),
    "LRN within a channel": layer("LRN", "e", "a", "a", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
    "Softmax": layer("Softmax", "e", "a", "a"),
    "MVN": layer("MVN", "e", "a", "a"),
    "a concatenation of one": layer("Concat", "e", "a", "a"),
    "a permutation of nothing": layer("Permute", "e", "a", "a"),
    "a factor from a bottom": layer("Scale", "e", "a b", "a", "scale_param { axis: 0 }"),
    "a summand from a bottom": layer("Bias", "e", "a b", "a", "bias_param { axis: 0 }"),
    "Normalize": layer("Normalize", "e", "a", "a", "norm_param { across_spatial: true }"),
    **{kind: layer(kind, "e", "a", "a") for kind in ("ReLU", "ELU", "BNLL", "AbsVal", "Exp", "Log", "Power")},
    **{kind: layer(kind, "e", "a", "a") for kind in ("Sigmoid", "TanH", "Threshold", "Swish", "PReLU", "Dropout")},
}
IMAGES = layer("Input", "x", "", "x y", f"input_param {{ {sizes((2, 4, 4, 3), (2, 4, 4, 3))} }}")


@pytest.mark.parametrize("case", [*UNDEFINED, *DEFINED])
def test_a_layer_that_writes_over_what_it_has_still_to_read_is_warned_of(case: str) -> None:
    text = IMAGES + layer("TanH", "a", "x", "a") + layer("TanH", "b", "y", "b") + {**UNDEFINED, **DEFINED}[case]
    ready = prepare(parse_net(text), None, Options(random_weights=0))
    about = [warning for warning in ready.warnings if "layer e " in warning]
    assert ["its answer is undefined" in warning for warning in about] == [True] * (case in UNDEFINED)


@pytest.mark.parametrize("case", ["a sum", "a maximum", "LRN across channels", "a pooling", "a permutation"])
def test_what_caffe_would_write_over_is_read_first(case: str, tmp_path: Path) -> None:
    text = IMAGES + layer("TanH", "a", "x", "a") + layer("TanH", "b", "y", "b") + UNDEFINED[case]
    apart = text.replace(UNDEFINED[case], UNDEFINED[case].replace('top: "a"', 'top: "e"'))
    rng = np.random.default_rng(1)
    feeds = {name: random(rng, 2, 4, 4, 3) for name in ("x", "y")}
    expected = run(parse_net(apart), None, feeds).blobs["e"]
    for name, got in answers(text, tmp_path, ["a", "b"], feeds):
        assert_close(got["a"], expected, f"{case} in {name}")


REFUSED = {
    "the reader stands before": layer("Power", "p", "a", "p") + layer("ReLU", "r", "a", "a"),
    "the reader stands behind a layer that reads twice": layer("Eltwise", "r", "a a", "a"),
    "the blob is not in the same place": layer("Eltwise", "r", "b a", "a"),
    "the blob counts as a loss": layer("ReLU", "r", "l", "l"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_both_sides_refuse_what_caffe_calls_several_sources(case: str) -> None:
    text = IMAGES + layer("TanH", "a", "x", "a") + layer("TanH", "b", "y", "b")
    text += layer("Power", "l", "b", "l", "loss_weight: 2") + REFUSED[case]
    text = text.replace('bottom: "b" top: "l"', 'bottom: "y" top: "l"') if "place" not in case else text
    with pytest.raises(CaffeModelError, match="'r'"):
        prepare(parse_net(text), None, Options())
    with pytest.raises(CaffeModelError, match=r"'r'.*multiple sources"):
        run(parse_net(text), None, {"x": np.ones((2, 4, 4, 3)), "y": np.ones((2, 4, 4, 3))})


@pytest.mark.parametrize("seed", WRITTEN_OVER[:6])
def test_a_net_with_memory_that_is_written_over_goes_back_to_caffe_and_through_inspect(
    seed: int, tmp_path: Path
) -> None:
    text, x, *_ = drawn(seed)
    assert any(step.again for step in run(parse_net(text), None, {"x": x}).steps)
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    resnet_convert.convert(net, to="caffe", output=tmp_path / "back")
    assert verify(net, None, tmp_path / "back").ok
    assert main(["inspect", str(net)]) == 0


@pytest.mark.parametrize("free", ["N,3,4", "2,H,4", "N,3,W"])
def test_free_axes_stay_free_through_shared_memory(free: str, tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + SHARERS["Flatten of its last axes"] + layer("ReLU", "r", "f", "f")
    text += layer("Power", "p", "a", "p", DOUBLED)
    asked = tuple(int(size) if size.isdecimal() else size for size in free.split(","))
    options = Options(outputs=["p"], input_shapes={"x": asked})
    if free == "N,3,W":
        with pytest.raises(CaffeModelError, match="two free dimensions that move"):
            run_onnx(prepare(parse_net(text), None, options).graph, {"x": X}, tmp_path)
        return
    graph = prepare(parse_net(text), None, options).graph
    x = np.concatenate([X, -X]) if free.startswith("N") else np.concatenate([X, -X], 1)
    for got in (run_onnx(graph, {"x": x}, tmp_path), run_torch(graph, {"x": x})):
        assert_close(got["p"], 2 * np.tanh(x).clip(0), free)


def test_a_module_takes_another_batch_through_shared_memory(tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + SHARERS["Flatten"] + layer("ReLU", "r", "f", "f")
    graph = prepare(parse_net(text + layer("Power", "p", "a", "p", DOUBLED)), None, Options(outputs=["p"])).graph
    x = np.concatenate([X, X, -X])
    assert_close(run_torch(graph, {"x": x})["p"], 2 * np.tanh(x).clip(0), "p")


def test_what_writes_over_a_blob_is_held_to_account_only_where_the_outputs_see_it(tmp_path: Path) -> None:
    text = INPUT + layer("TanH", "a", "x", "a") + layer("Flatten", "f", "a", "f") + layer("Quux", "u", "f", "f")
    text += layer("Power", "p", "a", "p", DOUBLED)
    with pytest.raises(CaffeModelError, match="unknown layer type 'Quux'"):
        prepare(parse_net(text), None, Options(outputs=["p"]))
    with pytest.raises(CaffeModelError, match="unknown layer type 'Quux' in the interpreter; --plugin"):
        run(parse_net(text), None, {"x": X}, blobs=["p"])
    assert_close(run(parse_net(text), None, {"x": X}, blobs=["a"]).blobs["a"], np.tanh(X), "a")
    graph = prepare(parse_net(text), None, Options(outputs=["a"])).graph
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["a"], np.tanh(X), "a")


def test_a_twin_that_is_an_output_needs_what_writes_over_it() -> None:
    text = INPUT + layer("Split", "s", "x", "s t") + layer("Quux", "u", "s", "s")
    with pytest.raises(CaffeModelError, match="unknown layer type 'Quux'"):
        prepare(parse_net(text), None, Options(outputs=["t"]))
    with pytest.raises(CaffeModelError, match="unknown layer type 'Quux' in the interpreter; --plugin"):
        run(parse_net(text), None, {"x": X}, blobs=["t"])
