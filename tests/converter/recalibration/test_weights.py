"""The weights that recalibration gives: forms of stored blobs, files of every kind, and everything else as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converter.api import prepare, write
from converter.options import Options, Target
from converter.recalibration.recalibrate import Recalibrated, recalibrate, write_weights
from prototxt import load_net
from prototxt.caffe_pb2 import NetParameter
from prototxt.errors import CaffeModelError, RequestError
from tests.converter.recalibration.recalibration_nets import (
    RESIDUAL,
    Array,
    as_passes_divide,
    cut,
    input_of,
    layer,
    parsed,
    random_weights,
    residual_images,
    stored,
)
from tests.golden import assert_close, run_onnx
from verify import run
from weights import (
    ArrayWeights,
    Blob,
    LayerWeights,
    Weights,
    net_without_blobs,
    open_weights,
    write_caffemodel,
    write_hdf5,
)

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
X = np.random.default_rng(5).standard_normal((7, 3, 2, 4)).astype(np.float32) * 3 - 1
MEAN = X.astype(np.float64).mean((0, 2, 3))
VARIANCE = X.astype(np.float64).var((0, 2, 3))
STORED = 56 / 55
"""What BatchNorm stores of a variance over X's 7·2·4 values a channel."""


def digits() -> Array:
    return np.random.default_rng(2).uniform(-128, 128, (9, 1, 16, 16)).astype(np.float32)


# Forks' forms


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1)])
def test_four_blobs_keep_their_shapes_and_factors(shape: tuple[int, ...]) -> None:
    net = parsed(input_of("x", 7, 3, 2, 4) + layer("it", "BN", "x", "out", "bn_param { eps: 0.25 }"))
    slope, bias = np.arange(1, 4).reshape(shape), np.arange(5, 8).reshape(shape)
    weights = ArrayWeights({"it": [slope, bias, np.zeros(shape), np.ones(shape)]})
    got = recalibrate(net, weights, cut(X, 3))
    blobs = stored(got, "it")
    assert [blob.shape for blob in blobs] == [shape] * 4
    assert (blobs[0].tolist(), blobs[1].tolist()) == (slope.tolist(), bias.tolist())
    np.testing.assert_allclose(blobs[2].ravel(), MEAN, rtol=1e-6)
    np.testing.assert_allclose(blobs[3].ravel(), VARIANCE, rtol=1e-6)
    expected = run(net, weights, {"x": X}, train=True).blobs["out"]
    assert_close(run(net, got.weights, {"x": X}).blobs["out"], expected, "interpreter")


def test_cudnn_4s_fourth_blob_is_the_inverse_deviation_with_eps_inside() -> None:
    text = input_of("x", 7, 3, 2, 4) + layer("it", "BN", "x", "y", "bn_param { eps: 0.25 }")
    net = parsed(text + layer("next", "BatchNorm", "y", "out"), BN="cudnn4")
    ones = np.ones((1, 3, 1, 1))
    weights = ArrayWeights({"it": [2 * ones, ones, ones, ones], "next": [np.zeros(3), np.ones(3), np.ones(1)]})
    got = recalibrate(net, weights, cut(X, 3))
    np.testing.assert_allclose(stored(got, "it")[3].ravel(), 1 / np.sqrt(VARIANCE + 0.25), rtol=1e-6)
    np.testing.assert_allclose(stored(got, "next")[0], 1, rtol=1e-6)
    np.testing.assert_allclose(stored(got, "next")[1], STORED * 4 * VARIANCE / (VARIANCE + 0.25), rtol=1e-6)
    assert got.statistics["it"].old_deviation.tolist() == [1, 1, 1]
    np.testing.assert_allclose(got.statistics["it"].deviation, np.sqrt(VARIANCE + 0.25), rtol=1e-6)


@pytest.mark.parametrize(("fork", "share"), [("intel", STORED), ("nvidia", 1)])
def test_nvidias_variance_is_stored_as_it_is_and_intels_as_caffes(fork: str, share: float) -> None:
    net = parsed(input_of("x", 7, 3, 2, 4) + layer("it", "BatchNorm", "x", "out"), BatchNorm=fork)
    five = [np.zeros(3), np.ones(3), np.ones(1), np.full(3, 2), np.full(3, 5)]
    got = recalibrate(net, ArrayWeights({"it": five}), cut(X, 3))
    np.testing.assert_allclose(stored(got, "it")[0], MEAN, rtol=1e-6)
    np.testing.assert_allclose(stored(got, "it")[1], share * VARIANCE, rtol=1e-6)
    assert [blob.tolist() for blob in stored(got, "it")[2:]] == [[1], [2, 2, 2], [5, 5, 5]]


def test_eps_behind_the_root_is_no_part_of_the_stored_variance() -> None:
    params = "batch_norm_param { eps: 0.5 add_eps_before_sqrt: false }"
    text = input_of("x", 7, 3, 2, 4) + layer("it", "BatchNorm", "x", "y", params)
    net = parsed(text + layer("next", "BatchNorm", "y", "out"))
    fresh = [np.zeros(3), np.ones(3), np.ones(1)]
    got = recalibrate(net, ArrayWeights({"it": fresh, "next": fresh}), cut(X, 3))
    np.testing.assert_allclose(stored(got, "it")[1], STORED * VARIANCE, rtol=1e-6)
    expected = STORED * VARIANCE / (VARIANCE**0.5 + 0.5) ** 2
    np.testing.assert_allclose(stored(got, "next")[1], expected, rtol=1e-6)
    assert got.statistics["it"].old_deviation.tolist() == [1.5] * 3


# Files


def recalibrated(weights: Weights) -> Recalibrated:
    return recalibrate(load_net(DIGITS / "deploy.prototxt"), weights, cut({"data": digits()}, 4))


def test_a_caffemodel_keeps_everything_but_the_statistics(tmp_path: Path) -> None:
    path = tmp_path / "new.caffemodel"
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        got = recalibrated(weights)
        assert write_weights(got, path) == path
        before = [(one.name, one.type, [(b.shape, b.legacy, b.array()) for b in one.blobs]) for one in weights.layers]
    assert NetParameter.FromString(net_without_blobs(path)) == NetParameter.FromString(
        net_without_blobs(DIGITS / "digits_resnet.caffemodel")
    )
    with open_weights(path) as written:
        assert [(one.name, one.type) for one in written.layers] == [(name, kind) for name, kind, _ in before]
        assert written.name == "ResNet-digits"
        for now, (name, _, blobs) in zip(written.layers, before, strict=True):
            same = [b.array().tobytes() == array.tobytes() for b, (_, _, array) in zip(now.blobs, blobs, strict=True)]
            assert [(b.shape, b.legacy) for b in now.blobs] == [(shape, legacy) for shape, legacy, _ in blobs]
            assert same == ([False] * 3 if name in got.statistics else [True] * len(blobs)), name


def test_the_file_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "digits.caffemodel"
    path.write_bytes((DIGITS / "digits_resnet.caffemodel").read_bytes())
    before = path.read_bytes()
    with open_weights(path) as weights, pytest.raises(RequestError, match="is a file that is read"):
        write_weights(recalibrated(weights), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["new.caffemodel", "new.caffemodel.h5"])
def test_the_written_net_gives_the_blobs_of_training_on_all_images(name: str, tmp_path: Path) -> None:
    net, x = load_net(DIGITS / "deploy.prototxt"), digits()
    with open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        got = recalibrated(weights)
        write_weights(got, tmp_path / name)
        expected = run(net, weights, {"data": x}, train=True).tops
    with open_weights(tmp_path / name) as written:
        found = run(net, as_passes_divide(written, got), {"data": x}).tops
    for key, want in expected.items():
        assert_close(found[key], want, str(key), 1e-5)


def test_legacy_blobs_stay_in_their_form(tmp_path: Path) -> None:
    net = parsed(input_of("x", 7, 3, 2, 4) + layer("it", "BatchNorm", "x", "out"))
    shapes = [(1, 1, 1, 3), (1, 1, 1, 3), (1, 1, 1, 1)]
    blobs = [Blob(shape, True, lambda shape=shape: np.ones(shape, np.float32)) for shape in shapes]
    write_caffemodel(tmp_path / "old.caffemodel", "old", [LayerWeights("it", "BatchNorm", tuple(blobs))])
    with open_weights(tmp_path / "old.caffemodel") as weights:
        write_weights(recalibrate(net, weights, cut(X, 3)), tmp_path / "new.caffemodel")
    with open_weights(tmp_path / "new.caffemodel") as written:
        (it,) = written.layers
        assert [(blob.shape, blob.legacy) for blob in it.blobs] == [(shape, True) for shape in shapes]
        np.testing.assert_allclose(it.blobs[0].array().ravel(), MEAN, rtol=1e-6)


def test_hdf5_in_and_caffemodel_out_takes_the_types_from_the_net(tmp_path: Path) -> None:
    weights = random_weights()
    write_hdf5(tmp_path / "w.caffemodel.h5", weights.layers)
    with open_weights(tmp_path / "w.caffemodel.h5") as source:
        got = recalibrate(parsed(RESIDUAL), source, cut(residual_images(), 4))
        write_weights(got, tmp_path / "new.caffemodel")
    with open_weights(tmp_path / "new.caffemodel") as written:
        kinds = {one.name: one.type for one in written.layers}
    assert kinds["conv1"] == "Convolution"
    assert kinds["bn_1"] == "BatchNorm"


def test_what_hdf5_leaves_out_stays_out(tmp_path: Path) -> None:
    shared = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    text = input_of("x", 7, 3, 2, 4) + layer("own", "BatchNorm", "x", "a", shared)
    net = parsed(text + layer("use", "BatchNorm", "x", "b", shared))
    path = tmp_path / "w.caffemodel.h5"
    write_hdf5(path, ArrayWeights({"own": [np.zeros(3), np.ones(3), np.ones(1)]}).layers)
    with open_weights(path) as source:
        got = recalibrate(net, source, cut(X, 3))
        write_weights(got, tmp_path / "new.caffemodel.h5")
    with open_weights(tmp_path / "new.caffemodel.h5") as written:
        assert [one.name for one in written.layers] == ["own"]
        found = run(net, written, {"x": X}).blobs
    assert_close(found["b"], found["a"], "shared")
    assert np.abs(found["a"].mean((0, 2, 3))).max() < 1e-6


def test_a_caffemodel_cannot_leave_blobs_out(tmp_path: Path) -> None:
    def nothing() -> Array:
        raise AssertionError("is never read")

    ones = ArrayWeights({"it": [np.zeros(3), np.ones(3), np.ones(1)]})
    hole = LayerWeights("other", "Scale", (Blob((), False, nothing, stored=False),))
    weights = Weights("w.h5", [*ones.layers, hole])
    net = parsed(input_of("x", 7, 3, 2, 4) + layer("it", "BatchNorm", "x", "out"))
    got = recalibrate(net, weights, cut(X, 3))
    with pytest.raises(CaffeModelError, match=r"layer 'other': w.h5 leaves blob 0 out, as another layer owns it"):
        write_weights(got, tmp_path / "new.caffemodel")
    assert not (tmp_path / "new.caffemodel").exists()


@pytest.mark.parametrize("name", ["new", "new.onnx", "new.caffemodel.gz"])
def test_another_name_is_refused(name: str, tmp_path: Path) -> None:
    got = recalibrate(parsed(RESIDUAL), random_weights(), cut(residual_images(), 4))
    with pytest.raises(CaffeModelError, match=r"expected a name that ends in \.caffemodel or \.caffemodel\.h5"):
        write_weights(got, tmp_path / name)


def test_of_two_layers_of_one_name_the_last_with_blobs_changes() -> None:
    blobs = ArrayWeights({"it": [np.zeros(3), np.ones(3), np.ones(1)]}).layers[0].blobs
    both = [LayerWeights("it", "BatchNorm", blobs), LayerWeights("it", "BatchNorm", blobs)]
    net = parsed(input_of("x", 7, 3, 2, 4) + layer("it", "BatchNorm", "x", "out"))
    got = recalibrate(net, Weights("w.caffemodel", both), cut(X, 3))
    first, second = got.weights.layers
    assert first.blobs[0].array().tolist() == [0, 0, 0]
    np.testing.assert_allclose(second.blobs[0].array(), MEAN, rtol=1e-6)


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
def test_onnx_of_the_new_weights(fold: str, tmp_path: Path) -> None:
    net, x = parsed(RESIDUAL), residual_images()
    weights = random_weights()
    got = recalibrate(net, weights, cut(x, 4))
    options = Options(fold=fold, input_shapes={"x": ("N", 3, 6, 5)})  # type: ignore[arg-type]
    used = as_passes_divide(got.weights, got)
    found = run_onnx(prepare(net, used, options).graph, {"x": x}, tmp_path)["fc_normalised"]
    assert_close(found, run(net, weights, {"x": x}, train=True).blobs["fc_normalised"], "onnx", 1e-5)


@pytest.mark.parametrize("to", ["onnx", "torch", "safetensors", "npz", "hdf5", "caffe"])
def test_every_target_takes_the_new_weights(to: Target, tmp_path: Path) -> None:
    net = parsed(RESIDUAL)
    got = recalibrate(net, random_weights(), cut(residual_images(), 4))
    files = write(prepare(net, got.weights, Options(fold="none")), to, tmp_path / "out", None)
    assert all(file.stat().st_size for file in files)
    if to == "npz":
        with np.load(files[0]) as arrays:
            assert arrays["bn_1.mean"].tobytes() == stored(got, "bn_1")[0].tobytes()
