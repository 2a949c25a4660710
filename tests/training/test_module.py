"""The training module: what trains and what does not, conventions at ties, files, refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import resnet_convert
from converter.training.module import Trainable, trainable
from converter.training.objective import loss_weights
from prototxt import Net, parse_net
from prototxt.errors import CaffeModelError, NetError, UnsupportedError
from resnet_convert.cli.main import main
from weights import ArrayWeights

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def training_net(text: str, inputs: dict[str, tuple[int, ...]]) -> Net:
    fed = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {size}" for size in shape)
        + " } } } "
        for name, shape in inputs.items()
    )
    return parse_net(f'name: "n" {fed} {text}', "net.prototxt", phase="TRAIN")


def made_of(text: str, seed: int = 0, **inputs: tuple[int, ...]) -> Trainable:
    return trainable(training_net(text, inputs), None, seed=seed)


XAVIER = 'weight_filler { type: "xavier" }'
TWO = f"""
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" param {{ lr_mult: 0.5 }}
  param {{ lr_mult: 2 decay_mult: 0 }} inner_product_param {{ num_output: 4 {XAVIER} }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "a" top: "a" param {{ lr_mult: 0 }} param {{ lr_mult: 0 }}
  param {{ lr_mult: 0 }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" param {{ lr_mult: 0 }}
  inner_product_param {{ num_output: 3 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "b" bottom: "l" top: "loss" loss_weight: 0.25 }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "b" bottom: "l" top: "accuracy" }}
"""


def test_learnables_are_caffes_blobs_in_its_order() -> None:
    made = made_of(TWO, x=(5, 6), l=(5,))
    assert [(each.layer, each.index, each.shape, each.lr_mult, each.decay_mult) for each in made.learnables] == [
        ("a", 0, (4, 6), 0.5, 1),
        ("a", 1, (4,), 2, 0),
        ("bn", 0, (4,), 0, 0),
        ("bn", 1, (4,), 0, 0),
        ("bn", 2, (1,), 0, 0),
        ("b", 0, (3, 4), 0, 1),
        ("b", 1, (3,), 1, 1),
    ]
    state = made.module.state_dict()
    assert [tuple(state[each.key].shape) for each in made.learnables] == [each.shape for each in made.learnables]


def test_the_objective_is_the_weighted_sum_of_the_losses() -> None:
    made = made_of(TWO, x=(5, 6), l=(5,))
    outputs = made.module(torch.randn(5, 6), torch.tensor([0.0, 1, 2, 0, 1]))
    assert set(outputs) == {"loss", "accuracy"}
    assert made.module.objective(outputs).item() == pytest.approx(0.25 * outputs["loss"].item())


def test_a_rate_of_0_freezes_a_blob_unless_backward_is_forced() -> None:
    for force, frozen in (("", True), ("force_backward: true", False)):
        made = made_of(TWO + force, x=(5, 6), l=(5,))
        parameters = dict(made.module.named_parameters())
        assert parameters["b.weight"].requires_grad is not frozen
        assert parameters["b.bias"].requires_grad


CUT = f"""
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {{ num_output: 4 {XAVIER} }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" propagate_down: false
  inner_product_param {{ num_output: 3 {XAVIER} }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "y" top: "loss" }}
"""


def test_a_bottom_without_propagation_gets_no_gradient_unless_backward_is_forced() -> None:
    for force, reached in (("", False), ("force_backward: true", True)):
        made = made_of(CUT + force, x=(5, 6), y=(5, 3))
        outputs = made.module(torch.randn(5, 6), torch.randn(5, 3))
        made.module.objective(outputs).backward()
        gradient = dict(made.module.named_parameters())["a.weight"].grad
        assert (gradient is not None) is reached


def test_the_last_of_equal_maxima_gets_the_gradient_only_among_the_first_two() -> None:
    text = """layer { name: "m" type: "Eltwise" bottom: "x" bottom: "y" bottom: "z" bottom: "w" top: "m"
      eltwise_param { operation: MAX } }
      layer { name: "loss" type: "Reduction" bottom: "m" top: "loss" loss_weight: 1 }"""
    made = made_of(text, x=(1, 4), y=(1, 4), z=(1, 4), w=(1, 4))
    values = [[1, 2, 1, 5], [1, 1, 1, 5], [1, 2, 3, 5], [1, 1, 3, 5]]
    tensors = [torch.tensor([row], dtype=torch.float32, requires_grad=True) for row in values]
    made.module.objective(made.module(*tensors)).backward()
    assert [tensor.grad.tolist()[0] for tensor in tensors] == [  # type: ignore[union-attr]
        [0, 1, 0, 0],
        [1, 0, 0, 1],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_a_margin_of_exactly_0_has_no_gradient() -> None:
    text = 'layer { name: "loss" type: "HingeLoss" bottom: "x" bottom: "l" top: "loss" }'
    made = made_of(text, x=(1, 3), l=(1,))
    x = torch.tensor([[1.0, -1.0, 0.5]], requires_grad=True)
    made.module.objective(made.module(x, torch.zeros(1))).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0, 1]]


def test_probabilities_too_small_to_count_still_have_a_gradient() -> None:
    text = 'layer { name: "loss" type: "MultinomialLogisticLoss" bottom: "x" bottom: "l" top: "loss" }'
    made = made_of(text, x=(2, 3), l=(2,))
    x = torch.tensor([[0.5, 0.2, 0.3], [0.0, 0.4, 0.6]], requires_grad=True)
    outputs = made.module(x, torch.zeros(2))
    made.module.objective(outputs).backward()
    assert x.grad is not None
    assert x.grad[0, 0].item() == pytest.approx(-1 / 0.5 / 2)
    assert x.grad[1, 0].item() == pytest.approx(-1 / 1e-20 / 2)  # Caffe: -1 / max(p, 1e-20) / items
    assert outputs["loss"].item() == pytest.approx((np.log(2) + 20 * np.log(10)) / 2, rel=1e-6)


def test_batch_norm_accumulates_sums_and_a_scale_factor() -> None:
    text = """layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y"
        batch_norm_param { moving_average_fraction: 0.5 } }
      layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 1 }"""
    made = made_of(text, x=(2, 1, 1, 2))
    module = made.module
    module(torch.tensor([1.0, 2, 3, 6]).reshape(2, 1, 1, 2))
    module(torch.tensor([0.0, 0, 4, 4]).reshape(2, 1, 1, 2))
    state = {each.index: module.state_dict()[each.key].tolist() for each in made.learnables}
    # Means 3 and 2; biased variances 3.5 and 4, unbiased 14 / 3 and 16 / 3.
    assert state[0] == [0.5 * 3 + 2]
    assert state[1] == pytest.approx([0.5 * 14 / 3 + 16 / 3])
    assert state[2] == [1.5]
    module.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module(torch.ones(2, 1, 1, 2))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_dropout_that_scales_at_test_time_keeps_values_as_they_are_in_training() -> None:
    text = """layer { name: "d" type: "Dropout" bottom: "x" top: "d"
        dropout_param { dropout_ratio: 0.3 scale_train: false } }
      layer { name: "loss" type: "Reduction" bottom: "d" top: "loss" loss_weight: 1 }"""
    made = made_of(text, x=(1, 1000))
    kept = made.module(torch.ones(1, 1000))["loss"].item()
    assert kept == pytest.approx(round(kept), abs=1e-3)
    assert 600 < kept < 800
    assert made.module.eval()(torch.ones(1, 1000))["loss"].item() == pytest.approx(700)


def test_a_blob_shared_by_name_is_one_parameter_with_the_total_gradient() -> None:
    shared = 'param { name: "w" } param { name: "b" }'
    text = "".join(
        f'layer {{ name: "{n}" type: "InnerProduct" bottom: "{x}" top: "{n}" {shared} '
        f"inner_product_param {{ num_output: 3 {XAVIER} }} }}"
        for n, x in (("one", "x"), ("two", "y"))
    )
    text += 'layer { name: "loss" type: "EuclideanLoss" bottom: "one" bottom: "two" top: "loss" }'
    made = made_of(text, x=(4, 5), y=(4, 5))
    assert [(each.layer, each.index) for each in made.learnables] == [("one", 0), ("one", 1)]
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    made.module.objective(made.module(x, y)).backward()
    weight = made.module.state_dict()["one.weight"]
    difference = (x - y) @ weight.T
    gradient = dict(made.module.named_parameters())["one.weight"].grad
    torch.testing.assert_close(gradient, difference.T @ (x - y) / 4)


def test_weights_for_another_number_of_classes_say_how_to_learn_the_layer_anew() -> None:
    net = training_net(TWO, {"x": (5, 6), "l": (5,)})
    weights = ArrayWeights({"b": [np.ones((1000, 4)), np.ones(1000)]}, path="w.caffemodel")
    with pytest.raises(CaffeModelError, match=r"is 1000×4, but .* makes it 3×4; to learn it anew, give the layer"):
        trainable(net, weights)


def test_the_first_sharer_that_states_a_rate_decides_it() -> None:
    text = "".join(
        f'layer {{ name: "{n}" type: "InnerProduct" bottom: "{x}" top: "{n}" param {{ name: "w" {rate} }} '
        f"inner_product_param {{ num_output: 3 bias_term: false {XAVIER} }} }}"
        for n, x, rate in (("one", "x", ""), ("two", "y", "lr_mult: 0"), ("three", "y", "decay_mult: 5"))
    )
    text += """layer { name: "loss" type: "EuclideanLoss" bottom: "one" bottom: "two" top: "loss" }
      layer { name: "other" type: "EuclideanLoss" bottom: "one" bottom: "three" top: "other" }"""
    made = made_of(text, x=(4, 5), y=(4, 5))
    (only,) = made.learnables
    assert (only.layer, only.lr_mult, only.decay_mult) == ("one", 0, 5)
    assert not any(parameter.requires_grad for parameter in made.module.parameters())


def test_layers_that_the_weights_lack_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DIGITS / "train_val.prototxt").read_text().replace('"fc10"', '"fc_new"')
    (tmp_path / "new.prototxt").write_text(text)
    words = ["convert", str(tmp_path / "new.prototxt"), WORDS[2], "--train", *SHAPES, "--to", "torch", "--no-verify"]
    assert main([*words, "-o", str(tmp_path / "model")]) == 0
    assert "has no weights for 'fc_new': they start from the net's fillers" in capsys.readouterr().err


def test_slopes_shared_by_name_are_one_parameter_too() -> None:
    text = "".join(
        f'layer {{ name: "{n}" type: "PReLU" bottom: "{x}" top: "{n}" param {{ name: "s" }} }}'
        for n, x in (("one", "x"), ("two", "one"))
    )
    text += 'layer { name: "loss" type: "Reduction" bottom: "two" top: "loss" loss_weight: 1 }'
    made = made_of(text, x=(2, 3))
    assert len(made.learnables) == len(list(made.module.parameters())) == 1


def test_training_starts_from_the_nets_fillers_and_from_0_where_it_states_none() -> None:
    text = """layer { name: "c" type: "Convolution" bottom: "x" top: "c"
      convolution_param { num_output: 50 kernel_size: 4
        weight_filler { type: "uniform" min: 2 max: 3 } bias_filler { type: "constant" value: 7 } } }
      layer { name: "d" type: "InnerProduct" bottom: "c" top: "d" inner_product_param { num_output: 2 } }
      layer { name: "loss" type: "Reduction" bottom: "d" top: "loss" loss_weight: 1 }"""
    state = made_of(text, seed=3, x=(1, 2, 5, 5)).module.state_dict()
    assert 2 <= state["c.weight"].min() < 2.05 < 2.95 < state["c.weight"].max() <= 3
    assert (state["c.bias"] == 7).all()
    assert (state["d.weight"] == 0).all()
    again = made_of(text, seed=3, x=(1, 2, 5, 5)).module.state_dict()
    assert torch.equal(state["c.weight"], again["c.weight"])


def test_a_blob_that_reads_nothing_is_learned_from_0() -> None:
    text = """layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 3 dim: 4 } } }
      layer { name: "sum" type: "Eltwise" bottom: "x" bottom: "p" top: "sum" }
      layer { name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "y" top: "loss" }"""
    made = made_of(text, x=(3, 4), y=(3, 4))
    (value,) = made.module.parameters()
    assert (value == 0).all()
    made.module.objective(made.module(torch.full((3, 4), 6.0), torch.zeros(3, 4))).backward()
    assert value.grad is not None
    assert (value.grad == 6 / 3).all()


def test_losses_weigh_1_and_other_tops_only_what_they_say() -> None:
    text = """layer { name: "r" type: "Reduction" bottom: "x" top: "r" loss_weight: 0.3 }
      layer { name: "s" type: "Reduction" bottom: "x" top: "s" }
      layer { name: "e" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "e" }
      layer { name: "h" type: "HingeLoss" bottom: "x" bottom: "l" top: "h" loss_weight: 0 }"""
    net = training_net(text, {"x": (2, 3), "y": (2, 3), "l": (2,)})
    assert loss_weights(net) == pytest.approx({"r": 0.3, "e": 1.0})


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            'layer { name: "loss" type: "EuclideanLoss" bottom: "x" bottom: "y" }',
            NetError,
            r"net\.prototxt:1:\d+: error: layer 'loss' \(EuclideanLoss\): its loss has no name",
        ),
        (
            'layer { name: "p" type: "Pooling" bottom: "z" top: "p" '
            "pooling_param { pool: STOCHASTIC kernel_size: 2 } } "
            'layer { name: "r" type: "Reduction" bottom: "p" top: "r" loss_weight: 1 }',
            UnsupportedError,
            "layer 'p' .Pooling.: can't be trained: pool STOCHASTIC draws at random",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(text: str, kind: type[CaffeModelError], message: str) -> None:
    with pytest.raises(kind, match=message):
        made_of(text, x=(2, 3), y=(2, 3), z=(1, 2, 4, 4))


WORDS = ["convert", str(DIGITS / "train_val.prototxt"), str(DIGITS / "digits_resnet.caffemodel"), "--train"]
SHAPES = ["--input-shape", "data=8,1,16,16", "--input-shape", "label=8"]


def test_the_written_module_is_verified_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    assert main([*WORDS, *SHAPES, "--to", "torch", "-o", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verification"]["ok"]
    assert found["outputs"] == ["loss"]
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(file)
    model = file.load()
    assert not model.training
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    data, label = 50 * torch.randn(8, 1, 16, 16, generator=generator), torch.arange(8.0)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model.objective(model(data, label))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx"], "--train goes with --to torch, not with onnx"),
        (["--to", "caffe"], "--train goes with --to torch, not with caffe"),
    ],
)
def test_training_goes_with_torch_alone(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, *SHAPES, *words, "-q"]) == 2
    assert message in capsys.readouterr().err


def test_a_net_without_a_loss_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel"), "--train"]
    assert main([*words, "--to", "torch"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the net has no loss to train by; is there a training net (train_val.prototxt)? " in said
    assert "ask for them with --outputs fc10 (Options(outputs=['fc10']))" in said
    assert "cross_entropy(outputs['fc10'], labels); docs/training.md, 'From a deploy net', has an example" in said
    assert "\n## From a deploy net\n" in (DIGITS.parents[1] / "docs" / "training.md").read_text()


def test_a_deploy_net_trains_by_a_loss_on_the_scores_asked_for() -> None:
    options = resnet_convert.Options(outputs=["fc10"], input_shapes={"data": (8, 1, 16, 16)})
    weights = DIGITS / "digits_resnet.caffemodel"
    module = resnet_convert.load(DIGITS / "deploy.prototxt", weights, options=options, train=True)
    outputs = module(torch.zeros(8, 1, 16, 16))
    assert set(outputs) == {"prob", "fc10"}
    torch.nn.functional.cross_entropy(outputs["fc10"], torch.arange(8)).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("tail", "hint"),
    [
        ('layer { name: "p" type: "Softmax" bottom: "x" top: "x" }', "what your own loss reads .* ends in x"),
        ('layer { name: "b" type: "Power" bottom: "x" top: "box" }', "what your own loss reads .* ends in box"),
    ],
)
def test_a_net_without_scores_is_told_what_it_ends_in(tail: str, hint: str) -> None:
    with pytest.raises(CaffeModelError, match=f"no loss to train by.*{hint}"):
        made_of(tail, x=(2, 3))


SILENT = f"""
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {{ num_output: 4 {XAVIER} }} }}
layer {{ name: "aux" type: "InnerProduct" bottom: "a" top: "aux" inner_product_param {{ num_output: 2 {XAVIER} }} }}
layer {{ name: "bn" type: "BatchNorm" bottom: "aux" top: "bn" batch_norm_param {{ moving_average_fraction: 0.5 }} }}
layer {{ name: "quiet" type: "Silence" bottom: "bn" bottom: "y" }}
layer {{ name: "s" type: "InnerProduct" bottom: "a" top: "s" inner_product_param {{ num_output: 3 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "s" bottom: "l" top: "loss" }}
"""


def test_a_branch_that_only_silence_reads_stays_with_its_blobs_and_its_statistics() -> None:
    made = made_of(SILENT, x=(5, 6), y=(5,), l=(5,))
    counts = [("a", 2), ("aux", 2), ("bn", 3), ("s", 2)]
    assert [(each.layer, each.index) for each in made.learnables] == [(n, i) for n, k in counts for i in range(k)]
    assert made.inputs == ("x", "l")  # what Silence alone reads need not be fed
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    outputs = made.module(x, torch.zeros(5))
    assert set(outputs) == {"loss"}
    state = made.module.state_dict()
    a = x @ state["a.weight"].T + state["a.bias"]
    aux = a @ state["aux.weight"].T + state["aux.bias"]
    torch.testing.assert_close(state["bn.mean"], aux.mean(0))
    torch.testing.assert_close(state["bn.variance"], aux.var(0))
    made.module.objective(outputs).backward()
    assert made.module.get_parameter("aux.weight").grad is None


def test_outputs_asked_for_come_beside_the_losses() -> None:
    options = resnet_convert.Options(outputs=("s",))
    net = training_net(SILENT, {"x": (5, 6), "y": (5,), "l": (5,)})
    outputs = trainable(net, None, options=options).module(torch.randn(5, 6), torch.zeros(5))
    assert list(outputs) == ["loss", "s"]


def test_from_python() -> None:
    options = resnet_convert.Options(input_shapes={"data": (8, 1, 16, 16), "label": (8,)})
    net, weights = DIGITS / "train_val.prototxt", DIGITS / "digits_resnet.caffemodel"
    module = resnet_convert.load(net, weights, options=options, train=True)
    assert module.training
    assert set(module(torch.zeros(8, 1, 16, 16), torch.zeros(8))) == {"loss"}


FOR_TRAINING = (
    'layer { name: "d" type: "Input" top: "x" top: "t" input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }'
)
STOPPED = {
    'type: "SoftmaxWithLoss" softmax_param { axsi: 1 }': "unknown field 'axsi' in softmax_param; did you mean 'axis'?",
    'type: "CenterLoss" center_loss_param { num_output: 3 }': "unknown layer type 'CenterLoss'; --plugin FILE.py",
    'type: "Quux" loss_weight: 1 quux_param { a: 1 }': "unknown layer type 'Quux'; --plugin FILE.py",
}


@pytest.mark.parametrize("loss", STOPPED)
def test_what_is_unknown_of_a_loss_stops_a_training(
    loss: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = tmp_path / "net.prototxt"
    fc = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 3 } }'
    net.write_text(f'{FOR_TRAINING}\n{fc}\nlayer {{ name: "l" bottom: "fc" bottom: "t" top: "l" {loss} }}')
    words = [str(net), "--random-weights", "0", "-o", str(tmp_path / "out"), "--to", "torch", "--no-verify"]
    assert main([*words, "--train"]) == 1
    assert STOPPED[loss] in capsys.readouterr().err
    assert main(words) == 0  # the net alone does without
