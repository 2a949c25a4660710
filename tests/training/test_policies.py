"""Learning rates: numbers worked by hand, and Caffe's own to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from google.protobuf import text_format

from converter.training.policies import FLT_MAX, Schedule, rate
from converter.training.settings import load_settings
from prototxt import Position
from prototxt.caffe_pb2 import SolverParameter
from prototxt.errors import RequestError, UnsupportedError
from tests.training.golden_net import solver_cases


def solver(text: str) -> SolverParameter:
    return text_format.Parse(text, SolverParameter())


def rates(text: str, iterations: list[int]) -> list[float]:
    return [rate(solver(text), iteration) for iteration in iterations]


@pytest.mark.parametrize(
    ("text", "iterations", "expected"),
    [
        ("lr_policy: 'fixed' base_lr: 0.5", [0, 7, 900], [0.5, 0.5, 0.5]),
        ("lr_policy: 'step' base_lr: 8 gamma: 0.5 stepsize: 3", [0, 2, 3, 5, 6, 9], [8, 8, 4, 4, 2, 1]),
        ("lr_policy: 'exp' base_lr: 8 gamma: 0.5", [0, 1, 4], [8, 4, 0.5]),
        ("lr_policy: 'inv' base_lr: 6 gamma: 0.5 power: 2", [0, 2, 4], [6, 6 / 4, 6 / 9]),
        ("lr_policy: 'multistep' base_lr: 8 gamma: 0.5 stepvalue: [2, 5, 6]", [1, 2, 4, 5, 6, 99], [8, 4, 4, 2, 1, 1]),
        ("lr_policy: 'poly' base_lr: 4 power: 2 max_iter: 8", [0, 2, 4, 8], [4, 2.25, 1, 0]),
        ("lr_policy: 'poly' base_lr: 5 min_lr: 1 power: 2 max_iter: 8", [0, 4, 8], [5, 2, 1]),
        ("lr_policy: 'sigmoid' base_lr: 3 gamma: -0.5 stepsize: 4", [4, 6], [1.5, 3 / (1 + math.e)]),
        (
            "lr_policy: 'multifixed' stagelr: [0.25, 0.5, 0.125] stageiter: [2, 5, 7]",
            [0, 2, 3, 5, 6, 7, 8, 99],
            [0.25, 0.25, 0.5, 0.5, 0.125, 0.125, 0.125, 0.125],
        ),
    ],
)
def test_rates_are_those_worked_by_hand(text: str, iterations: list[int], expected: list[float]) -> None:
    assert rates(text, iterations) == pytest.approx(expected, rel=1e-7, abs=0)


def test_rates_are_caffes_to_the_last_bit(shared) -> None:
    cases = solver_cases(shared)
    assert {load_settings(case.solver).param.lr_policy for case in cases} == {
        "fixed",
        "step",
        "exp",
        "inv",
        "multistep",
        "poly",
        "sigmoid",
    }
    for case in cases:
        param, expected = load_settings(case.solver).param, case.arrays("traj")["lr"]
        schedule = Schedule(param)
        assert np.array_equal(np.float32([rate(param, i) for i in range(12)]), expected), case
        assert np.array_equal(np.float32([schedule.rate(i) for i in range(12)]), expected), case


def test_a_rate_is_a_float32() -> None:
    for text in ("lr_policy: 'exp' base_lr: 0.1 gamma: 0.9", "lr_policy: 'inv' base_lr: 0.1 gamma: 0.3 power: 0.75"):
        for value in rates(text, [3, 17]):
            assert value == float(np.float32(value))


def test_a_power_beyond_float32_is_infinite_as_in_c() -> None:
    assert rates("lr_policy: 'exp' base_lr: 1 gamma: 10", [300, 400]) == [math.inf, math.inf]
    assert rates("lr_policy: 'step' base_lr: 1 stepsize: 2", [1, 2]) == [1, 0]  # gamma is 0 where it is not given


def test_nvidias_ramp_up_is_a_line_to_base_lr_before_any_policy() -> None:
    text = "lr_policy: 'step' base_lr: 9 gamma: 0.5 stepsize: 2 rampup_interval: 4 rampup_lr: 1"
    assert rates(text, [0, 1, 2, 3, 4, 6]) == [1, 3, 5, 7, 9 / 4, 9 / 8]
    assert rates("lr_policy: 'fixed' base_lr: 9 rampup_interval: 3", [0, 1, 2, 3]) == [0, 3, 6, 9]


def test_intels_warm_up_is_a_line_to_base_lr_before_any_policy() -> None:
    text = "lr_policy: 'fixed' base_lr: 9 warmup_iter: 4 warmup_start_lr: 1"
    assert rates(text, [0, 1, 2, 3, 4, 5]) == [1, 3, 5, 7, 9, 9]


def test_multistep_catches_up_one_step_an_iteration() -> None:
    """Caffe counts at most one step whenever it asks for the rate, and a warm-up asks for none."""
    text = "lr_policy: 'multistep' base_lr: 8 gamma: 0.5 stepvalue: [0, 0, 3, 3]"
    expected = [4, 2, 2, 1, 0.5, 0.5]
    schedule = Schedule(solver(text))
    assert [schedule.rate(i) for i in range(6)] == rates(text, list(range(6))) == expected
    warm = "lr_policy: 'multistep' base_lr: 8 gamma: 0.5 stepvalue: [1, 2] warmup_iter: 4 warmup_start_lr: 8"
    schedule = Schedule(solver(warm))
    assert [schedule.rate(i) for i in range(7)] == rates(warm, list(range(7))) == [8, 8, 8, 8, 4, 2, 2]


def test_a_resumed_multistep_needs_its_count() -> None:
    text = "lr_policy: 'multistep' base_lr: 8 gamma: 0.5 stepvalue: [2, 4]"
    schedule = Schedule(solver(text))
    schedule.current_step = 2
    assert schedule.rate(6) == 2
    assert rate(solver(text), 6, current_step=1) == 4


def test_plateau_lowers_the_rate_when_the_loss_finds_no_new_minimum() -> None:
    text = "lr_policy: 'plateau' base_lr: 8 gamma: 0.5 plateau_winsize: 2 plateau_winsize: 3"
    schedule = Schedule(solver(text))
    assert schedule.minimum_loss == FLT_MAX
    # Minima at 0, 1 and 5; two iterations after 1 the rate falls, three after 5 again, then the windows are used up.
    losses = [9.0, 7.0, 8.0, 7.5, 7.0, 6.0, 6.5, 6.0, 6.2, 6.1, 6.3, 6.4]
    found = [schedule.rate(i, loss) for i, loss in enumerate(losses)]
    assert found == [8, 8, 8, 4, 4, 4, 4, 4, 2, 2, 2, 2]
    assert (schedule.current_step, schedule.minimum_loss, schedule.last_event) == (2, 6.0, 8)


def test_plateau_asks_for_the_losses() -> None:
    text = "lr_policy: 'plateau' base_lr: 8 plateau_winsize: 2"
    with pytest.raises(RequestError, match="depends on the losses"):
        rate(solver(text), 3)
    with pytest.raises(ValueError, match="smoothed loss"):
        Schedule(solver(text)).rate(0)


@pytest.mark.parametrize(
    ("text", "kind", "field", "message"),
    [
        ("base_lr: 1", RequestError, "lr_policy", "lr_policy is not given"),
        ("lr_policy: 'cosine'", UnsupportedError, "lr_policy", "lr_policy 'cosine'; expected fixed, step"),
        ("lr_policy: 'stepearly' stepearly: 1", UnsupportedError, "lr_policy", "'stepearly'"),
        ("lr_policy: 'step' base_lr: 1", RequestError, "stepsize", "stepsize is 0"),
        ("lr_policy: 'step' stepsize: -4", RequestError, "stepsize", "stepsize is -4"),
        ("lr_policy: 'poly' base_lr: 1 power: 1", RequestError, "max_iter", "max_iter is 0"),
        ("lr_policy: 'multifixed'", RequestError, "stagelr", "0 stagelr and 0 stageiter"),
        ("lr_policy: 'multifixed' stagelr: 1 stageiter: [2, 3]", RequestError, "stagelr", "1 stagelr and 2 stageiter"),
        ("lr_policy: 'fixed' rampup_interval: 2 warmup_iter: 3", RequestError, "warmup_iter", "different forks"),
    ],
)
def test_a_policy_that_cannot_be_followed_names_its_field(text: str, kind: type, field: str, message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        Schedule(solver(text), lambda name: Position(f"solver.prototxt with {name}", 3))
    assert caught.value.position == Position(f"solver.prototxt with {field}", 3)
