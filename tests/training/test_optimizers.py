"""Caffe's update rules: steps worked by hand, and loops over the formulas in numpy at double precision."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from converter.training.optimizers import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeOptimizer,
    CaffeRMSProp,
    CaffeSGD,
)

Array = np.ndarray
Made = Callable[..., CaffeOptimizer]


def weight(*values: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def stepped(optimizer: CaffeOptimizer, parameter: torch.nn.Parameter, *gradients: float) -> list[float]:
    """The (single) weight after each step."""
    found = []
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        found.append(parameter.item())
    return found


def test_sgd_keeps_the_rate_inside_the_history() -> None:
    w = weight(10)
    optimizer = CaffeSGD([w], lr=2, momentum=0.5)
    # h: 2·3 = 6, then 0.5·6 + 2·1 = 5; with the rate at 0.5: 0.5·5 + 0.5·4 = 4.5
    assert stepped(optimizer, w, 3, 1) == [4, -1]
    optimizer.param_groups[0]["lr"] = 0.5
    assert stepped(optimizer, w, 4) == [-5.5]


def test_nesterov_looks_ahead_by_the_momentum() -> None:
    w = weight(10)
    # h: 6, then 5; w - (1.5·6 - 0.5·0) = 1, then - (1.5·5 - 0.5·6) = -3.5
    assert stepped(CaffeNesterov([w], lr=2, momentum=0.5), w, 3, 1) == [1, -3.5]


def test_adagrad_divides_by_the_root_of_the_sum_and_delta_outside_it() -> None:
    w = weight(10)
    # h: 9, then 9 + 16 = 25; steps 2·3 / (3 + 1) and 2·4 / (5 + 1)
    assert stepped(CaffeAdaGrad([w], lr=2, delta=1), w, 3, 4) == pytest.approx([8.5, 8.5 - 4 / 3], rel=1e-15)


def test_rmsprop_divides_by_the_root_of_the_average_and_delta_outside_it() -> None:
    w = weight(10)
    # h: 0.75·16 = 12 -> 0.25·12 + 0.75·80 = 63 with g² = 16, 80
    steps = [2 * 4 / (12**0.5 + 1), 2 * 80**0.5 / (63**0.5 + 1)]
    optimizer = CaffeRMSProp([w], lr=2, rms_decay=0.25, delta=1)
    assert stepped(optimizer, w, 4, 80**0.5) == pytest.approx([10 - steps[0], 10 - sum(steps)], rel=1e-15)


def test_adadelta_has_delta_inside_both_roots_and_stores_the_step_without_the_rate() -> None:
    w = weight(10)
    # h = 0.5·4² = 8; s = 4·√((0 + 1) / (8 + 1)) = 4/3; h2 = 0.5·16/9 = 8/9; w - 3·4/3 = 6
    # h = 4 + 8 = 12; s = 4·√((8/9 + 1) / 13)
    optimizer = CaffeAdaDelta([w], lr=3, momentum=0.5, delta=1)
    second = 6 - 3 * 4 * ((8 / 9 + 1) / 13) ** 0.5
    assert stepped(optimizer, w, 4, 4) == pytest.approx([6, second], rel=1e-15)
    assert optimizer.state[w]["square_avg"].item() == 12


def test_adam_adds_delta_before_the_correction() -> None:
    w = weight(10)
    # h = 0.5·4 = 2, h2 = 0.25·16 = 4, correction √(1 - 0.75) / (1 - 0.5) = 1: w - 3·2 / (2 + 2)
    optimizer = CaffeAdam([w], lr=3, momentum=0.5, momentum2=0.75, delta=2)
    assert stepped(optimizer, w, 4) == [8.5]
    # h = 1 + 0 = 1, h2 = 3, correction √(1 - 0.5625) / 0.75
    assert stepped(optimizer, w, 0) == pytest.approx([8.5 - 3 * 0.4375**0.5 / 0.75 / (3**0.5 + 2)], rel=1e-15)
    assert optimizer.state[w]["step"] == 2


def test_adams_epsilon_is_not_torchs() -> None:
    ours, theirs = weight(1), weight(1)
    caffe = CaffeAdam([ours], lr=0.1, momentum=0.9, momentum2=0.999, delta=0.01)
    torchs = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.999), eps=0.01)
    stepped(caffe, ours, 0.02)
    theirs.grad = torch.full_like(theirs, 0.02)
    torchs.step()
    assert 1 - theirs.item() == pytest.approx(0.1 * 0.02 / (0.02 + 0.01))
    assert 1 - ours.item() == pytest.approx(0.1 * 0.001**0.5 / 0.1 * 0.002 / (0.02 * 0.001**0.5 + 0.01))


def test_at_a_constant_rate_sgd_is_torchs() -> None:
    torch.manual_seed(1)
    start, gradients = torch.randn(3, 5, dtype=torch.float64), torch.randn(8, 3, 5, dtype=torch.float64)
    pairs = []
    for made in (CaffeSGD, torch.optim.SGD):
        w = torch.nn.Parameter(start.clone())
        optimizer = made([w], lr=0.2, momentum=0.7, weight_decay=0.03)
        for gradient in gradients:
            w.grad = gradient.clone()
            optimizer.step()
        pairs.append(w)
    torch.testing.assert_close(*pairs, rtol=1e-13, atol=1e-13)


# Each rule as a loop, on (weights, gradients, histories) of one parameter.


def sgd(w: Array, g: Array, h: list[Array], r: float, t: int, m: float) -> Array:
    h[0] = m * h[0] + r * g
    return w - h[0]


def nesterov(w: Array, g: Array, h: list[Array], r: float, t: int, m: float) -> Array:
    old = h[0]
    h[0] = m * old + r * g
    return w - ((1 + m) * h[0] - m * old)


def adagrad(w: Array, g: Array, h: list[Array], r: float, t: int, delta: float) -> Array:
    h[0] = h[0] + g * g
    return w - r * g / (np.sqrt(h[0]) + delta)


def rmsprop(w: Array, g: Array, h: list[Array], r: float, t: int, d: float, delta: float) -> Array:
    h[0] = d * h[0] + (1 - d) * g * g
    return w - r * g / (np.sqrt(h[0]) + delta)


def adadelta(w: Array, g: Array, h: list[Array], r: float, t: int, m: float, delta: float) -> Array:
    h[0] = m * h[0] + (1 - m) * g * g
    s = g * np.sqrt((h[1] + delta) / (h[0] + delta))
    h[1] = m * h[1] + (1 - m) * s * s
    return w - r * s


def adam(w: Array, g: Array, h: list[Array], r: float, t: int, m: float, m2: float, delta: float) -> Array:
    h[0] = m * h[0] + (1 - m) * g
    h[1] = m2 * h[1] + (1 - m2) * g * g
    return w - r * np.sqrt(1 - m2**t) / (1 - m**t) * h[0] / (np.sqrt(h[1]) + delta)


RULES: list[tuple[Made, Callable[..., Array], dict[str, float]]] = [
    (CaffeSGD, sgd, {"momentum": 0.9}),
    (CaffeNesterov, nesterov, {"momentum": 0.8}),
    (CaffeAdaGrad, adagrad, {"delta": 0.01}),
    (CaffeRMSProp, rmsprop, {"rms_decay": 0.7, "delta": 0.02}),
    (CaffeAdaDelta, adadelta, {"momentum": 0.6, "delta": 0.03}),
    (CaffeAdam, adam, {"momentum": 0.85, "momentum2": 0.97, "delta": 0.04}),
]
MULTIPLIERS = [(1.0, 1.0), (2.0, 0.0), (0.5, 3.0), (0.0, 2.0)]
DECAY, CLIP, PASSES, STEPS = 0.05, 2.5, 3, 7


@pytest.mark.parametrize("kind", ["L1", "L2"])
@pytest.mark.parametrize(("made", "rule", "settings"), RULES, ids=lambda x: getattr(x, "__name__", ""))
def test_clipping_passes_decay_and_multipliers_come_in_caffes_order(
    made: Made, rule: Callable[..., Array], settings: dict[str, float], kind: str
) -> None:
    rng = np.random.default_rng(5)
    shapes = [(3, 4), (5,), (2, 6, 1), (7,)]
    values = [rng.standard_normal(shape) for shape in shapes]
    values[0][1, 2] = 0.0  # sign(0) is 0
    tensors = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    tensors[3].requires_grad_(False)
    groups = [
        {"params": [tensor], "lr_mult": lr, "decay_mult": decay}
        for tensor, (lr, decay) in zip(tensors, MULTIPLIERS, strict=True)
    ]
    common = {"weight_decay": DECAY, "regularization": kind, "clip_gradients": CLIP, "iter_size": PASSES}
    optimizer = made(groups, lr=0.3, **settings, **common)
    histories = [[np.zeros(shape), np.zeros(shape)] for shape in shapes]
    clipped = 0
    for t in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = rate = 0.3 / t
        optimizer.param_groups[2]["lr"] = optimizer.param_groups[3]["lr"] = rate
        optimizer.zero_grad()
        sums = [np.zeros(shape) for shape in shapes]
        for _ in range(PASSES):
            passes = [rng.standard_normal(shape) * 0.7 / t for shape in shapes[:3]]
            for total, one in zip(sums, passes, strict=False):
                total += one
            pairs = zip(tensors, passes, strict=False)
            torch.stack([(w * torch.tensor(g)).sum() for w, g in pairs]).sum().backward()
        norm = np.sqrt(sum((total**2).sum() for total in sums))
        clipped += norm > CLIP
        for i, (lr, decay) in enumerate(MULTIPLIERS):
            g = sums[i] * min(1, CLIP / norm) / PASSES
            g = g + DECAY * decay * (values[i] if kind == "L2" else np.sign(values[i]))
            values[i] = rule(values[i], g, histories[i], rate * lr, t, *settings.values())
        optimizer.step()
        for tensor, value in zip(tensors, values, strict=True):
            np.testing.assert_allclose(tensor.detach().numpy(), value, rtol=1e-12, atol=1e-14)
    assert 0 < clipped < STEPS
    for tensor, expected in zip(tensors, histories, strict=True):
        for name, values_of in zip(optimizer.histories, expected, strict=False):
            np.testing.assert_allclose(optimizer.state[tensor][name].numpy(), values_of, rtol=1e-12, atol=1e-14)


def test_clipping_to_zero_and_gradients_of_zero_stay_finite() -> None:
    w = weight(3, 4)
    optimizer = CaffeSGD([w], lr=1, clip_gradients=0)
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert w.tolist() == [3, 4]
    w.grad = torch.ones_like(w)
    optimizer.step()
    assert w.tolist() == [3, 4]


def test_a_frozen_buffer_stays_and_its_history_decays_as_in_caffe() -> None:
    """Caffe lets frozen blobs take part with a rate of 0: Adam's averages then see the weight decay alone."""
    statistics = torch.tensor([2.0, 4.0, 8.0], dtype=torch.float64)
    optimizer = CaffeAdam([{"params": [statistics], "lr_mult": 0}], lr=1, momentum=0.5, momentum2=0.75, weight_decay=1)
    optimizer.step()
    assert statistics.tolist() == [2, 4, 8]
    assert optimizer.state[statistics]["exp_avg"].tolist() == [1, 2, 4]
    assert optimizer.state[statistics]["exp_avg_sq"].tolist() == [1, 4, 16]


def test_a_parameter_without_a_gradient_decays() -> None:
    w = weight(8)
    CaffeSGD([w], lr=0.5, weight_decay=0.25).step()
    assert w.item() == 7


def test_gradients_are_left_as_they_are() -> None:
    w = weight(3)
    w.grad = torch.tensor([4.0], dtype=torch.float64)
    CaffeAdaGrad([w], lr=1, weight_decay=1, clip_gradients=0.5, iter_size=2).step()
    assert w.grad.item() == 4


def test_a_closure_is_called_with_gradients_on() -> None:
    w = weight(3)
    optimizer = CaffeSGD([w], lr=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 9
    assert w.item() == 0


@pytest.mark.parametrize(("made", "rule", "settings"), RULES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_saved_state_goes_on_in_another_optimizer(
    made: Made, rule: Callable[..., Array], settings: dict[str, float]
) -> None:
    torch.manual_seed(2)
    gradients = torch.randn(6, 3, 2, dtype=torch.float64)

    def train(w: torch.nn.Parameter, optimizer: CaffeOptimizer, part: torch.Tensor) -> None:
        for gradient in part:
            w.grad = gradient.clone()
            optimizer.step()

    straight = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    whole = made([straight], lr=0.1, **settings)
    train(straight, whole, gradients)
    w = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    first = made([w], lr=0.1, **settings)
    train(w, first, gradients[:3])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = made([w], lr=77)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(w, second, gradients[3:])
    assert torch.equal(w, straight)


def test_torchs_schedulers_set_the_rate_of_every_group() -> None:
    one, two = weight(0), weight(0)
    optimizer = CaffeSGD([{"params": [one]}, {"params": [two], "lr_mult": 2}], lr=1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], gamma=0.1)
    found = []
    for _ in range(3):
        before = (one.item(), two.item())
        one.grad, two.grad = torch.ones_like(one), torch.ones_like(two)
        optimizer.step()
        found.append((before[0] - one.item(), before[1] - two.item()))
        scheduler.step()
    np.testing.assert_allclose(found, [(1, 2), (0.1, 0.2), (0.01, 0.02)], rtol=1e-12)


def test_an_optimizer_can_be_copied() -> None:
    w = weight(1)
    optimizer = CaffeSGD([w], lr=1, clip_gradients=3, iter_size=2)
    twin = copy.deepcopy(optimizer)
    assert (twin.clip_gradients, twin.iter_size, twin.param_groups[0]["lr"]) == (3, 2, 1)


def test_a_sparse_gradient_is_refused() -> None:
    table = torch.nn.Embedding(5, 3, sparse=True)
    table(torch.tensor([1, 4])).sum().backward()
    with pytest.raises(RuntimeError, match="CaffeSGD takes no sparse gradients"):
        CaffeSGD(table.parameters(), lr=1).step()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iter_size": 0}, "iter_size is 0"),
        ({"regularization": "L3"}, "regularization is 'L3'"),
        ({"lr": -1}, "lr is -1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaffeSGD([weight(1)], **settings)
