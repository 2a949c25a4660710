"""Solvers and module together, beside the original Caffe's trajectories."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.check_solvers import check_solver
from benchmarks.check_training import BOUND

CASES = "adadelta_fixed adagrad_inv adam_fixed adam_step_l2 nesterov_exp rmsprop_fixed sgd_bn_batch_stats sgd_clip "
CASES += "sgd_clip_iter_size_l1 sgd_inv sgd_iter_size2 sgd_l1 sgd_momentum_l2_step sgd_multistep sgd_normalize_false "
CASES += "sgd_plain_fixed sgd_poly sgd_shared_weights sgd_sigmoid"


@pytest.mark.parametrize("case", CASES.split())
def test_trajectories_are_caffes_also_when_they_are_resumed(case: str, shared: Path) -> None:
    errors = dict(check_solver(shared / "golden" / "train" / "solver" / case))
    assert sum("snap_iter_6.solverstate.h5" in name for name in errors) > 6
    assert {name: error for name, error in errors.items() if not error <= BOUND} == {}
