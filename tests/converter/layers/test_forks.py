"""Forks' layers that move, repeat, weigh and interpolate values, against loops written from the forks' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare
from converter.options import Options
from converter.targets.onnx_model import emit_onnx
from converter.training.module import trainable
from prototxt import parse_net
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

X = random(11, 2, 6, 5, 7)


def free_answers(text: str, feed: Array, folder: Path, free: tuple[int | str, ...]) -> tuple[Array, Array]:
    """Both targets' results for an input whose size was left free while the net was converted."""
    net = net_of(text, {"x": random(0, 1, 6, 4, 4)})
    graph = prepare(net, None, Options(input_shapes={"x": free})).graph
    return run_onnx(graph, {"x": feed}, folder)["out"], run_torch(graph, {"x": feed})["out"]


def test_shuffled_channels(tmp_path: Path) -> None:
    expected = np.empty_like(X)
    for i, j in np.ndindex(3, 2):  # the fork's loop: row i and column j of a 3×2 table becomes row j, column i
        expected[:, j * 3 + i] = X[:, i * 2 + j]
    text = layer("ShuffleChannel", "shuffle_channel_param { group: 3 }")
    assert_gives(text, {"x": X}, expected, tmp_path)
    for got in free_answers(text, X, tmp_path, ("N", 6, "H", "W")):
        assert_close(got, expected, "free size")


def test_pixels_from_planes(tmp_path: Path) -> None:
    x = random(2, 2, 12, 3, 5)
    expected = np.empty((2, 3, 6, 10), np.float32)
    for c, h, w in np.ndindex(3, 6, 10):
        expected[:, c, h, w] = x[:, c * 4 + h % 2 * 2 + w % 2, h // 2, w // 2]
    assert_gives(layer("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }"), {"x": x}, expected, tmp_path)


def test_axes_turned_and_reversed(tmp_path: Path) -> None:
    transposed = layer("Transpose", "transpose_param { dim: 3 dim: 0 dim: 2 dim: 1 }")
    assert_gives(transposed, {"x": X}, X.transpose(3, 0, 2, 1), tmp_path)
    for axis in (0, 2, -1):
        assert_gives(layer("Reverse", f"reverse_param {{ axis: {axis} }}"), {"x": X}, np.flip(X, axis), tmp_path)
    for got in free_answers(layer("Reverse", "reverse_param { axis: 3 }"), X, tmp_path, ("N", 6, "H", "W")):
        assert_close(got, X[..., ::-1], "free size")


def test_axes_of_1_dropped(tmp_path: Path) -> None:
    x = random(3, 1, 5, 1, 1)
    for params, shape in (("axis: 2 axis: -1", (1, 5)), ("axis: 2", (1, 5, 1)), ("", (5,))):
        assert_gives(layer("Squeeze", f"squeeze_param {{ {params} }}"), {"x": x}, x.reshape(shape), tmp_path)


def test_a_border_around_an_image(tmp_path: Path) -> None:
    text = layer("Pad", "pad_param { paddings: 0 paddings: 0 paddings: 1 paddings: 0 paddings: 2 paddings: 0 "
                 "paddings: 0 paddings: 3 constant_values: -1.5 }")  # fmt: skip
    expected = np.pad(X, ((0, 0), (1, 0), (2, 0), (0, 3)), constant_values=-1.5)
    assert_gives(text, {"x": X}, expected, tmp_path)


def test_a_factor_a_channel_times_x_plus_y(tmp_path: Path) -> None:
    y = random(12, *X.shape)
    for shape in ((2, 6, 1, 1), (2, 6)):
        a = random(13, *shape)
        expected = np.empty_like(X)
        for n, c in np.ndindex(2, 6):
            expected[n, c] = a[n, c] * X[n, c] + y[n, c]
        assert_gives(layer("Axpy", "", "a x y"), {"a": a, "x": X, "y": y}, expected, tmp_path)


@pytest.mark.parametrize("shape", [(2, 6, 1, 1), (5, 7), (1, 7), (2, 6, 5, 7), (3, 1, 6, 1, 7)])
def test_a_product_of_blobs_that_line_up_from_the_end(shape: tuple[int, ...], tmp_path: Path) -> None:
    b = random(5, *shape)
    x = X[:1] if len(shape) == 5 else X
    x = x if len(shape) < 5 else np.ascontiguousarray(x)
    assert_gives(layer("Mul", "", "x b"), {"x": x, "b": b}, x * b, tmp_path)


@pytest.mark.parametrize("scale", [2, 3, 5, 7])
def test_each_pixel_repeated(scale: int, tmp_path: Path) -> None:
    expected = X.repeat(scale, 2).repeat(scale, 3)
    for text in (
        layer("Upsample", f"upsample_param {{ scale: {scale} }}"),
        layer("UpsampleDarknet", f"upsample_darknet_param {{ stride: {scale} }}"),
    ):
        assert_gives(text, {"x": X}, expected, tmp_path)
    for got in free_answers(layer("Upsample", f"upsample_param {{ scale: {scale} }}"), X, tmp_path, (2, 6, "H", "W")):
        assert_close(got, expected, "free size")


@pytest.mark.parametrize(
    ("params", "height", "width"),
    [
        ("scale: 2", 10, 14),
        ("scale: 2 pad_out_h: true", 9, 14),
        ("scale_h: 3 scale_w: 2 pad_out_w: true", 15, 13),
        ("upsample_h: 11 upsample_w: 13", 11, 13),
    ],
)
def test_values_go_back_where_the_mask_says(params: str, height: int, width: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    mask = np.stack([rng.permutation(height * width)[:35] for _ in range(12)]).reshape(X.shape).astype(np.float32)
    expected = np.zeros((2, 6, height, width), np.float32)
    for n, c, i, j in np.ndindex(*X.shape):
        place = int(mask[n, c, i, j])
        expected[n, c, place // width, place % width] = X[n, c, i, j]
    text = layer("Upsample", f"upsample_param {{ {params} }}", "x mask")
    assert_gives(text, {"x": X, "mask": mask}, expected, tmp_path)
    net = net_of(text, {"x": X, "mask": mask})
    free = {"x": ("N", 6, "H", "W"), "mask": ("N", 6, "H", "W")}
    graph = prepare(net, None, Options(input_shapes=free)).graph
    feeds = {"x": X, "mask": mask}
    assert_close(run_onnx(graph, feeds, tmp_path)["out"], expected, "onnx")
    assert_close(run_torch(graph, feeds)["out"], expected, "torch")


def interpolated(x: Array, height: int, width: int) -> Array:
    """DeepLab's caffe_cpu_interp2, pixel by pixel."""
    out = np.empty((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        y = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        z = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        h, w = int(y), int(z)
        down, right = int(h < x.shape[2] - 1), int(w < x.shape[3] - 1)
        b, a = y - h, z - w
        above = (1 - a) * x[:, :, h, w] + a * x[:, :, h, w + right]
        below = (1 - a) * x[:, :, h + down, w] + a * x[:, :, h + down, w + right]
        out[:, :, i, j] = (1 - b) * above + b * below
    return out.astype(np.float32)


INTERP = {
    "height: 9 width: 4": (9, 4),
    "height: 1 width: 1": (1, 1),
    "zoom_factor: 3": (13, 19),
    "shrink_factor: 2": (3, 4),
    "shrink_factor: 2 zoom_factor: 3": (7, 10),
    "zoom_factor: 2 height: 40 width: 40": (9, 13),
    "zoom_factor: 2 shrink_factor: 2 height: 4 width: 3": (4, 3),
    "full_zoom_factor: 2": (10, 14),
}


@pytest.mark.parametrize("params", INTERP)
def test_corners_fall_on_corners(params: str, tmp_path: Path) -> None:
    text, size = layer("Interp", f"interp_param {{ {params} }}"), INTERP[params]
    expected = interpolated(X, *size)
    assert_gives(text, {"x": X}, expected, tmp_path)
    for got in free_answers(text, X, tmp_path, ("N", 6, "H", "W")):
        assert_close(got, expected, "free size", 1e-6)


@pytest.mark.parametrize(
    ("before", "after", "operators"),
    [
        ((1, 1), (4, 6), ["Expand"]),
        ((1, 5), (4, 5), ["Expand"]),
        ((1, 5), (4, 9), ["Expand", "Resize"]),
        ((5, 1), (3, 6), ["Expand", "Resize"]),
        ((1, 5), (1, 9), ["Expand", "Resize", "Slice"]),
        ((5, 1), (9, 1), ["Expand", "Resize", "Slice"]),
        ((4, 5), (1, 1), ["Resize"]),
    ],
)
def test_one_pixel_is_repeated_before_anything_is_interpolated(
    before: tuple[int, int], after: tuple[int, int], operators: list[str], tmp_path: Path
) -> None:
    # OpenCV 5 mixes a millionth of what lies in memory behind a map into its only row.
    x = random(0, 2, 3, *before)
    text = layer("Interp", f"interp_param {{ height: {after[0]} width: {after[1]} }}")
    assert_gives(text, {"x": x}, interpolated(x, *after), tmp_path)
    model = emit_onnx(prepare(net_of(text, {"x": x}), None, Options()).graph).proto
    assert [node.op_type for node in model.graph.node] == operators


def half_pixels(x: Array, height: int, width: int) -> Array:
    """Synopsys' loop with half_pixel_centers: lower and upper neighbours held to the image, their share from floor."""
    out = np.empty((*x.shape[:2], height, width))

    def neighbours(i: int, before: int, after: int) -> tuple[int, int, float]:
        at = (i + 0.5) * before / after - 0.5
        low = int(np.floor(at))
        return max(low, 0), min(int(np.ceil(at)), before - 1), at - low

    for i, j in np.ndindex(height, width):
        top, bottom, b = neighbours(i, x.shape[2], height)
        left, right, a = neighbours(j, x.shape[3], width)
        above = x[:, :, top, left] + (x[:, :, top, right] - x[:, :, top, left]) * a
        below = x[:, :, bottom, left] + (x[:, :, bottom, right] - x[:, :, bottom, left]) * a
        out[:, :, i, j] = above + (below - above) * b
    return out.astype(np.float32)


@pytest.mark.parametrize(
    ("params", "height", "width"),
    [("output_height: 9 output_width: 3", 9, 3), ("scale_height: 2 scale_width: 1.5", 10, 10), ("", 5, 7)],
)
def test_resizing_with_corners_or_areas(params: str, height: int, width: int, tmp_path: Path) -> None:
    for how, expected in (("align_corners", interpolated), ("half_pixel_centers", half_pixels)):
        text = layer("ResizeBilinear", f"resize_bilinear_param {{ data_format: 'NCHW' {how}: true {params} }}")
        assert_gives(text, {"x": X}, expected(X, height, width), tmp_path)


@pytest.mark.parametrize("params", ["output_height: 10 output_width: 21", "scale_height: 2 scale_width: 3"])
@pytest.mark.parametrize("half", ["", "half_pixel_centers: true"])
def test_resizing_by_repeating_pixels(params: str, half: str, tmp_path: Path) -> None:
    text = layer("ResizeNearestNeighbor", f"resize_nearest_neighbor_param {{ data_format: 'NCHW' {half} {params} }}")
    assert_gives(text, {"x": X}, X.repeat(2, 2).repeat(3, 3), tmp_path)


def test_negative_padding_crops_before_interpolating(tmp_path: Path) -> None:
    for beg, end, part in ((-1, -2, X[:, :, 1:3, 1:5]), (-1, 0, X[:, :, 1:, 1:]), (0, -1, X[:, :, :-1, :-1])):
        text = layer("Interp", f"interp_param {{ zoom_factor: 2 pad_beg: {beg} pad_end: {end} }}")
        h, w = part.shape[2] * 2 - 1, part.shape[3] * 2 - 1
        assert_gives(text, {"x": X}, interpolated(part, h, w), tmp_path)
        for got in free_answers(text, X, tmp_path, ("N", 6, "H", "W")):
            assert_close(got, interpolated(part, h, w), "free size", 1e-6)


def test_eps_of_synopsys_stands_on_either_side_of_the_root(tmp_path: Path) -> None:
    x64 = X.astype(np.float64)
    mean = x64.mean((2, 3), keepdims=True)
    variance = ((x64 - mean) ** 2).mean((2, 3), keepdims=True)
    text = layer("MVN", "mvn_param { eps: 0.25 add_eps_before_sqrt: true }")
    assert_gives(text, {"x": X}, (x64 - mean) / np.sqrt(variance + 0.25), tmp_path)
    text = layer("MVN", "mvn_param { eps: 0.25 }")
    assert_gives(text, {"x": X}, (x64 - mean) / (np.sqrt(variance) + 0.25), tmp_path)
    factor = weights_of(np.full((), 3, np.float32))
    squares = (x64**2).sum((1, 2, 3), keepdims=True)
    text = layer("Normalize", "norm_param { eps: 0.5 add_eps_before_sqrt: false }")
    assert_gives(text, {"x": X}, x64 / (np.sqrt(squares) + 0.5) * 3, tmp_path, factor)
    text = layer("Normalize", "norm_param { eps: 0.5 across_spatial: false add_eps_before_sqrt: false }")
    pixel = (x64**2).sum(1, keepdims=True)
    assert_gives(text, {"x": X}, x64 / np.sqrt(pixel + 0.5) * 3, tmp_path, factor)


def test_a_filter_may_keep_nothing(tmp_path: Path) -> None:
    text = layer("Filter", "", "x s")
    for marks in ([0, 0], [0, -0.5], [2, 1]):
        kept = [i for i, mark in enumerate(marks) if mark]
        for got in answers(text, {"x": X, "s": np.array(marks, np.float32)}, tmp_path):
            assert got["out"].shape == (len(kept), 6, 5, 7)
            assert (got["out"] == X[kept]).all()


def test_indices_are_truncated(tmp_path: Path) -> None:
    index = np.array([1.9, 0.2, 1], np.float32)
    assert_gives(layer("BatchReindex", "", "x i"), {"x": X, "i": index}, X[[1, 0, 1]], tmp_path)
    table, bias = random(1, 4, 3), random(2, 3)
    text = layer("Embed", "embed_param { num_output: 3 input_dim: 4 }", "i")
    assert_gives(text, {"i": index}, table[[1, 0, 1]] + bias, tmp_path, weights_of(table, bias))


def test_a_learned_blob_can_be_read_by_layers(tmp_path: Path) -> None:
    value = random(9, 6, 1, 1)
    text = (
        'layer { name: "it" type: "Parameter" top: "p" parameter_param { shape { dim: 6 dim: 1 dim: 1 } } }\n'
        'layer { name: "m" type: "Mul" bottom: "x" bottom: "p" top: "out" }'
    )
    assert_gives(text, {"x": X}, X * value, tmp_path, weights_of(value))


@pytest.mark.parametrize("name", ["blob_filler", "filler"])
def test_a_learned_blob_starts_by_the_filler_of_either_fork(name: str) -> None:
    params = f"parameter_param {{ shape {{ dim: 6 }} {name} {{ type: 'constant' value: 2 }} norm_axis: 2 }}"
    net = parse_net(f"force_backward: true {layer('Parameter', params, '', 'p')}", phase="TRAIN")
    made = trainable(net, None, options=Options(outputs=["p"]), seed=2)
    assert [p.tolist() for p in made.module.parameters()] == [[2] * 6]


REFUSED = {
    layer("ShuffleChannel", "shuffle_channel_param { group: 4 }"): (
        "1:1: error: layer 'it' (ShuffleChannel): 6 channels are no multiple of group 4"
    ),
    layer("ShuffleChannel", "\nshuffle_channel_param { group: 0 }"): (
        "2:25: error: layer 'it' (ShuffleChannel): group is 0; expected at least 1"
    ),
    layer("PixelShuffle", "pixelshuffle_param { upscale_factor: 2 }"): (
        "1:1: error: layer 'it' (PixelShuffle): 6 channels are no multiple of upscale_factor 2 squared"
    ),
    layer("Transpose", "\ntranspose_param { dim: 0 dim: 0 }"): (
        "2:19: error: layer 'it' (Transpose): dim (0, 0) is no order of the axes"
    ),
    layer("Transpose", "transpose_param { dim: 1 dim: 0 }"): (
        "1:1: error: layer 'it' (Transpose): 2 dim for a blob of 4 axes"
    ),
    layer("Squeeze", "squeeze_param { axis: 1 }"): (
        "1:1: error: layer 'it' (Squeeze): axis 1 holds 6 values; only an axis of 1 can be dropped"
    ),
    layer("Pad", "pad_param { paddings: 1 paddings: 1 }"): (
        "1:1: error: layer 'it' (Pad): 2 paddings for a blob of 4 axes; expected two for each"
    ),
    layer("Pad", "\npad_param { paddings: 1 }"): (
        "2:13: error: layer 'it' (Pad): 1 paddings; expected two for each axis"
    ),
    layer("Upsample", "\nupsample_param { mode: NEAREST }"): (
        "2:1: error: layer 'it' (Upsample): no size; expected height and width, or height_scale and width_scale"
    ),
    layer("Upsample", "\nupsample_param { height: 1 width: 9 }"): (
        "2:1: error: layer 'it' (Upsample): height and width are 1 and 9; expected at least 2"
    ),
    layer("Upsample", "\nupsample_param { height: 8 width: 9 mode: NEAREST }"): (
        "2:1: error: layer 'it' (Upsample): height and width with mode NEAREST; expected the two scales"
    ),
    layer("Upsample", "\nupsample_param { scale: 1.5 }"): (
        "2:18: error: layer 'it' (Upsample): scale is 1.5; expected a whole number, 1 or more"
    ),
    layer("Upsample", "\nupsample_param { upsample_h: 9 upsample_w: 9 }"): (
        "2:1: error: layer 'it' (Upsample): a size without a mask; expected a second bottom, the mask of a max pooling"
    ),
    layer("Interp", "\ninterp_param { }"): (
        "2:1: error: layer 'it' (Interp): no size; expected height and width, zoom_factor or shrink_factor"
    ),
    layer("Interp", "\ninterp_param { zoom_factor: 2 pad_beg: 1 }"): (
        "2:31: error: layer 'it' (Interp): pad_beg is 1; expected 0 or less, to crop"
    ),
    layer("Interp", "interp_param { zoom_factor: 2 pad_beg: -5 }"): (
        "1:1: error: layer 'it' (Interp): cropping leaves nothing of 2×6×5×7"
    ),
    layer("Embed", "\nembed_param { num_output: 3 }"): (
        "2:1: error: layer 'it' (Embed): input_dim is 0; expected at least 1"
    ),
    layer(
        "Filter", "", "x x", "a b"
    ): "1:1: error: layer 'it' (Filter): 2 tops; expected one for each bottom but the last",
    layer("Axpy", "", "x x x"): (
        "1:1: error: layer 'it' (Axpy): the factor is 2×6×5×7 for a blob of 2×6×5×7; expected one a channel"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_can_not_be_is_refused(text: str) -> None:
    line, _, rest = REFUSED[text].partition(":")
    assert refusal(text, {"x": X}) == f"net.prototxt:{int(line) + 1}:{rest}"
