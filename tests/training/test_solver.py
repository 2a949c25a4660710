"""The solver: Caffe's trajectories from its start and from its snapshots, snapshots written back, and the loop."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from converter.training.learnable import Learnable
from converter.training.progress import Hooks, Iteration, SmoothedLoss
from converter.training.settings import load_settings
from converter.training.solver import Solver
from prototxt import caffe_pb2, parse_net
from prototxt.errors import CaffeModelError, ErrorGroup, PrototxtError, RequestError, UnsupportedError, WeightsError
from tests.training.golden_net import SolverCase, solver_cases, trajectory_error
from weights import ArrayWeights, open_weights, read_solverstate, write_caffemodel, write_solverstate

# Caffe and torch add float32 numbers in different orders; over 12 updates this is what is left of it (seen: 2.1e-6).
CLOSE = 5e-6
CASES = [
    *("adadelta_fixed", "adagrad_inv", "adam_fixed", "adam_step_l2", "nesterov_exp", "rmsprop_fixed"),
    *("sgd_bn_batch_stats", "sgd_clip", "sgd_clip_iter_size_l1", "sgd_inv", "sgd_iter_size2", "sgd_l1"),
    *("sgd_momentum_l2_step", "sgd_multistep", "sgd_normalize_false", "sgd_plain_fixed", "sgd_poly"),
    *("sgd_shared_weights", "sgd_sigmoid"),
]


def golden(shared: Path, name: str) -> SolverCase:
    return SolverCase(shared / "golden" / "train" / "solver" / name)


def started(case: SolverCase) -> tuple[Solver, nn.Module]:
    """The solver at iteration 0, with Caffe's first weights."""
    module = case.module()
    solver = Solver(case.solver, module, module.learnables(), net=case.net())
    solver.load_weights(case.folder / "init.caffemodel")
    return solver, module


def resumed(case: SolverCase, suffix: str) -> tuple[Solver, nn.Module]:
    """The solver from Caffe's snapshot."""
    module = case.module()
    solver = Solver(case.solver, module, module.learnables(), net=case.net())
    solver.restore(case.folder / f"snap_iter_6.solverstate{suffix}")
    return solver, module


def test_every_golden_case_is_named(shared: Path) -> None:
    assert [str(case) for case in solver_cases(shared)] == CASES


@pytest.mark.parametrize("name", CASES)
def test_twelve_iterations_are_caffes(name: str, shared: Path) -> None:
    case = golden(shared, name)
    solver, module = started(case)
    caffe, forward = case.arrays("traj"), case.feeder(module)
    losses = caffe["loss"].reshape(12, -1).mean(1)
    for n in range(12):
        done = solver.step(forward)
        assert done.rate == caffe["lr"][n]
        assert done.loss == pytest.approx(losses[n], rel=CLOSE)
        assert trajectory_error(module, module.learnables(), caffe, n + 1) < CLOSE


@pytest.mark.parametrize("suffix", ["", ".h5"])
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_is_caffes(name: str, suffix: str, shared: Path) -> None:
    case = golden(shared, name)
    solver, module = resumed(case, suffix)
    assert solver.iteration == 6
    caffe = case.arrays("traj")
    forward = case.feeder(module, skip=6 * solver.settings.param.iter_size)
    for n in range(6, 12):
        assert solver.step(forward).rate == caffe["lr"][n]
        assert trajectory_error(module, module.learnables(), caffe, n + 1) < CLOSE


@pytest.mark.parametrize("name", CASES)
def test_a_restored_snapshot_is_written_back_as_caffe_wrote_it(name: str, shared: Path, tmp_path: Path) -> None:
    case = golden(shared, name)
    for suffix in ("", ".h5"):
        solver, _ = resumed(case, suffix)
        model, state = solver.snapshot(tmp_path / "snap", form="hdf5" if suffix else "binary")
        assert (model.name, state.name) == (f"snap_iter_6.caffemodel{suffix}", f"snap_iter_6.solverstate{suffix}")
        assert_same_weights(model, case.folder / model.name)
        with read_solverstate(state) as ours, read_solverstate(case.folder / state.name) as caffes:
            assert ours.learned_net == str(model)
            assert (ours.iteration, ours.current_step) == (caffes.iteration, caffes.current_step)
            assert [blob.shape for blob in ours.history] == [blob.shape for blob in caffes.history]
            for a, b in zip(ours.history, caffes.history, strict=True):
                assert np.array_equal(a.array(), b.array())


def assert_same_weights(ours: Path, caffes: Path) -> None:
    """The same layers but for Caffe's Split layers, with the same blobs bit for bit."""
    with open_weights(ours) as one, open_weights(caffes) as other:
        expected = [layer for layer in other.layers if layer.type != "Split"]
        assert [(x.name, x.type, len(x.blobs)) for x in one.layers] == [
            (x.name, x.type, len(x.blobs)) for x in expected
        ]
        for mine, theirs in zip(one.layers, expected, strict=True):
            for a, b in zip(mine.blobs, theirs.blobs, strict=True):
                assert (a.shape, a.stored) == (b.shape, b.stored)
                assert not a.stored or np.array_equal(a.array(), b.array())


@pytest.mark.parametrize("name", ["adam_step_l2", "sgd_multistep", "sgd_iter_size2", "sgd_bn_batch_stats"])
def test_six_iterations_leave_caffes_snapshot(name: str, shared: Path, tmp_path: Path) -> None:
    """Protobuf's own reader on what was written, against what Caffe wrote at the same iteration."""
    case = golden(shared, name)
    solver, module = started(case)
    forward = case.feeder(module)
    for _ in range(6):
        solver.step(forward)
    model, state = solver.snapshot(tmp_path / "snap")
    with open_weights(model) as mine, open_weights(case.folder / model.name) as theirs:
        for one in module.learnables():
            found, expected = (of.get(one.layer).blobs[one.index].array() for of in (mine, theirs))
            np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE * np.abs(expected).max())
    ours = caffe_pb2.SolverState.FromString(state.read_bytes())
    caffes = caffe_pb2.SolverState.FromString((case.folder / "snap_iter_6.solverstate").read_bytes())
    assert (ours.iter, ours.current_step) == (caffes.iter, caffes.current_step) == (6, solver.schedule.current_step)
    for mine, theirs in zip(ours.history, caffes.history, strict=True):
        expected = np.array(theirs.data)
        assert list(mine.shape.dim) == list(theirs.shape.dim)
        np.testing.assert_allclose(mine.data, expected, rtol=0, atol=2e-5 * max(np.abs(expected).max(), 1e-30))


def test_weights_are_found_beside_a_state_that_was_moved(shared: Path, tmp_path: Path) -> None:
    case = golden(shared, "sgd_poly")
    for name in ("snap_iter_6.caffemodel", "snap_iter_6.solverstate"):
        shutil.copy(case.folder / name, tmp_path / name)
    module = case.module()
    solver = Solver(case.solver, module, module.learnables())
    solver.restore(tmp_path / "snap_iter_6.solverstate")
    assert trajectory_error(module, module.learnables(), case.arrays("traj"), 6) == 0
    (tmp_path / "snap_iter_6.caffemodel").unlink()
    with pytest.raises(WeightsError, match=r"^snap_iter_6\.caffemodel: error: no such file"):
        solver.restore(tmp_path / "snap_iter_6.solverstate")
    solver.restore(tmp_path / "snap_iter_6.solverstate", weights=case.folder / "snap_iter_6.caffemodel.h5")


def test_a_state_of_another_solver_changes_nothing(shared: Path) -> None:
    case, other = golden(shared, "sgd_poly"), golden(shared, "adam_fixed")
    solver, module = started(case)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    path = other.folder / "snap_iter_6.solverstate"
    with pytest.raises(WeightsError, match="holds 18 history blobs, but the solver needs 9, one for each") as caught:
        solver.restore(path)
    assert caught.value.position.path == str(path)
    assert solver.iteration == 0
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_state_of_another_net_names_every_blob_that_does_not_fit(shared: Path) -> None:
    narrow = golden(shared, "sgd_shared_weights").module()
    learnables = narrow.learnables()[:9]
    solver = Solver(golden(shared, "sgd_poly").solver, narrow, learnables)
    with pytest.raises(ErrorGroup) as caught:
        solver.restore(golden(shared, "sgd_poly").folder / "snap_iter_6.solverstate")
    said = [str(error).partition("error: ")[2] for error in caught.value.errors]
    assert said[0] == "layer 'conv': history blob 0 is 4×2×3×3, but blob 0 is 1×2×3×3"
    assert len(said) == 8  # the scale factor of BatchNorm is a single value in both


def test_weights_of_another_net_name_every_blob_that_is_missing(shared: Path) -> None:
    case = golden(shared, "sgd_shared_weights")
    module = case.module()
    solver = Solver(case.solver, module, module.learnables())
    with pytest.raises(ErrorGroup) as caught:
        solver.load_weights(golden(shared, "sgd_poly").folder / "init.caffemodel")
    said = [str(error).partition("error: ")[2] for error in caught.value.errors]
    assert "layer 's1': has no blob 0, which the net has" in said
    assert "layer 'ip': blob 0 is 5×36, but the net makes it 5×9" in said


class Line(nn.Module):
    """y = a·x + b, with the loss (y - target)² / 2; b is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[2.0]]))
        self.b = nn.Parameter(torch.tensor([1.0]))

    def forward(self, x: float, target: float) -> Tensor:
        return ((self.a * x + self.b - target) ** 2 / 2).sum()


LINE = [Learnable("line", 0, (1, 1), "a"), Learnable("line", 1, (1,), "b", 0.0, 0.0)]


def line_solver(folder: Path, text: str) -> tuple[Solver, Line]:
    path = folder / "solver.prototxt"
    path.write_text(text)
    module = Line()
    return Solver(path, module, LINE), module


def test_a_step_by_hand(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 0.125 lr_policy: 'fixed' iter_size: 2 weight_decay: 0.5")
    batches = iter([(1.0, 1.0), (3.0, 3.0)])
    done = solver.step(lambda: module(*next(batches)))
    # y - target: 2 and 4; losses 2 and 8; gradients 2 and 12, mean 7, with the decay 8; a = 2 - 0.125 · 8
    assert done == Iteration(iteration=0, rate=0.125, loss=5.0, smoothed_loss=5.0)
    assert module.a.item() == 1
    assert module.b.item() == 1
    assert (solver.iteration, solver.rate) == (1, 0.125)
    assert not module.b.requires_grad


@pytest.mark.parametrize(("force", "expected"), [(False, 1.5), (True, 1.6)])
def test_a_frozen_gradient_counts_in_the_norm_only_where_the_net_forces_it(
    tmp_path: Path, force: bool, expected: float
) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 1 lr_policy: 'fixed' clip_gradients: 0.5")
    net = parse_net(f'force_backward: {str(force).lower()} layer {{ name: "line" type: "InnerProduct" top: "y" }}')
    module = Line()
    solver = Solver(path, module, LINE, net=net)
    # y - target = 4; the gradients are 4 · 4/3 and 4, norms 16/3 and 20/3
    solver.step(lambda: module(4 / 3, 2 * 4 / 3 + 1 - 4))
    assert module.a.item() == pytest.approx(expected, rel=1e-6)
    assert module.b.item() == 1


def test_the_smoothed_loss_is_the_mean_of_the_last_ones() -> None:
    smoothed = SmoothedLoss(3)
    assert [smoothed.add(loss) for loss in (6.0, 2.0, 1.0, 9.0, 5.0)] == [6, 4, 3, 4, 5]


def test_a_run_calls_its_hooks_and_writes_snapshots_when_caffe_does(tmp_path: Path) -> None:
    text = (
        "base_lr: 0.01 lr_policy: 'fixed' max_iter: 7 display: 3 test_interval: 2 test_initialization: false "
        f"snapshot: 3 snapshot_prefix: '{tmp_path}/line' average_loss: 2"
    )
    solver, module = line_solver(tmp_path, text)
    said: list[object] = []
    hooks = Hooks(
        progress=lambda p: said.append(p.iteration),
        display=lambda p: said.append(("display", p.iteration)),
        test=lambda n: said.append(("test", n)),
    )
    last = solver.run(lambda pair: module(*pair), [(1.0, 1.0)] * 99, hooks=hooks)
    assert said == [
        *(("display", 0), 0, 1, ("test", 2), 2, ("display", 3), 3, ("test", 4), 4, 5, ("test", 6)),
        *(("display", 6), 6),
    ]
    assert last is not None
    assert last.iteration == 6
    names = {path.name for path in tmp_path.glob("line_*")}
    assert names == {f"line_iter_{n}.{kind}" for n in (3, 6, 7) for kind in ("caffemodel", "solverstate")}
    assert solver.run(lambda pair: module(*pair), []) is None  # max_iter is reached


def test_a_run_tests_at_the_start_and_at_the_end(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 0.01 lr_policy: 'fixed' max_iter: 4 test_interval: 2")
    said: list[int] = []
    solver.run(lambda pair: module(*pair), [(1.0, 1.0)] * 4, hooks=Hooks(test=said.append), snapshots=False)
    assert said == [0, 2, 4]
    assert list(tmp_path.iterdir()) == [tmp_path / "solver.prototxt"]


def test_no_more_batches_are_taken_than_are_used(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 0.01 lr_policy: 'fixed' iter_size: 2")
    batches = iter([(1.0, 1.0)] * 7)
    solver.run(lambda pair: module(*pair), batches, 3, snapshots=False)
    assert len(list(batches)) == 1
    with pytest.raises(RequestError, match="the batches ran out in iteration 3"):
        solver.run(lambda pair: module(*pair), [(1.0, 1.0)], 1, snapshots=False)


def test_a_run_without_an_end_or_without_a_folder_for_snapshots_does_not_begin(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 1\nlr_policy: 'fixed'\nsnapshot_prefix: 'absent/line'")
    with pytest.raises(RequestError, match="max_iter is not given"):
        solver.run(lambda pair: module(*pair), [(1.0, 1.0)])
    with pytest.raises(RequestError, match=r"solver\.prototxt:3:1: error: there is no folder 'absent'"):
        solver.run(lambda pair: module(*pair), [(1.0, 1.0)], 1)
    assert module.a.item() == 2


def test_snapshots_are_named_after_the_solver_where_it_names_none(tmp_path: Path) -> None:
    text = "base_lr: 1 lr_policy: 'fixed' snapshot_format: HDF5"
    solver, _ = line_solver(tmp_path, text)
    assert solver.snapshot() == (
        tmp_path / "solver_iter_0.caffemodel.h5",
        tmp_path / "solver_iter_0.solverstate.h5",
    )
    (tmp_path / "states").mkdir()
    inside, _ = line_solver(tmp_path, f"{text} snapshot_prefix: '{tmp_path}/states'")
    assert inside.snapshot(form="binary")[0] == tmp_path / "states" / "solver_iter_0.caffemodel"


def test_plateaus_memory_is_saved_and_restored(tmp_path: Path) -> None:
    text = "base_lr: 8 gamma: 0.5 lr_policy: 'plateau' plateau_winsize: 2 plateau_winsize: 3 weight_decay: 0"
    for form in ("binary", "hdf5"):
        one, _ = line_solver(tmp_path, text)
        one.schedule.current_step, one.schedule.minimum_loss, one.schedule.last_event = 1, 0.25, 5
        one.iteration = 7
        _, state = one.snapshot(tmp_path / form, form=form)
        two, _ = line_solver(tmp_path, text)
        two.restore(state)
        assert (two.iteration, two.schedule.current_step) == (7, 1)
        assert (two.schedule.minimum_loss, two.schedule.last_event) == (0.25, 5)
        assert two.schedule.rate(7, 1.0) == 4
        assert two.schedule.rate(8, 1.0) == 2


def test_a_shared_blob_is_written_under_each_layer_only_with_the_net(tmp_path: Path) -> None:
    learnables = [Learnable("one", 0, (2, 3), "one"), Learnable("two", 1, (2,), "two")]
    module = nn.Module()
    module.one, module.two = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 1 lr_policy: 'fixed'")
    with pytest.raises(RequestError, match="layer 'two' uses a blob of another layer"):
        Solver(path, module, learnables).snapshot(form="binary")
    net = parse_net(
        """
        layer { name: "one" type: "InnerProduct" top: "a" param { name: "w" }
          inner_product_param { num_output: 2 bias_term: false } }
        layer { name: "two" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
          inner_product_param { num_output: 2 } }
        """
    )
    model, _ = Solver(path, module, learnables, net=net).snapshot(form="binary")
    with open_weights(model) as weights:
        assert [[blob.shape for blob in layer.blobs] for layer in weights.layers] == [[(2, 3)], [(2, 3), (2,)]]


def test_a_state_that_names_no_weights_leaves_the_modules(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 1 lr_policy: 'fixed'")
    path = tmp_path / "bare.solverstate"
    write_solverstate(path, solver.state())
    with torch.no_grad():
        module.a.fill_(7)
    solver.restore(path)
    assert module.a.item() == 7


def test_weights_in_the_old_form_fit(tmp_path: Path) -> None:
    solver, module = line_solver(tmp_path, "base_lr: 1 lr_policy: 'fixed'")
    write_caffemodel(tmp_path / "w.caffemodel", "", ArrayWeights({"line": [[[5.0]], [6.0]]}).layers)
    solver.load_weights(tmp_path / "w.caffemodel")
    assert (module.a.item(), module.b.item()) == (5, 6)


def test_a_rate_that_is_no_number_stops_before_the_update(tmp_path: Path) -> None:
    text = "base_lr: 1\nlr_policy: 'poly'\npower: 0.5\nmax_iter: 2"
    solver, module = line_solver(tmp_path, text)
    for _ in range(3):
        solver.step(lambda: module(0.0, 1.0))
    with pytest.raises(RequestError, match=r":2:1: error: the learning rate of iteration 3 is nan"):
        solver.step(lambda: module(1.0, 1.0))
    assert (solver.iteration, module.a.item()) == (3, 2)


def test_learnables_that_the_module_does_not_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text("base_lr: 1 lr_policy: 'fixed'")
    for wrong in (Learnable("line", 0, (1, 1), "c"), Learnable("line", 0, (2, 3), "a")):
        with pytest.raises(ValueError, match=rf"the module has no '{wrong.key}' of shape"):
            Solver(path, Line(), [wrong])


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ('type: "Lion"', UnsupportedError, "type 'Lion'; expected SGD, Nesterov"),
        ('type: "AdaGrad"', RequestError, "AdaGrad has no momentum"),
        ('type: "RMSProp" momentum: 0 rms_decay: 1', RequestError, "rms_decay is 1; expected 0 or more and below 1"),
        ("iter_size: 0", RequestError, "iter_size is 0"),
        ("average_loss: 0", RequestError, "average_loss is 0"),
        ("base_lr: nan", RequestError, "base_lr is nan; expected a number"),
        ("clip_gradients: inf", RequestError, "clip_gradients is inf"),
        ('regularization_type: "L3"', RequestError, "regularization_type is 'L3'; expected L1 or L2"),
        ("local_lr_auto: true", UnsupportedError, "local_lr_auto asks for a rate for each layer"),
        ('momentum_policy: "poly"', UnsupportedError, "momentum_policy asks for a momentum that changes"),
        ("disabled_update: true", UnsupportedError, "never updates"),
        ("solver_data_type: FLOAT16", UnsupportedError, "half or double precision"),
        ("force_iter: 9", UnsupportedError, "forced sparsity"),
        ('lr_policy: "cosine"', UnsupportedError, "lr_policy 'cosine'"),
        ("solver_type: ADAM type: 'SGD'", PrototxtError, "solver_type ADAM and type 'SGD' are both given"),
    ],
)
def test_what_is_not_done_is_refused_with_its_line(tmp_path: Path, line: str, kind: type, message: str) -> None:
    written = {"base_lr": "base_lr: 1", "lr_policy": "lr_policy: 'fixed'", "momentum": "momentum: 0.5"}
    written = {name: text for name, text in written.items() if not f" {line}".count(f" {name}:")}
    text = "\n".join(["weight_decay: 0.1", line, *written.values()])
    path = tmp_path / "solver.prototxt"
    path.write_text(text)
    with pytest.raises(kind, match=message) as caught:
        Solver(path, Line(), LINE)
    at = 5 if "has no momentum" in message else 2
    assert str(caught.value).startswith(f"{path}:{at}:")


@pytest.mark.slow
def test_public_solvers_are_taken_but_for_what_is_not_done(shared: Path, tmp_path: Path) -> None:
    """Of the corpus' 560: two forks' own methods, Intel's LARS, an unknown policy, and files that do not parse."""
    refused: list[str] = []
    path, taken = tmp_path / "solver.prototxt", 0
    with tarfile.open(shared / "corpus" / "prototxt.tar.xz") as archive:
        for member in archive:
            if not member.isfile() or "solver" not in Path(member.name).name:
                continue
            text = archive.extractfile(member).read()
            if not re.search(rb"^\s*(base_lr|lr_policy)\s*:", text, re.M):
                continue
            path.write_bytes(text)
            try:
                Solver(path, Line(), LINE)
                taken += 1
            except CaffeModelError as error:
                refused += str(error).splitlines()
    assert taken > 500
    expected = {"force_iter": 2, "local_lr_auto": 6, "stepearly": 1, "policy poly needs 1 or more": 1}
    for what, count in expected.items():
        assert len([line for line in refused if what in line]) == count, what
    assert all(": error: " in line for line in refused)


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text("iter_size: -1\naverage_loss: -2\nlocal_lr_auto: true")
    with pytest.raises(ErrorGroup) as caught:
        load_settings(path)
    assert sorted(error.position.line for error in caught.value.errors) == [1, 2, 3]


def test_an_old_solver_type_is_upgraded(tmp_path: Path) -> None:
    solver, _ = line_solver(tmp_path, "base_lr: 1 lr_policy: 'fixed' solver_type: ADAM")
    assert type(solver.optimizer).__name__ == "CaffeAdam"
    assert solver.settings.notes == ("solver_type ADAM became type 'Adam'",)


def test_a_missing_solver_and_a_net_in_its_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrototxtError, match="can't read the file"):
        Solver(tmp_path / "absent.prototxt", Line(), LINE)
    (tmp_path / "net.prototxt").write_text('layer { name: "a" type: "ReLU" bottom: "b" top: "b" }')
    with pytest.raises(PrototxtError, match="this is a net, not a solver"):
        Solver(tmp_path / "net.prototxt", Line(), LINE)
