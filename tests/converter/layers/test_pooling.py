"""Pooling, its pyramid, and columns of windows, against loops over every window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from prototxt import parse_net
from prototxt.errors import CaffeModelError, NetError
from tests.converter.layers.test_rarer_agreement import (
    Array,
    answers,
    assert_gives,
    layer,
    net_of,
    random,
    refusal,
    weights_of,
)
from tests.golden import assert_close, run_onnx, run_torch
from verify import run

X = random(7, 2, 3, 7, 10)


def windows(x: Array, count: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]):
    """Each output place with the part of every plane that its window covers, and where that part begins."""
    for i, j in np.ndindex(*count):
        top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
        rows = slice(max(top, 0), min(top + kernel[0], x.shape[2]))
        columns = slice(max(left, 0), min(left + kernel[1], x.shape[3]))
        yield (i, j), x[:, :, rows, columns], (rows.start, columns.start), (top, left)


@pytest.mark.parametrize(("extra", "pad"), [("", (0, 0)), ("pad: 1", (1, 1)), ("pad: 2", (2, 2))])
def test_a_mask_counts_places_from_the_start_of_each_plane(extra: str, pad: tuple[int, int], tmp_path: Path) -> None:
    text = layer("Pooling", f"pooling_param {{ kernel_size: 3 stride: 2 {extra} }}", "x", "out mask")
    count = {0: (3, 5), 1: (4, 6), 2: (5, 6)}[pad[0]]
    best, place = np.zeros((2, 3, *count)), np.zeros((2, 3, *count))
    for at, part, (top, left), _ in windows(X, count, (3, 3), (2, 2), pad):
        for n, c in np.ndindex(2, 3):
            row, column = np.unravel_index(part[n, c].argmax(), part[n, c].shape)
            best[n, c][at] = part[n, c].max()
            place[n, c][at] = (top + row) * 10 + left + column
    for got in answers(text, {"x": X}, tmp_path):
        assert_close(got["out"], best, "out")
        assert (got["mask"] == place).all()


def test_the_mask_names_the_first_of_equal_values(tmp_path: Path) -> None:
    text = layer("Pooling", "pooling_param { kernel_h: 2 kernel_w: 3 stride: 3 }", "x", "out mask")
    for got in answers(text, {"x": np.ones((2, 3, 5, 6), np.float32)}, tmp_path):
        assert got["mask"][1, 2].tolist() == [[0, 3], [18, 21]]
    every = layer("Pooling", "pooling_param { global_pooling: true }", "x", "out mask")
    x = np.zeros((2, 3, 5, 6), np.float32)
    x[1, 2, 3, 4] = x[1, 2, 4, 0] = 9
    for got in answers(every, {"x": x}, tmp_path):
        assert got["mask"][1, 2].tolist() == [[22]]
        assert got["mask"].sum() == 22


def test_one_side_beside_kernel_size_counts_for_nothing_as_in_caffe(tmp_path: Path) -> None:
    expected = np.zeros((2, 3, 3, 5))
    for at, part, _, _ in windows(X, (3, 5), (2, 2), (2, 2), (0, 0)):
        expected[:, :, at[0], at[1]] = part.max((2, 3))
    x = X[:, :, :6]
    for side in ("kernel_h: 3", "kernel_w: 1"):
        text = layer("Pooling", f"pooling_param {{ kernel_size: 2 stride: 2 {side} }}")
        for got in answers(text, {"x": x}, tmp_path):
            assert_close(got["out"], expected, "out")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "both kernel_size and kernel_h and kernel_w are given"),
        ("kernel_size: 2 pad: 1 pad_w: 1", "both pad and pad_w are given"),
        ("kernel_size: 2 stride_h: 2", "stride_h alone; expected stride_h and stride_w together"),
        ("kernel_w: 2", "kernel_w alone; expected kernel_h and kernel_w together"),
        ("kernel_size: 2 pad_w: 1", "pad_w alone; expected pad_h and pad_w together"),
    ],
)
def test_fields_of_two_sides_are_given_whole_and_alone(fields: str, message: str) -> None:
    assert message in refusal(layer("Pooling", f"pooling_param {{ {fields} }}"), {"x": X})


def test_stochastic_pooling_weighs_values_by_their_share(tmp_path: Path) -> None:
    x = np.abs(X)
    x[0, 0, :4, :4] = 0
    expected = np.zeros((2, 3, 4, 4))
    for at, part, _, _ in windows(x, (4, 4), (2, 4), (2, 3), (0, 0)):
        total = part.sum((2, 3), dtype=np.float64)
        squares = (part.astype(np.float64) ** 2).sum((2, 3))
        expected[(..., *at)] = np.divide(squares, total, out=np.zeros_like(total), where=total > 0)
    text = layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_h: 2 kernel_w: 4 stride_h: 2 stride_w: 3 }")
    expected = expected[:, :, :, :3]
    assert_gives(text, {"x": x}, expected, tmp_path)


def one_sided(pool: str) -> Array:
    """Synopsys' loop with 1 row of padding above, 2 below, 1 column to the right; kernel 3×4, stride 2.

    A fifth row of windows would start at row 7 of the image, behind its last, and is dropped. AVE divides by the window
    held to the padded image, AVE_EXC_PAD by what lies in the image.
    """
    out = np.zeros((2, 3, 4, 5))
    for at, part, _, (top, left) in windows(X, (4, 5), (3, 4), (2, 2), (1, 0)):
        held = (min(top + 3, 7 + 2) - top) * (min(left + 4, 10 + 1) - left)
        inside = part.shape[2] * part.shape[3]
        total = part.sum((2, 3), dtype=np.float64)
        out[(..., *at)] = {"MAX": part.max((2, 3)), "AVE": total / held, "AVE_EXC_PAD": total / inside}[pool]
    return out


@pytest.mark.parametrize("pool", ["MAX", "AVE", "AVE_EXC_PAD"])
def test_each_side_padded_by_itself(pool: str, tmp_path: Path) -> None:
    sides = "pad_t: 1 pad_l: 0 pad_b: 2 pad_r: 1"
    text = layer("Pooling", f"pooling_param {{ pool: {pool} kernel_h: 3 kernel_w: 4 stride: 2 {sides} }}")
    assert_gives(text, {"x": X}, one_sided(pool), tmp_path)


def test_a_pyramid_puts_its_levels_one_behind_the_other(tmp_path: Path) -> None:
    x = random(3, 2, 3, 7, 9)
    whole = x.max((2, 3)).reshape(2, 3)
    # Two bins of 7 rows: kernel 4, pad 1 (rows 0-2, 3-6); of 9 columns: kernel 5, pad 1 (columns 0-3, 4-8).
    parts = [x[:, :, rows, columns] for rows in (slice(0, 3), slice(3, 7)) for columns in (slice(0, 4), slice(4, 9))]
    bins = np.stack([part.max((2, 3)) for part in parts], axis=2).reshape(2, 12)
    text = layer("SPP", "spp_param { pyramid_height: 2 }")
    assert_gives(text, {"x": x}, np.concatenate([whole, bins], axis=1), tmp_path)


def test_a_pyramid_of_height_1_is_not_flattened(tmp_path: Path) -> None:
    assert_gives(layer("SPP", "spp_param { pyramid_height: 1 }"), {"x": X}, X.max((2, 3), keepdims=True), tmp_path)


def columns_of(x: Array, kernel: tuple[int, int], stride: int, pad: tuple[int, int, int, int], count: tuple[int, int]):
    top, left, bottom, right = pad
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    out = np.zeros((x.shape[0], x.shape[1], *kernel, *count), np.float32)
    for a, b, i, j in np.ndindex(*kernel, *count):
        out[:, :, a, b, i, j] = padded[:, :, i * stride + a, j * stride + b]
    return out.reshape(x.shape[0], -1, *count)


def test_columns_stand_channel_by_channel(tmp_path: Path) -> None:
    text = layer("Im2col", "convolution_param { kernel_h: 2 kernel_w: 3 stride: 2 pad_h: 1 pad_w: 0 }")
    assert_gives(text, {"x": X}, columns_of(X, (2, 3), 2, (1, 0, 1, 0), (4, 4)), tmp_path)


def test_columns_of_an_image_of_any_size(tmp_path: Path) -> None:
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }\n' + layer(
        "Im2col", "convolution_param { kernel_size: 2 stride: 2 }"
    )
    graph = prepare(parse_net(text), None, Options(input_shapes={"x": ("N", 3, "H", "W")})).graph
    expected = columns_of(X, (2, 2), 2, (0, 0, 0, 0), (3, 5))
    assert_close(run_onnx(graph, {"x": X}, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(graph, {"x": X})["out"], expected, "torch")


@pytest.mark.parametrize("kind", ["Convolution", "Im2col"])
def test_a_convolution_pads_each_side_by_itself(kind: str, tmp_path: Path) -> None:
    window = "kernel_size: 3 stride: 2 pad_t: 0 pad_l: 2 pad_b: 1 pad_r: 1"
    columns = columns_of(X, (3, 3), 2, (0, 2, 1, 1), (3, 6))
    if kind == "Im2col":
        assert_gives(layer(kind, f"convolution_param {{ {window} }}"), {"x": X}, columns, tmp_path)
        return
    weight, bias = random(1, 4, 3, 3, 3), random(2, 4)
    expected = np.einsum("ok,nkij->noij", weight.reshape(4, -1), columns) + bias[:, None, None]
    text = layer(kind, f"convolution_param {{ num_output: 4 {window} }}")
    assert_gives(text, {"x": X}, expected, tmp_path, weights_of(weight, bias))


def test_a_hole_is_a_dilation(tmp_path: Path) -> None:
    weight = random(1, 4, 3, 2, 2)
    params = "convolution_param {{ num_output: 4 kernel_size: 2 bias_term: false {} }}"
    feeds, weights = {"x": X}, weights_of(weight)
    one, _ = answers(layer("Convolution", params.format("dilation: 3")), feeds, tmp_path, weights)
    assert_gives(layer("Convolution", params.format("hole: 3")), feeds, one["out"], tmp_path, weights)


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_a_channel_has_its_own_window(kind: str, tmp_path: Path) -> None:
    weight, bias = random(1, 3, 1, 2, 3), random(2, 3)
    columns = columns_of(X, (2, 3), 1, (0, 0, 0, 0), (6, 8)).reshape(2, 3, 6, 6, 8)
    expected = np.einsum("ck,nckij->ncij", weight.reshape(3, 6), columns) + bias[:, None, None]
    stated = ["num_output: 3", "num_output: 3 group: 3"]
    if kind == "ConvolutionDepthwise":  # whose first fork reads neither field
        stated += ["num_output: 58 group: 58", "num_output: 2", ""]
    for numbers in stated:
        text = layer(kind, f"convolution_param {{ {numbers} kernel_h: 2 kernel_w: 3 }}")
        assert_gives(text, {"x": X}, expected, tmp_path, weights_of(weight, bias))


REFUSED = {
    layer("Pooling", "\npooling_param { kernel_size: 2 pool: AVE }", "x", "y mask"): (
        "2:32: error: layer 'it' (Pooling): a second top with pool AVE; expected MAX"
    ),
    layer("Pooling", "\npooling_param { kernel_size: 2 pool: STOCHASTIC pad: 1 }"): (
        "2:49: error: layer 'it' (Pooling): padding with pool STOCHASTIC; expected none"
    ),
    layer("Pooling", "\npooling_param { kernel_size: 2 pad: 1 pad_l: 1 }"): (
        "2:39: error: layer 'it' (Pooling): both pad and pad_l are given; expected one of them"
    ),
    layer("SPP", "\nspp_param { pyramid_height: 0 }"): (
        "2:13: error: layer 'it' (SPP): pyramid_height is 0; expected at least 1"
    ),
    layer(
        "SPP", "spp_param { pyramid_height: 5 }"
    ): "1:1: error: layer 'it' (SPP): 8×8 bins do not fit the image of 7×10",
    layer("DepthwiseConvolution", "convolution_param { num_output: 4 kernel_size: 1 group: 2 }"): (
        "1:1: error: layer 'it' (DepthwiseConvolution): group is 2 for 3 channels; expected one a channel"
    ),
    layer("DepthwiseConvolution", "convolution_param { num_output: 4 kernel_size: 1 }"): (
        "1:1: error: layer 'it' (DepthwiseConvolution): num_output 4 is no multiple of the 3 channels"
    ),
    layer("Deconvolution", "\nconvolution_param { num_output: 4 kernel_size: 2 pad_l: 1 }"): (
        "2:50: error: layer 'it' (Deconvolution): pad_l; expected pad"
    ),
    layer("Convolution", "\nconvolution_param { num_output: 4 kernel_size: 2 dilation: 2 hole: 2 }"): (
        "2:62: error: layer 'it' (Convolution): both dilation and hole are given; expected one of them"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_window_that_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": X}) == f"net.prototxt:{int(line) + 1}:{rest}"


def test_the_mask_of_windows_behind_the_image_is_minus_1(tmp_path: Path) -> None:
    text = layer("Pooling", "pooling_param { kernel_size: 2 stride: 4 }", "x", "out mask")
    x = random(1, 2, 3, 4, 5)  # the second row of windows starts at row 4, behind the last
    for got in answers(text, {"x": x}, tmp_path):
        assert (got["mask"][:, :, 1] == -1).all()
        for n, c in np.ndindex(2, 3):
            corner, edge = x[n, c, :2, :2], x[n, c, :2, 4]
            assert got["out"][n, c, 0].tolist() == [corner.max(), edge.max()]
            row, column = divmod(int(corner.argmax()), 2)
            assert got["mask"][n, c, 0].tolist() == [row * 5 + column, int(edge.argmax()) * 5 + 4]


@pytest.mark.parametrize(
    "params",
    ["pool: AVE kernel_size: 2 pad: 1", "kernel_size: 3 pad: 1", "kernel_size: 1 stride: 2", "kernel_h: 2 kernel_w: 3"],
)
def test_of_volumes_only_plain_windows_are_taken(params: str) -> None:
    text = layer("Pooling", f"pooling_param {{ {params} }}")
    assert "of volumes is known one kernel, one stride" in refusal(text, {"x": random(2, 2, 3, 4, 5, 6)})
    assert "expected 4 axes" in refusal(text, {"x": random(2, 2, 3, 4)})


@pytest.mark.parametrize("params", ["kernel_size: 2 stride: 2", "kernel_size: [2, 1, 2] stride: [2, 1, 1]"])
def test_of_volumes_no_average_hangs_over_the_end(params: str) -> None:
    text, x = layer("Pooling", f"pooling_param {{ pool: AVE {params} }}"), random(2, 2, 3, 5, 4, 6)
    assert "a window hangs over the end, and the source does not say" in refusal(text, {"x": x})
    with pytest.raises(NetError, match="averages a window over the end"):
        run(net_of(text, {"x": x}), None, {"x": x})


@pytest.mark.parametrize(
    "given", ["kernel_size: 1 kernel_size: 2", "kernel_size: [1, 2]", "kernel_size: 1 pad: [0, 1]"]
)
def test_two_numbers_without_a_dilation_are_a_slip(given: str) -> None:
    with pytest.raises(CaffeModelError, match=r"is given twice|is a list; expected one value"):
        net_of(layer("Pooling", f"pooling_param {{ {given} }}"), {"x": random(2, 2, 3, 4, 5)})


def test_three_numbers_are_of_three_axes() -> None:
    text = layer("Pooling", "pooling_param { kernel_size: [1, 2, 2] }")
    assert "kernel has 3 numbers for 2 axes; expected 1 or 2" in refusal(text, {"x": random(2, 2, 3, 4, 5)})
    text = layer("Pooling", "pooling_param { kernel_size: [1, 2, 2] pool: STOCHASTIC }")
    assert "pool STOCHASTIC over any axes" in refusal(text, {"x": random(2, 2, 3, 4, 5, 6)})


def test_of_volumes_there_is_no_mask(tmp_path: Path) -> None:
    feeds = {"x": random(2, 2, 3, 4, 5, 6)}
    net = net_of(layer("Pooling", "pooling_param { kernel_size: 2 }", "x", "out mask"), feeds)
    with pytest.raises(NetError, match="no padding and one top"):
        run_onnx(prepare(net, None, Options()).graph, feeds, tmp_path)
    with pytest.raises(NetError, match="to one top"):
        run(net, None, feeds)


@pytest.mark.parametrize("size", [7, 8])
def test_a_window_that_may_lie_behind_the_input_wants_a_fixed_size(size: int) -> None:
    text = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 8 dim: %d } } }
      layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 1 stride: 2 } }"""
    net = parse_net(text % size, "net.prototxt")
    prepare(net, None, Options())
    with pytest.raises(NetError, match="with stride 2 above kernel 1 Caffe's last window may lie behind the input"):
        prepare(net, None, Options(input_shapes={"data": (1, 2, 8, "W")}))
