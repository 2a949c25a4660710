"""BatchNorm with scale and bias inside, as NVIDIA's and Intel's Caffe store it: orders, folding, files, training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from converter.api import named_weights, prepare
from converter.options import Options
from converter.recalibration.recalibrate import recalibrate
from converter.targets.caffe_model import write_caffe
from converter.targets.writers import write_safetensors
from converter.training.module import trainable
from prototxt import Net, load_net, parse_net
from prototxt.errors import CaffeModelError
from tests.converter.recalibration.recalibration_nets import cut, stored
from tests.golden import assert_close, run_onnx, run_torch
from tests.naive.base import Array, random
from verify import run
from weights import ArrayWeights, Weights, open_weights, write_hdf5

X = random(1, 2, 3, 4, 5)
MEAN, SCALE, BIAS = random(2, 3, 3)
VARIANCE = np.abs(random(3, 3)) + np.float32(0.1)
ONE, ZERO = np.float32([1]), np.float32([0])


INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }\n'


def net_of(
    params: str = "", *, shape: tuple[int, ...] = X.shape, before: str = "", behind: str = "", **options: str
) -> Net:
    dims = " ".join(f"dim: {d}" for d in shape)
    text = f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}\n{before}'
    bottom = "conv" if before else "x"
    text += f'layer {{ name: "bn" type: "BatchNorm" bottom: "{bottom}" top: "bn" batch_norm_param {{ {params} }} }}'
    return parse_net(text + behind, "net.prototxt", dialects=options)


def channelwise(values: Array) -> Array:
    return values.reshape(1, -1, 1, 1)


def by_hand(x: Array, mean: Array = MEAN, variance: Array = VARIANCE, eps: float = 1e-5) -> Array:
    normal = (x - channelwise(mean)) / np.sqrt(channelwise(variance) + np.float32(eps))
    return normal * channelwise(SCALE[: len(mean)]) + channelwise(BIAS[: len(mean)])


def new_order(factor: float = 1.0) -> list[Array]:
    by = np.float32(factor or 1)
    return [MEAN * by, VARIANCE * by, np.float32([factor]), SCALE, BIAS]


def old_order(factor: float = 0.0) -> list[Array]:
    mean, variance, stored_factor, scale, bias = new_order(factor)
    return [scale, bias, mean, variance, stored_factor]


def assert_gives(net: Net, weights: Weights, expected: Array, folder: Path, x: Array = X, **options: object) -> None:
    graph = prepare(net, weights, Options(**options)).graph  # type: ignore[arg-type]
    top = net.layers[-1].tops[0]
    assert_close(run_onnx(graph, {"x": x}, folder)[top], expected, "onnx")
    assert_close(run_torch(graph, {"x": x})[top], expected, "torch")
    assert_close(run(net, weights, {"x": x}).blobs[top], expected, "interpreter")


STATED = ["", "scale_bias: true", "scale_filler { value: 1 } bias_filler { value: 0 }", "use_weight_bias: true"]


@pytest.mark.parametrize("params", STATED)
@pytest.mark.parametrize("blobs", [new_order(), new_order(999.98), old_order(1), old_order(3)])
@pytest.mark.parametrize("axes", [1, 4])
def test_the_place_of_the_one_value_blob_tells_the_order(
    params: str, blobs: list[Array], axes: int, tmp_path: Path
) -> None:
    shaped = [blob if axes == 1 else channelwise(blob) for blob in blobs]
    assert_gives(net_of(params), ArrayWeights({"bn": shaped}), by_hand(X), tmp_path)


def test_a_factor_of_0_leaves_the_statistics_as_they_are_but_in_intels(tmp_path: Path) -> None:
    blobs = [MEAN, VARIANCE, ZERO, SCALE, BIAS]
    for params in ("", "scale_bias: true"):
        for order in (blobs, old_order()):
            assert_gives(net_of(params), ArrayWeights({"bn": order}), by_hand(X), tmp_path)
    none = np.zeros(3, np.float32)
    assert_gives(net_of("engine: MKLDNN"), ArrayWeights({"bn": blobs}), by_hand(X, none, none), tmp_path)


def test_nvidias_eps_has_a_floor_and_its_phase_alone_chooses_the_statistics(tmp_path: Path) -> None:
    variance = np.float32([1e-5, 2e-6, 1])
    blobs = [MEAN, variance, ONE, SCALE, BIAS]
    params = "eps: 1e-7 use_global_stats: false"
    assert_gives(
        net_of(f"scale_bias: true {params}"), ArrayWeights({"bn": blobs}), by_hand(X, MEAN, variance), tmp_path
    )
    three = [MEAN, variance, ONE]
    bare = (X - channelwise(MEAN)) / np.sqrt(channelwise(variance) + np.float32(1e-7))
    assert_gives(net_of("eps: 1e-7"), ArrayWeights({"bn": three}), bare, tmp_path)


@pytest.mark.parametrize(
    ("dialect", "blobs"), [("nvidia", new_order()), ("intel", new_order(2)), ("nvidia15", old_order())]
)
def test_five_blobs_of_one_value_each_are_told_by_the_fork(dialect: str, blobs: list[Array], tmp_path: Path) -> None:
    weights, x = ArrayWeights({"bn": [blob[:1] for blob in blobs]}), X[:, :1]
    net = net_of(shape=x.shape, BatchNorm=dialect)
    assert_gives(net, weights, by_hand(x, MEAN[:1], VARIANCE[:1]), tmp_path, x)
    for unknown in (prepare, run):
        with pytest.raises(CaffeModelError, match="dialect"):
            unknown(net_of(shape=x.shape), weights, Options() if unknown is prepare else {"x": x})  # type: ignore[operator]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_scale_bias_with_fewer_than_five_blobs_is_refused(count: int) -> None:
    weights = ArrayWeights({"bn": new_order()[:count]})
    with pytest.raises(CaffeModelError, match=r"scale_bias: true .* the file has"):
        prepare(net_of("scale_bias: true"), weights, Options())
    with pytest.raises(CaffeModelError, match="scale_bias"):
        run(net_of("scale_bias: true"), weights, {"x": X})


@pytest.mark.parametrize(
    ("params", "blobs"),
    [
        ("", [MEAN, VARIANCE]),
        ("", [*new_order(), ONE]),
        ("", [MEAN, SCALE, BIAS, ONE]),
        ("", [MEAN[:2], *new_order()[1:]]),
    ],
)
def test_other_blobs_are_refused_by_both(params: str, blobs: list[Array]) -> None:
    weights = ArrayWeights({"bn": blobs})
    with pytest.raises(CaffeModelError, match="blob"):
        prepare(net_of(params), weights, Options())
    with pytest.raises(CaffeModelError, match="blob"):
        run(net_of(params), weights, {"x": X})


CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
          convolution_param { num_output: 3 kernel_size: 1 } }"""
BEHIND = 'layer { name: "scale" type: "Scale" bottom: "bn" top: "out" scale_param { bias_term: true } }'


@pytest.mark.parametrize("fold", ["none", "bn", "conv"])
@pytest.mark.parametrize("blobs", [new_order(999.98), old_order()])
def test_folds_with_a_scale_behind_and_into_the_convolution_before(
    fold: str, blobs: list[Array], tmp_path: Path
) -> None:
    kernel, factor, summand = random(6, 3, 3, 1, 1), random(7, 3), random(8, 3)
    weights = ArrayWeights({"conv": [kernel, BIAS], "bn": blobs, "scale": [factor, summand]})
    net = net_of("scale_bias: true", before=CONV, behind=BEHIND)
    convolved = np.einsum("oc,nchw->nohw", kernel[:, :, 0, 0], X) + channelwise(BIAS)
    expected = by_hand(convolved) * channelwise(factor) + channelwise(summand)
    assert_gives(net, weights, expected, tmp_path, fold=fold)
    names = [node.name for node in prepare(net, weights, Options(fold=fold)).graph.nodes]  # type: ignore[arg-type]
    assert names == {"conv": ["conv"]}.get(fold, ["conv", "bn", "scale"])


@pytest.mark.parametrize("top", ["bn", "out"])
@pytest.mark.parametrize("params", ["", "engine: MKL2017"])
def test_a_scale_that_intels_caffe_took_in_is_done_with(params: str, top: str, tmp_path: Path) -> None:
    behind = BEHIND.replace('top: "out"', f'top: "{top}"')
    assert_gives(net_of(params, behind=behind), ArrayWeights({"bn": new_order(2)}), by_hand(X), tmp_path)
    graph = prepare(net_of(params, behind=behind), ArrayWeights({"bn": new_order(2)}), Options()).graph
    write_caffe(graph, tmp_path / "caffe")
    made = load_net(tmp_path / "caffe" / "deploy.prototxt")
    with open_weights(tmp_path / "caffe" / "model.caffemodel") as written:
        assert_close(run(made, written, {"x": X}).blobs[top], by_hand(X), "as Caffe")


@pytest.mark.parametrize(
    ("params", "blobs"), [("scale_bias: true", new_order()), ("", new_order()[:3]), ("", old_order())]
)
def test_any_other_scale_without_weights_is_refused(params: str, blobs: list[Array]) -> None:
    net, weights = net_of(params, behind=BEHIND), ArrayWeights({"bn": blobs})
    with pytest.raises(CaffeModelError, match="no weights for 1 layer of the net: 'scale'"):
        prepare(net, weights, Options())
    with pytest.raises(CaffeModelError, match="has no blobs in this file"):
        run(net, weights, {"x": X})


@pytest.mark.parametrize("blobs", [new_order(2), old_order()])
def test_hdf5_holds_the_same(blobs: list[Array], tmp_path: Path) -> None:
    write_hdf5(tmp_path / "w.caffemodel.h5", ArrayWeights({"bn": blobs}).layers)
    with open_weights(tmp_path / "w.caffemodel.h5") as weights:
        assert_gives(net_of("scale_bias: true"), weights, by_hand(X), tmp_path)


@pytest.mark.parametrize("params", STATED)
@pytest.mark.parametrize("blobs", [new_order(2), old_order(2), new_order(2)[:4]])
@pytest.mark.parametrize("fold", ["none", "bn"])
def test_as_caffe_it_is_a_batch_norm_and_a_scale_that_bvlcs_reads(
    params: str, blobs: list[Array], fold: str, tmp_path: Path
) -> None:
    if len(blobs) == 4 and "scale_" in params:
        return
    net, weights = net_of(f"{params} eps: 1e-6"), ArrayWeights({"bn": blobs})
    graph = prepare(net, weights, Options(fold=fold)).graph  # type: ignore[arg-type]
    write_caffe(graph, tmp_path / "caffe")
    made = load_net(tmp_path / "caffe" / "deploy.prototxt")
    assert [layer.type for layer in made.layers] == ["Input", "BatchNorm", "Scale"]
    known = {"use_global_stats", "moving_average_fraction", "eps"}
    assert {field.name for field, _ in made.layers[1].param.batch_norm_param.ListFields()} <= known
    expected = run(net, weights, {"x": X}).blobs["bn"]
    with open_weights(tmp_path / "caffe" / "model.caffemodel") as written:
        assert [len(layer.blobs) for layer in written.layers] == [0, 3, 1 + (len(blobs) == 5)]
        assert_close(run(made, written, {"x": X}).blobs["bn"], expected, "as Caffe")


def test_safetensors_have_all_four_by_name(tmp_path: Path) -> None:
    graph = prepare(net_of(), ArrayWeights({"bn": old_order(4)}), Options()).graph
    write_safetensors(named_weights(graph), tmp_path / "w.safetensors")
    made = load_file(tmp_path / "w.safetensors")
    wanted = {"bn.gamma": SCALE, "bn.beta": BIAS, "bn.mean": MEAN, "bn.variance": VARIANCE}
    assert made.keys() == wanted.keys()
    for name, values in wanted.items():
        assert_close(made[name], values, name)


def test_layers_share_their_blobs_by_name(tmp_path: Path) -> None:
    specs = " ".join(f'param {{ name: "{role}" }}' for role in "msfgb")
    layers = [
        f'layer {{ name: "{name}" type: "BatchNorm" bottom: "{bottom}" top: "{name}" {specs} '
        "batch_norm_param { scale_bias: true } }"
        for name, bottom in (("bn", "x"), ("two", "bn"))
    ]
    net = parse_net(INPUT + "".join(layers), "net.prototxt")
    assert_gives(net, ArrayWeights({"bn": new_order()}), by_hand(by_hand(X)), tmp_path)


def test_random_weights_fill_what_the_net_states() -> None:
    counts = {"": 3, "scale_bias: true": 5, "scale_filler {}": 5, "use_weight_bias: true": 5, "bias_term: false": 4}
    for params, count in counts.items():
        ready = prepare(net_of(params), None, Options(random_weights=1))
        assert ready.weights is not None
        (layer,) = ready.weights.layers
        assert len(layer.blobs) == count, params


# Training


LOSS = 'layer { name: "loss" type: "EuclideanLoss" bottom: "bn" bottom: "x" top: "loss" }'


def training_net(params: str, specs: str = "") -> Net:
    text = (
        INPUT
        + f'layer {{ name: "bn" type: "BatchNorm" bottom: "x" top: "bn" {specs} batch_norm_param {{ {params} }} }}'
    )
    return parse_net(text + LOSS, "net.prototxt", phase="TRAIN")


FIVE_SPECS = "param { lr_mult: 0 } " * 3 + "param { lr_mult: 3 decay_mult: 0 } param { lr_mult: 4 }"


@pytest.mark.parametrize(
    ("params", "rates"), [("scale_bias: true", [(1, 1), (1, 1)]), ("use_weight_bias: true", [(3, 0), (4, 1)])]
)
def test_scale_and_bias_are_learned_and_nvidias_rates_are_its_own(params: str, rates: list[tuple[int, int]]) -> None:
    made = trainable(training_net(params, FIVE_SPECS), None)
    found = [(one.index, one.shape, one.lr_mult, one.decay_mult) for one in made.learnables]
    assert found == [
        (0, (3,), 0, 0),
        (1, (3,), 0, 0),
        (2, (1,), 0, 0),
        (3, (3,), *rates[0]),
        (4, (3,), *rates[1]),
    ]
    assert [tuple(p.shape) for p in made.module.parameters() if p.requires_grad] == [(3,), (3,)]


def test_gradients_of_scale_and_bias_are_the_sums_of_caffe() -> None:
    """scale_diff = sum(top_diff * x_norm), bias_diff = sum(top_diff), a channel; the loss is |y - x|² / 2N."""
    weights = ArrayWeights({"bn": old_order(1)})
    made = trainable(training_net(""), weights)
    made.module.objective(made.module(torch.from_numpy(X))).backward()
    mean, variance = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3))
    normal = (X - channelwise(mean)) / np.sqrt(channelwise(variance) + np.float32(1e-5))
    top_diff = (normal * channelwise(SCALE) + channelwise(BIAS) - X) / len(X)
    found = {
        name.rpartition(".")[2]: p.grad.numpy() for name, p in made.module.named_parameters() if p.grad is not None
    }
    assert_close(found["gamma"], (top_diff * normal).sum(axis=(0, 2, 3)), "scale")
    assert_close(found["beta"], top_diff.sum(axis=(0, 2, 3)), "bias")


@pytest.mark.parametrize("roles", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_without_stored_statistics_each_batch_counts_for_itself_in_either_phase(roles: int, training: bool) -> None:
    net = training_net("engine: MKLDNN use_global_stats: true")
    weights = ArrayWeights({"bn": [SCALE, BIAS][:roles]})
    module = trainable(net, weights, options=Options(outputs=("bn",))).module.train(training)
    assert len(list(module.state_dict())) == roles
    with torch.no_grad():
        got = module(torch.from_numpy(X))["bn"].numpy()
    expected = by_hand(X, X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3)))
    assert_close(got, expected if roles == 2 else expected - channelwise(BIAS), "module")


def test_nvidias_statistics_move_to_each_batchs_and_intels_are_sums() -> None:
    batches = [random(seed, 2, 3, 4, 5) for seed in (11, 12, 13)]
    means = [batch.mean(axis=(0, 2, 3)) for batch in batches]
    variances = [batch.var(axis=(0, 2, 3)) for batch in batches]
    of_nvidia = (0.75 * means[1] + 0.25 * means[2], 0.75 * variances[1] + 0.25 * variances[2], [1])
    weights = [0.75**2, 0.75, 1]
    unbiased = [variance * 40 / 39 for variance in variances]
    sums = [sum(w * m for w, m in zip(weights, rows, strict=True)) for rows in (means, unbiased)]
    for params, expected in (("scale_bias: true", of_nvidia), ("use_weight_bias: true", (*sums, [sum(weights)]))):
        made = trainable(
            training_net(f"{params} moving_average_fraction: 0.75"),
            ArrayWeights({"bn": [*new_order()[:2], ZERO, *new_order()[3:]]}),
        )
        state = made.module.state_dict()
        if "use_weight" in params:
            for one in made.learnables[:2]:
                state[one.key].zero_()
        for batch in batches:
            made.module(torch.from_numpy(batch))
        for one, values in zip(made.learnables, expected, strict=False):
            assert_close(made.module.state_dict()[one.key].numpy(), np.asarray(values), f"{params} {one.index}")


@pytest.mark.parametrize("blobs", [new_order(3), [channelwise(blob) for blob in old_order()]])
def test_recalibration_writes_mean_and_variance_where_they_are(blobs: list[Array]) -> None:
    got = recalibrate(net_of(), ArrayWeights({"bn": blobs}), cut({"x": X}, 1))
    place = 0 if len(blobs[2]) == 1 and blobs[2].size == 1 else 2
    found = stored(got, "bn")
    assert [blob.shape for blob in found] == [blob.shape for blob in blobs]
    assert_close(found[place].ravel(), X.mean(axis=(0, 2, 3)), "mean")
    assert_close(found[3 - place].ravel() if place else found[3], SCALE if not place else BIAS, "the others stay")
