"""Where Caffe's backward pass is not the derivative: what it reads was written over, or a gradient is never heard of.

The expected gradients are the formulas of Caffe's `Backward_cpu`, written out in numpy over what memory holds by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from converter.options import Options
from converter.training.module import Trainable, trainable
from prototxt import parse_net

Array = np.ndarray
Rule = Callable[[Array, Array, Array], Array]
"""(top's gradient, what lies where the bottom was, and where the top was) -> the bottom's gradient."""


def made_of(
    text: str, *outputs: str, dialects: Mapping[str, str] | None = None, **inputs: tuple[int, ...]
) -> Trainable:
    fed = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } } "
        for name, shape in inputs.items()
    )
    net = parse_net(f"force_backward: true {fed} {text}", "net.prototxt", phase="TRAIN", dialects=dialects)
    return trainable(net, None, options=Options(outputs=outputs), seed=2)


def gradients(made: Trainable, out: str, dy: Array, **inputs: Array) -> dict[str, Array]:
    """Of the inputs, zeros where none comes."""
    fed = {name: torch.from_numpy(inputs[name]).requires_grad_() for name in made.inputs}
    (made.module(*fed.values())[out] * torch.from_numpy(dy)).sum().backward()
    return {name: np.zeros_like(inputs[name]) if x.grad is None else x.grad.numpy() for name, x in fed.items()}


def drawn(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def mvn(x: Array, y: Array, dy: Array, eps: float) -> Array:
    """mvn_layer.cpp: its deviation is kept from the forward pass, its top is read again."""
    deviation = x.std((2, 3), keepdims=True) + eps
    sums = y * (dy * y).sum((2, 3), keepdims=True) + dy.sum((2, 3), keepdims=True)
    return (dy - sums / (x.shape[2] * x.shape[3])) / deviation


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def affine(factor: float, summand: float) -> str:
    """Of a Scale, whose gradient in place is its derivative."""
    return f"""scale_param {{ filler {{ type: "constant" value: {factor} }}
      bias_term: true bias_filler {{ type: "constant" value: {summand} }} }}"""


KINDS: list[tuple[str, str, Callable[[Array], Array], Rule]] = [
    ("ReLU", "", lambda x: np.maximum(x, 0), lambda dy, x, y: dy * (x > 0)),
    (
        "ReLU",
        "relu_param { negative_slope: 0.25 }",
        lambda x: np.where(x > 0, x, x / 4),
        lambda dy, x, y: dy * ((x > 0) + 0.25 * (x <= 0)),
    ),
    (
        "ELU",
        "elu_param { alpha: 0.5 }",
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(x)),
        lambda dy, x, y: dy * ((x > 0) + (0.5 + y) * (x <= 0)),
    ),
    ("Sigmoid", "", logistic, lambda dy, x, y: dy * y * (1 - y)),
    ("TanH", "", np.tanh, lambda dy, x, y: dy * (1 - y * y)),
    ("AbsVal", "", np.abs, lambda dy, x, y: dy * np.sign(x)),
    ("BNLL", "", lambda x: np.log1p(np.exp(x)), lambda dy, x, y: dy * np.exp(x) / (np.exp(x) + 1)),
    (
        "Clip",
        "clip_param { min: -0.5 max: 0.75 }",
        lambda x: x.clip(-0.5, 0.75),
        lambda dy, x, y: dy * ((x >= -0.5) & (x <= 0.75)),
    ),
    (
        "Exp",
        "exp_param { base: 2 scale: 0.5 shift: 0.25 }",
        lambda x: 2 ** (0.5 * x + 0.25),
        lambda dy, x, y: dy * y * (np.log(2) * 0.5),
    ),
    (
        "Log",
        "log_param { base: 2 scale: 0.5 shift: 9 }",
        lambda x: np.log2(0.5 * x + 9),
        lambda dy, x, y: dy / (0.5 * x + 9) * (0.5 / np.log(2)),
    ),
    (
        "Power",
        "power_param { power: 2 scale: 0.5 shift: 3 }",
        lambda x: (0.5 * x + 3) ** 2,
        lambda dy, x, y: dy * (1.0 * 3 + 1.0 * 0.5 * x),
    ),
    (
        "Power",
        "power_param { power: 3 scale: 0.5 shift: 4 }",
        lambda x: (0.5 * x + 4) ** 3,
        lambda dy, x, y: dy * 1.5 * y / (0.5 * x + 4),
    ),
    (
        "Softmax",
        "",
        lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True),
        lambda dy, x, y: (dy - (dy * y).sum(1, keepdims=True)) * y,
    ),
]


@pytest.mark.parametrize("in_place", [False, True], ids=["of_its_own", "in_place"])
@pytest.mark.parametrize(("kind", "param", "forward", "backward"), KINDS, ids=[f"{kind} {p}" for kind, p, *_ in KINDS])
@pytest.mark.parametrize("behind", ["", affine(-0.5, 0.25)], ids=["alone", "written_over"])
def test_a_gradient_is_told_from_what_lies_in_memory(
    kind: str, param: str, forward: Callable[[Array], Array], backward: Rule, behind: str, in_place: bool
) -> None:
    top = "a" if in_place else "b"
    text = f"""layer {{ name: "a" type: "Power" bottom: "x" top: "a" power_param {{ scale: 0.5 shift: 0.25 }} }}
      layer {{ name: "b" type: "{kind}" bottom: "a" top: "{top}" {param} }}"""
    if behind:
        text += f'layer {{ name: "c" type: "Scale" bottom: "{top}" top: "{top}" {behind} }}'
    x, dy = drawn(3, 4, 2), drawn(3, 4, 2, seed=5)
    got = gradients(made_of(text, top, x=(3, 4, 2)), top, dy, x=x)["x"]
    a = 0.5 * x + np.float32(0.25)
    last = forward(a) * (-0.5) + 0.25 if behind else forward(a)
    dy = dy * (-0.5) if behind else dy
    if in_place and kind in ("AbsVal", "Log", "Power"):  # the factor lies where dy lay before it is multiplied by it
        expected = backward(np.float32(1), last, last) ** 2 * 0.5
    else:
        expected = backward(dy, last if in_place else a, last) * 0.5
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6)


def test_what_only_drops_values_leaves_a_rectifiers_derivative() -> None:
    text = """layer { name: "a" type: "Power" bottom: "x" top: "a" }
      layer { name: "r" type: "ReLU" bottom: "a" top: "a" }
      layer { name: "d" type: "Dropout" bottom: "a" top: "a" dropout_param { dropout_ratio: 0.25 } }"""
    made, x, dy = made_of(text, "a", x=(20, 30)), drawn(20, 30), drawn(20, 30, seed=5)
    fed = torch.from_numpy(x).requires_grad_()
    out = made.module(fed)["a"]
    (out * torch.from_numpy(dy)).sum().backward()
    kept = out.detach().numpy() != 0
    assert 0.3 < kept.mean() < 0.45
    assert fed.grad is not None
    np.testing.assert_allclose(fed.grad.numpy(), np.where(kept, dy / np.float32(0.75), 0), rtol=1e-6)


def test_a_rectifier_behind_mvn_takes_the_top_that_its_gradient_reads() -> None:
    text = """layer { name: "m" type: "MVN" bottom: "x" top: "m" mvn_param { eps: 0.25 } }
      layer { name: "r" type: "ReLU" bottom: "m" top: "m" }"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    got = gradients(made_of(text, "m", x=x.shape), "m", dy, x=x)["x"]
    normed = (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 0.25)
    expected = mvn(x, np.maximum(normed, 0), dy * (normed > 0), 0.25)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_layer_behind_lrn_takes_the_top_that_its_gradient_reads() -> None:
    """lrn_layer.cpp: dy · s^-beta - 2 alpha beta / n · x · (sum of dy · y / s over n channels)."""
    text = (
        """layer { name: "n" type: "LRN" bottom: "x" top: "n" lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 1.5 } }
      layer { name: "p" type: "Scale" bottom: "n" top: "n" """
        + affine(0.5, 1)
        + "}"
    )
    x, dy = drawn(2, 5, 3, 4), drawn(2, 5, 3, 4, seed=5)

    def summed(values: Array) -> Array:
        wide = np.pad(values, ((0, 0), (1, 1), (0, 0), (0, 0)))
        return wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]

    got = gradients(made_of(text, "n", x=x.shape), "n", dy, x=x)["x"]
    s, below = 1.5 + 2 / 3 * summed(x * x), dy * 0.5
    left = x * s**-0.5 * 0.5 + 1
    expected = below * s**-0.5 - 2 * 2 * 0.5 / 3 * x * summed(below * left / s)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_mvn_of_a_constant_channel_has_a_finite_gradient() -> None:
    text = 'layer { name: "m" type: "MVN" bottom: "x" top: "m" mvn_param { eps: 0.5 } }'
    x, dy = np.full((1, 1, 1, 3), 7, np.float32), np.array([[[[1, 2, 6]]]], np.float32)
    got = gradients(made_of(text, "m", x=x.shape), "m", dy, x=x)["x"]
    assert got.ravel().tolist() == [-4, -2, 6]  # (dy - 3) / 0.5


def test_mvn_of_fewer_axes_has_its_gradient_in_the_bottoms_shape() -> None:
    text = 'layer { name: "m" type: "MVN" bottom: "x" top: "m" mvn_param { eps: 0.5 across_channels: true } }'
    x, dy = drawn(3, 4), drawn(3, 4, 1, 1, seed=5)
    got = gradients(made_of(text, "m", x=x.shape), "m", dy, x=x)["x"]
    below, deviation = dy[..., 0, 0], x.std(1, keepdims=True) + 0.5
    y = (x - x.mean(1, keepdims=True)) / deviation
    sums = below.mean(1, keepdims=True) + y * (below * y).mean(1, keepdims=True)
    np.testing.assert_allclose(got, (below - sums) / deviation, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_a_layer_behind_unit_vectors_takes_the_top_that_their_gradient_reads(norm: str) -> None:
    """happynear's normalize_layer.cpp: (dy - y · a) / norm, for L1 with the sign of x; a is the sum of dy · y."""
    text = f"""layer {{ name: "n" type: "Normalize" bottom: "x" top: "n"
        normalize_param {{ normalize_type: "{norm}" }} }}
      layer {{ name: "p" type: "Scale" bottom: "n" top: "n" {affine(0.5, 1)} }}"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    got = gradients(made_of(text, "n", x=x.shape), "n", dy, x=x)["x"]
    length = np.abs(x).sum(1, keepdims=True) if norm == "L1" else np.sqrt((x * x).sum(1, keepdims=True))
    left, below = x / length * 0.5 + 1, dy * 0.5
    side = np.sign(x) if norm == "L1" else left
    expected = (below - side * (below * left).sum(1, keepdims=True)) / length
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_layer_behind_a_norm_of_whole_items_takes_the_top_that_its_gradient_reads() -> None:
    """yjxiong's normalize_layer.cpp: (dy - y · sum of dy · y) over the root of the bottom's squares."""
    text = f"""layer {{ name: "n" type: "Normalize" bottom: "x" top: "n" }}
      layer {{ name: "p" type: "Scale" bottom: "n" top: "n" {affine(0.5, 1)} }}"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    got = gradients(made_of(text, "n", dialects={"Normalize": "tsn"}, x=x.shape), "n", dy, x=x)["x"]
    length = np.sqrt((x * x).sum((1, 2, 3), keepdims=True))
    left, below = x / length * 0.5 + 1, dy * 0.5
    expected = (below - left * (below * left).sum((1, 2, 3), keepdims=True)) / length
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_norm_of_whole_items_in_place_has_its_derivative() -> None:
    text = """layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
      layer { name: "n" type: "Normalize" bottom: "a" top: "a" }"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    got = gradients(made_of(text, "a", dialects={"Normalize": "tsn"}, x=x.shape), "a", dy, x=x)["x"]
    norm = np.sqrt((4 * x * x).sum((1, 2, 3), keepdims=True))
    y = 2 * x / norm
    np.testing.assert_allclose(got, 2 * (dy - y * (y * dy).sum((1, 2, 3), keepdims=True)) / norm, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("itself", [False, True], ids=["behind", "itself"])
def test_grn_takes_bottom_and_top_from_memory_and_keeps_its_root(itself: bool) -> None:
    """grn_layer.cpp: dy / root - x · sum of dy · y / root²; in place x is the top, too."""
    factor, summand = (1.0, 0.0) if itself else (0.5, 1.0)
    text = f"""layer {{ name: "a" type: "Power" bottom: "x" top: "a" power_param {{ scale: 2 }} }}
      layer {{ name: "n" type: "GRN" bottom: "a" top: "{"a" if itself else "n"}" grn_param {{ bias: 0.5 }} }}"""
    if not itself:
        text += f"""layer {{ name: "p" type: "Scale" bottom: "n" top: "n" {affine(factor, summand)} }}"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    got = gradients(made_of(text, "a" if itself else "n", x=x.shape), "a" if itself else "n", dy, x=x)["x"]
    root = np.sqrt((4 * x * x).sum(1, keepdims=True) + 0.5)
    top, below = 2 * x / root * factor + summand, dy * factor
    bottom = top if itself else 2 * x
    expected = 2 * (below / root - bottom * (below * top).sum(1, keepdims=True) / root**2)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_rectifier_behind_normalize_takes_the_top_that_the_factors_gradient_reads() -> None:
    text = (
        """layer { name: "n" type: "Normalize" bottom: "x" top: "n"
        norm_param { across_spatial: false channel_shared: false scale_filler { type: "constant" value: 2 } } }
      layer { name: "p" type: "Scale" bottom: "n" top: "n" """
        + affine(0.5, 1)
        + "}"
    )
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    made = made_of(text, "n", x=x.shape)
    got = gradients(made, "n", dy, x=x)["x"]
    norm = np.sqrt((x * x).sum(1, keepdims=True) + 1e-10)
    left, below = 2 * x / norm * 0.5 + 1, dy * 0.5
    scale = made.module.get_parameter("n.scale")
    assert scale.grad is not None
    np.testing.assert_allclose(scale.grad.numpy().ravel(), (left * below / 2).sum((0, 2, 3)), rtol=1e-5)
    bottoms = 2 * (below - x * (x * below).sum(1, keepdims=True) / norm**2) / norm
    np.testing.assert_allclose(got, bottoms, rtol=1e-4, atol=1e-6)


def test_normalize_in_place_has_its_derivative() -> None:
    text = """layer { name: "a" type: "Power" bottom: "x" top: "a" power_param { scale: 2 } }
      layer { name: "n" type: "Normalize" bottom: "a" top: "a"
        norm_param { scale_filler { type: "constant" value: 3 } } }"""
    x, dy = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=5)
    made = made_of(text, "a", x=x.shape)
    got = gradients(made, "a", dy, x=x)["x"]
    norm = np.sqrt((4 * x * x).sum((1, 2, 3), keepdims=True))
    y = 2 * x / norm
    expected = 2 * 3 * (dy - y * (y * dy).sum((1, 2, 3), keepdims=True)) / norm
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    (scale,) = made.module.parameters()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((y * dy).sum(), rel=1e-5)


def test_who_reads_what_was_written_over_passes_its_gradient_past_the_writer() -> None:
    """x feeds a Reshape with a ReLU in place, and later a product: that reads the rectified x, whose gradient is its
    own (split_layer.cpp adds both)."""
    text = """layer { name: "r" type: "Reshape" bottom: "x" top: "r" reshape_param { shape { dim: 12 } } }
      layer { name: "relu" type: "ReLU" bottom: "r" top: "r" }
      layer { name: "p" type: "Power" bottom: "x" top: "p" power_param { scale: 3 } }"""
    x, dr, dp = drawn(3, 4), drawn(12, seed=5), drawn(3, 4, seed=6)
    made = made_of(text, "r", "p", x=(3, 4))
    fed = torch.from_numpy(x).requires_grad_()
    outputs = made.module(fed)
    np.testing.assert_allclose(outputs["p"].detach().numpy(), 3 * np.maximum(x, 0), rtol=1e-6)
    (outputs["p"] * torch.from_numpy(dp) + (outputs["r"] * torch.from_numpy(dr)).reshape(3, 4)).sum().backward()
    assert fed.grad is not None
    np.testing.assert_allclose(fed.grad.numpy(), 3 * dp + dr.reshape(3, 4) * (x > 0), rtol=1e-6)


READERS = {
    "Convolution": """convolution_param { num_output: 2 kernel_size: 3 pad: 1 weight_filler { type: "xavier" }
      bias_filler { type: "constant" value: 3 } }""",
    "Deconvolution": 'convolution_param { num_output: 3 kernel_size: 2 stride: 2 weight_filler { type: "xavier" } }',
    "InnerProduct": 'inner_product_param { num_output: 5 weight_filler { type: "xavier" } }',
    "Scale": 'scale_param { bias_term: true filler { type: "constant" value: 2 } }',
    "PReLU": "",
}


@pytest.mark.parametrize("kind", READERS)
def test_learned_blobs_have_the_gradient_of_what_lies_where_their_bottom_was(kind: str) -> None:
    """The layer runs before a Power in place on the same memory, and its backward pass behind it: it reads 0.5 x - 1.

    All these are linear in what they learn, so that the gradient of a net without the Flatten, fed 0.5 x - 1, is it.
    """
    reader = f'layer {{ name: "it" type: "{kind}" bottom: "x" top: "it" {READERS[kind]} }}'
    over = """layer { name: "f" type: "Flatten" bottom: "x" top: "f" }
      layer { name: "p" type: "Power" bottom: "f" top: "f" power_param { scale: 0.5 shift: -1 } }"""
    x = drawn(2, 3, 4, 5)
    plain, shared = made_of(reader, "it", x=x.shape), made_of(reader + over, "it", x=x.shape)
    shared.module.load_state_dict(plain.module.state_dict())
    out = plain.module(torch.from_numpy(x))["it"].detach().numpy()
    np.testing.assert_array_equal(shared.module(torch.from_numpy(x))["it"].detach().numpy(), out)
    dy = drawn(*out.shape, seed=5)
    expected = gradients(plain, "it", dy, x=0.5 * x - 1)["x"]
    found = gradients(shared, "it", dy, x=x)["x"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    for ours, other in zip(shared.module.parameters(), plain.module.parameters(), strict=True):
        assert ours.grad is not None
        assert other.grad is not None
        np.testing.assert_allclose(ours.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_a_product_has_the_gradient_of_what_lies_where_its_bottoms_were() -> None:
    text = """layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "e" eltwise_param { operation: PROD } }
      layer { name: "f" type: "Flatten" bottom: "x" top: "f" }
      layer { name: "s" type: "Sigmoid" bottom: "f" top: "f" }"""
    x, y, dy = drawn(3, 4), drawn(3, 4, seed=3), drawn(3, 4, seed=5)
    found = gradients(made_of(text, "e", x=(3, 4), y=(3, 4)), "e", dy, x=x, y=y)
    np.testing.assert_allclose(found["x"], dy * y, rtol=1e-6)
    np.testing.assert_allclose(found["y"], dy * logistic(x), rtol=1e-5)


@pytest.mark.parametrize(("kind", "param"), [("Scale", 'filler { type: "constant" value: 2 }'), ("PReLU", "")])
def test_a_layer_that_keeps_its_bottom_in_place_has_its_derivative(kind: str, param: str) -> None:
    param = f"scale_param {{ {param} }}" if param else ""
    text = f"""layer {{ name: "a" type: "Power" bottom: "x" top: "a" }}
      layer {{ name: "it" type: "{kind}" bottom: "a" top: "a" {param} }}
      layer {{ name: "p" type: "Scale" bottom: "a" top: "a" {affine(1, 5)} }}"""
    x, dy = drawn(3, 4), drawn(3, 4, seed=5)
    made = made_of(text, "a", x=(3, 4))
    gradients(made, "a", dy, x=x)
    learned = next(made.module.parameters())
    assert learned.grad is not None
    reads = x if kind == "Scale" else np.minimum(x, 0)
    np.testing.assert_allclose(learned.grad.numpy(), (dy * reads).sum(0), rtol=1e-5)


FLATTEN = 'layer { name: "f" type: "Flatten" bottom: "b" top: "f" }'
PERMUTE = """layer { name: "f" type: "Permute" bottom: "b" top: "f"
  permute_param { order: 0 order: 1 order: 2 } }"""
GIVEN = {
    "Reshape": """layer { name: "b" type: "Reshape" bottom: "x" top: "b"
      reshape_param { shape { dim: 2 dim: 3 dim: 4 } } }""",
    "Concat": 'layer { name: "b" type: "Concat" bottom: "x" top: "b" }',
    "Slice": 'layer { name: "b" type: "Slice" bottom: "x" top: "b" }',
    "in place": """layer { name: "b" type: "Concat" bottom: "x" top: "b" }
      layer { name: "relu" type: "ReLU" bottom: "b" top: "b" }""",
}


@pytest.mark.parametrize("taker", [FLATTEN, PERMUTE], ids=["Flatten", "Permute"])
@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_gradient_that_is_taken_elsewhere_is_not_heard_of_below(given: str, taker: str) -> None:
    """Below the layer that shares its bottom's gradient all of it is 0, unless another layer reads the top as well."""
    text = GIVEN[given] + taker
    x, dy = np.abs(drawn(2, 3, 4)), drawn(2, 3, 4, seed=5)
    dy = dy.reshape(2, 12) if taker == FLATTEN else dy
    assert not gradients(made_of(text, "f", x=x.shape), "f", dy, x=x)["x"].any()
    shared = text + 'layer { name: "s" type: "Power" bottom: "b" top: "s" }'
    got = gradients(made_of(shared, "f", "s", x=x.shape), "f", dy, x=x)["x"]
    np.testing.assert_array_equal(got, dy.reshape(2, 3, 4))


def test_flatten_behind_any_other_layer_passes_its_gradient_on() -> None:
    text = """layer { name: "b" type: "Power" bottom: "x" top: "b" power_param { scale: 3 } }
      layer { name: "g" type: "Flatten" bottom: "b" top: "g" axis: 2 }
      layer { name: "f" type: "Flatten" bottom: "g" top: "f" }""".replace("axis: 2", "flatten_param { axis: 2 }")
    x, dy = drawn(2, 3, 4, 5), drawn(2, 60, seed=5)
    got = gradients(made_of(text, "f", x=x.shape), "f", dy, x=x)["x"]
    np.testing.assert_array_equal(got, 3 * dy.reshape(2, 3, 4, 5))


LSTM = """layer { name: "b" type: "LSTM" bottom: "x" bottom: "cont" top: "b"
  recurrent_param { num_output: 4 weight_filler { type: "xavier" } } }"""


@pytest.mark.parametrize(
    ("reader", "heard"),
    [
        (FLATTEN, False),
        ('layer { name: "f" type: "Reshape" bottom: "b" top: "f" reshape_param { shape { dim: 3 dim: 8 } } }', True),
    ],
    ids=["Flatten", "Reshape"],
)
def test_flatten_behind_a_recurrent_layer_leaves_it_without_a_gradient(reader: str, heard: bool) -> None:
    made = made_of(LSTM + reader, "f", x=(3, 2, 5), cont=(3, 2))
    found = gradients(made, "f", drawn(3, 8), x=drawn(3, 2, 5), cont=np.ones((3, 2), np.float32))
    assert bool(found["x"].any()) is heard
    assert all(bool(p.grad is not None and p.grad.any()) is heard for p in made.module.parameters())


def test_states_of_a_recurrent_layer_have_no_gradient() -> None:
    text = """layer { name: "l" type: "LSTM" bottom: "x" bottom: "cont" bottom: "h" bottom: "c"
      top: "l" top: "last_h" top: "last_c"
      recurrent_param { num_output: 4 expose_hidden: true weight_filler { type: "xavier" } } }"""
    fed = {"x": drawn(3, 2, 5), "cont": np.ones((3, 2), np.float32), "h": drawn(1, 2, 4), "c": drawn(1, 2, 4)}
    shapes = {name: array.shape for name, array in fed.items()}
    made = made_of(text, "l", **shapes)
    found = gradients(made, "l", drawn(3, 2, 4), **fed)
    assert found["x"].any()
    assert not found["h"].any()
    assert not found["c"].any()
    outputs = made.module(*(torch.from_numpy(fed[name]) for name in made.inputs))
    assert outputs["l"].requires_grad
    assert not outputs["last_h"].requires_grad
    assert not outputs["last_c"].requires_grad
