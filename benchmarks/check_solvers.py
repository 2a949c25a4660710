"""The trajectories of `check_training solver`: Caffe's parameters, rates and losses over 12 updates.

From the weights before the first update, and resumed from Caffe's own snapshots at 6, binary and HDF5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.comparing import Errors, beside
from converter.training.module import Trainable, trainable
from converter.training.solver import Solver
from prototxt import Net, load_net
from weights import open_weights

Array = npt.NDArray[np.float32]
SNAPSHOTS = ("snap_iter_6.solverstate", "snap_iter_6.solverstate.h5")
ITERATIONS = 12


def check_solver(case: Path) -> Errors:
    """The errors of one trajectory, by array; those of a resumed one bear the snapshot's name."""
    with np.load(case / "traj.npz") as file:
        golden = {name: file[name] for name in file.files}
    net = load_net(case / "net.prototxt", phase="TRAIN")
    with open_weights(case / "init.caffemodel") as weights:
        made = trainable(net, weights)
    yield from run(case, net, made, Solver(case / "solver.prototxt", made.module, made.learnables, net=net), golden)
    for snapshot in SNAPSHOTS:
        made = trainable(net, None)
        solver = Solver(case / "solver.prototxt", made.module, made.learnables, net=net)
        solver.restore(case / snapshot)
        for name, error in run(case, net, made, solver, golden):
            yield f"{name} from {snapshot}", error


def run(case: Path, net: Net, made: Trainable, solver: Solver, golden: Mapping[str, Array]) -> Errors:
    """The errors from where the solver is to iteration 12."""
    import torch

    with np.load(case / "data.npz") as file:
        feeds = {name: file[name] for name in file.files}
    passes = max(1, solver.settings.param.iter_size)
    batches = iter(range(solver.iteration * passes, ITERATIONS * passes))
    losses: list[float] = []

    def forward() -> torch.Tensor:
        batch = next(batches)
        outputs = made.module(*(torch.from_numpy(feeds[name][batch]) for name in made.inputs))
        loss: torch.Tensor = made.module.objective(outputs)
        losses.append(float(loss.detach()))
        return loss

    yield from parameters(made, net, solver.iteration, golden)
    start = solver.iteration
    while solver.iteration < ITERATIONS:
        solver.step(forward)
        expected = golden["lr"][solver.iteration - 1]
        yield f"lr:{solver.iteration}", beside(np.array(solver.rate), np.array(expected))
        yield from parameters(made, net, solver.iteration, golden)
    yield "loss", beside(np.array(losses), golden["loss"][start * passes :])


def parameters(made: Trainable, net: Net, iteration: int, golden: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    """Caffe's blobs after an update; each sharer of a blob has the values of its owner."""
    state = made.module.state_dict()
    keys = made.keys(net)
    for name, expected in golden.items():
        if name.startswith("param:") and name.endswith(f":{iteration}"):
            _, layer, index, _ = name.split(":")
            yield name, beside(state[keys[layer, int(index)]].numpy(), expected)
