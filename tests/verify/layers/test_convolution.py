"""Convolution, Deconvolution, Im2col and InnerProduct against loops that spell out their sums."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from prototxt.errors import NetError
from tests.verify.caffe_answers import run_layer
from verify.layers import convolution
from verify.layers.registry import Array
from verify.layers.shared.window import Window

Floats = npt.NDArray[np.float64]
Geometry = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]
"""Kernel, stride, pad, dilation, one each a spatial axis."""


def connections(sizes: Sequence[int], out: Sequence[int], geometry: Geometry) -> list[tuple[tuple[int, ...], ...]]:
    """Every (output place, kernel place, input place) that lies within the image."""
    kernel, stride, pad, dilation = geometry
    found = []
    for o in itertools.product(*map(range, out)):
        for k in itertools.product(*map(range, kernel)):
            i = tuple(s * a + d * b - p for s, a, d, b, p in zip(stride, o, dilation, k, pad, strict=True))
            if all(0 <= a < size for a, size in zip(i, sizes, strict=True)):
                found.append((o, k, i))
    return found


def convolved(x: Floats, w: Floats, b: Floats, group: int, geometry: Geometry) -> Floats:
    kernel, stride, pad, dilation = geometry
    spans = zip(x.shape[2:], kernel, stride, pad, dilation, strict=True)
    out = [(size + 2 * p - (d * (k - 1) + 1)) // s + 1 for size, k, s, p, d in spans]
    y = np.zeros((x.shape[0], w.shape[0], *out)) + b.reshape(-1, *[1] * len(out))
    ins, outs = x.shape[1] // group, w.shape[0] // group
    for o, k, i in connections(x.shape[2:], out, geometry):
        for c_out in range(w.shape[0]):
            first = c_out // outs * ins
            for c_in in range(ins):
                y[(slice(None), c_out, *o)] += x[(slice(None), first + c_in, *i)] * w[(c_out, c_in, *k)]
    return y


def deconvolved(x: Floats, w: Floats, b: Floats, group: int, geometry: Geometry) -> Floats:
    kernel, stride, pad, dilation = geometry
    spans = zip(x.shape[2:], kernel, stride, pad, dilation, strict=True)
    out = [s * (size - 1) + d * (k - 1) + 1 - 2 * p for size, k, s, p, d in spans]
    y = np.zeros((x.shape[0], w.shape[1] * group, *out)) + b.reshape(-1, *[1] * len(out))
    ins, outs = x.shape[1] // group, w.shape[1]
    for o, k, i in connections(out, x.shape[2:], geometry):
        for c_in in range(x.shape[1]):
            first = c_in // ins * outs
            for c_out in range(outs):
                y[(slice(None), first + c_out, *i)] += x[(slice(None), c_in, *o)] * w[(c_in, c_out, *k)]
    return y


def settings(kind: str, outputs: int, group: int, geometry: Geometry) -> str:
    names = ("kernel_size", "stride", "pad", "dilation")
    fields = " ".join(f"{n}: {v}" for n, values in zip(names, geometry, strict=True) for v in values)
    return f'type: "{kind}" convolution_param {{ num_output: {outputs} group: {group} {fields} }}'


CASES = {
    "odd sizes": ((2, 3, 9, 8), 5, 1, ((3, 2), (2, 1), (1, 0), (1, 1))),
    "dilated, uneven": ((1, 3, 11, 7), 2, 1, ((2, 3), (3, 2), (2, 3), (3, 2))),
    "groups": ((2, 6, 5, 7), 4, 2, ((3, 3), (1, 2), (1, 0), (1, 1))),
    "one channel a group": ((2, 3, 6, 5), 3, 3, ((3, 2), (2, 1), (1, 2), (2, 1))),
    "two outputs a channel": ((1, 3, 6, 5), 6, 3, ((2, 3), (1, 1), (0, 1), (1, 1))),
    "points": ((2, 4, 3, 5), 3, 1, ((1, 1), (1, 1), (0, 0), (1, 1))),
    "points with a stride": ((1, 4, 6, 5), 3, 2 - 1, ((1, 1), (2, 3), (0, 0), (1, 1))),
    "one axis": ((2, 3, 11), 4, 1, ((4,), (3,), (2,), (2,))),
    "three axes": ((1, 2, 4, 5, 6), 3, 1, ((2, 3, 1), (1, 2, 3), (1, 0, 1), (2, 1, 1))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", [1 << 21, 7], ids=["in one block", "in small blocks"])
def test_convolution_is_the_sum_that_its_definition_says(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "BLOCK_VALUES", block)
    shape, outputs, group, geometry = CASES[name]
    rng = np.random.default_rng(3)
    x = rng.normal(size=shape).astype(np.float32)
    w = rng.normal(size=(outputs, shape[1] // group, *geometry[0])).astype(np.float32)
    b = rng.normal(size=outputs).astype(np.float32)
    (y,) = run_layer(settings("Convolution", outputs, group, geometry), x, blobs=[w, b])
    expected = convolved(*(a.astype(np.float64) for a in (x, w, b)), group, geometry)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_deconvolution_is_the_sum_that_its_definition_says(name: str) -> None:
    shape, outputs, group, geometry = CASES[name]
    kernel, stride, _, dilation = geometry
    geometry = (kernel, stride, [0 if d * (k - 1) < 2 else 1 for k, d in zip(kernel, dilation, strict=True)], dilation)
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape).astype(np.float32)
    w = rng.normal(size=(shape[1], outputs // group, *kernel)).astype(np.float32)
    b = rng.normal(size=outputs).astype(np.float32)
    (y,) = run_layer(settings("Deconvolution", outputs, group, geometry), x, blobs=[w, b])
    expected = deconvolved(*(a.astype(np.float64) for a in (x, w, b)), group, geometry)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_forks_depthwise_layers_take_one_channel_a_group_whatever_they_say(kind: str) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(2, 3, 5, 4)).astype(np.float32), rng.normal(size=(3, 1, 2, 2)).astype(np.float32)
    geometry: Geometry = ((2, 2), (1, 1), (0, 0), (1, 1))
    (y,) = run_layer(settings(kind, 3, 1, geometry), x, blobs=[w, np.zeros(3)])
    expected = convolved(x.astype(np.float64), w.astype(np.float64), np.zeros(3), 3, geometry)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_height_and_width_fields_stand_for_the_two_axes() -> None:
    x = np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)
    fields = "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 bias_term: false"
    text = f'type: "Convolution" convolution_param {{ num_output: 1 {fields} }}'
    (y,) = run_layer(text, x, blobs=[np.ones((1, 1, 2, 3))])
    padded = np.pad(x[0, 0], ((1, 1), (0, 0)))
    rows = [[padded[r : r + 2, c : c + 3].sum() for c in range(4)] for r in (0, 2, 4)]
    assert np.array_equal(y[0, 0], rows)


def test_im2col_lists_each_window_as_a_column() -> None:
    x = np.arange(1, 25, dtype=np.float32).reshape(1, 2, 3, 4)
    (y,) = run_layer('type: "Im2col" convolution_param { kernel_size: 2 kernel_size: 3 pad: 0 pad: 1 }', x)
    assert y.shape == (1, 2 * 2 * 3, 2, 4)
    assert y[0, :6, 0, 0].tolist() == [0, 1, 2, 0, 5, 6]  # the first window begins in the padding on the left
    assert y[0, 6:, 1, 3].tolist() == [19, 20, 0, 23, 24, 0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("kernel_size: 9", r"kernel 9×9 is larger than 5×4 with pad 0×0"),
        ("kernel_size: 2 group: 2", r"3 channels and num_output 2 do not divide into 2 groups"),
        ("kernel_size: 2 stride: 0", r"stride \(0, 0\) is not positive"),
        ("kernel_size: 2 stride: 1 stride: 2 stride: 3", r"has 3 stride for 2 spatial axes"),
        ("kernel_size: 2 kernel_h: 2", r"kernel_size is given both ways"),
        ("stride: 1", r"has no kernel_size"),
        ("kernel_size: 1 pad: 100000", r"more values than a blob can hold"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_its_numbers(fields: str, message: str) -> None:
    text = f'type: "Convolution" convolution_param {{ num_output: 2 {fields} }}'
    with pytest.raises(NetError, match=message):
        run_layer(text, np.zeros((1, 3, 5, 4)), blobs=[np.zeros((2, 3, 2, 2)), np.zeros(2)])


def test_inner_product_flattens_from_its_axis_and_takes_old_four_dimensional_blobs() -> None:
    rng = np.random.default_rng(6)
    x, w, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 12)), rng.normal(size=5)
    text = 'type: "InnerProduct" inner_product_param {{ num_output: 5 {} }}'
    (y,) = run_layer(text.format(""), x, blobs=[w, b])
    np.testing.assert_allclose(y, x.reshape(2, 12) @ w.T + b, rtol=1e-5, atol=1e-6)
    (same,) = run_layer(text.format("transpose: true"), x, blobs=[w.T, b])
    np.testing.assert_allclose(same, y, rtol=1e-6, atol=1e-6)
    (last,) = run_layer(text.format("axis: -1 bias_term: false"), x, blobs=[w[:, :4]])
    assert last.shape == (2, 3, 5)
    np.testing.assert_allclose(last, x @ w[:, :4].T, rtol=1e-5, atol=1e-6)


def test_sums_do_not_lose_small_terms_beside_large_ones() -> None:
    """2^24 + 1 has no float32; a float32 sum of these terms would give 0."""
    x = np.array([[2.0**24, 1.0, -(2.0**24)]])
    text = 'type: "InnerProduct" inner_product_param { num_output: 1 bias_term: false }'
    (y,) = run_layer(text, x, blobs=[[[1, 1, 1]]])
    assert y.tolist() == [[1.0]]


def test_embed_looks_up_rows() -> None:
    table = np.arange(12).reshape(4, 3)
    text = 'type: "Embed" embed_param { input_dim: 4 num_output: 3 }'
    (y,) = run_layer(text, [[3], [1]], blobs=[table, [10, 20, 30]])
    assert y.tolist() == [[[19, 30, 41]], [[13, 24, 35]]]
    with pytest.raises(NetError, match="an index is not within 0 and 3"):
        run_layer(text, [4.0], blobs=[table, [10, 20, 30]])


def laid_out(name: str) -> tuple[Array, Array, Array, Window, int]:
    shape, outputs, group, (kernel, stride, pad, dilation) = CASES[name]
    rng = np.random.default_rng(5)
    x = rng.normal(size=shape).astype(np.float32)
    w = rng.normal(size=(outputs, shape[1] // group, *kernel)).astype(np.float32)
    b = rng.normal(size=outputs).astype(np.float32)
    window = Window(tuple(kernel), tuple(stride), tuple(pad), tuple(pad), tuple(dilation))
    return x, w, b, window, group


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", [1 << 21, 7], ids=["in one block", "in small blocks"])
def test_inputs_near_the_first_give_what_they_give_alone(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "BLOCK_VALUES", block)
    x, *rest = laid_out(name)
    noise = np.random.default_rng(6).normal(size=(2, *x.shape)).astype(np.float32)
    inputs = [x, x + noise[0] * np.float32(2**-12), -x, x + noise[1] * np.float32(2**-20)]
    first, *others = convolution.convolve_beside(inputs, *rest)
    assert first.tobytes() == convolution.convolve(x, *rest).tobytes()
    for given, top in zip(inputs[1:], others, strict=True):
        np.testing.assert_allclose(top, convolution.convolve(given, *rest), rtol=2**-23, atol=2**-24)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda x: np.where(x == x.max(), np.float32(np.inf), x), id="infinite"),
        pytest.param(lambda x: np.where(x == x.max(), np.float32(np.nan), x), id="no number"),
        pytest.param(lambda x: x * np.float32(1.05), id="far"),
    ],
)
def test_inputs_that_are_not_near_are_convolved_as_they_are(other: Callable[[Array], Array]) -> None:
    x, *rest = laid_out("odd sizes")
    for first, second in ((x, other(x)), (other(x), x), (other(x), other(x) + np.float32(2**-20))):
        tops = convolution.convolve_beside([first, second], *rest)
        for given, top in zip((first, second), tops, strict=True):
            np.testing.assert_allclose(top, convolution.convolve(given, *rest), rtol=2**-23, atol=2**-24)


def test_a_difference_for_which_float32_has_no_room_is_worked_out_in_float64() -> None:
    x = np.full((1, 2, 3, 5), 1e10, np.float32)
    w = np.array([[1e31, -1e31]], np.float32).reshape(1, 2, 1, 1)
    moved = x + np.float32(1e8)
    window = Window((1, 1), (1, 1), (0, 0), (0, 0), (1, 1))
    with np.errstate(all="ignore"):
        tops = convolution.convolve_beside([x, moved], w, None, window, 1)
    assert [top.tolist() for top in tops] == [np.zeros((1, 1, 3, 5)).tolist()] * 2
