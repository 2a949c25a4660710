#!/usr/bin/env python3
"""Training beside the original Caffe's: every case of a folder in the form of ../shared/golden/train.

    python benchmarks/check_training.py grad FOLDER [--only PART]      forward, gradients, BatchNorm's averages
    python benchmarks/check_training.py solver FOLDER [--only PART]    12 updates, and resumed from the snapshots at 6

Prints the worst error of each case, as a share of the largest value of the array that it is in; exit status 1 when one
is above 1e-4. A case that cannot be built falls short too, and the others go on. An array of nothing but zeros must be
met exactly. Dropout draws its own mask: there only the rule is checked, that what is kept is divided by the share kept,
and that gradients follow.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is also run as a file

from benchmarks.check_solvers import check_solver
from benchmarks.comparing import Errors, beside
from converter.options import Options
from converter.training.module import Trainable, trainable
from prototxt import Net, load_net
from prototxt.errors import CaffeModelError
from weights import open_weights

BOUND = 1e-4
Array = npt.NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["grad", "solver"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="PART", help="cases whose name has this part")
    arguments = parser.parse_args()
    cases = sorted(
        path.parent for path in arguments.folder.glob("*/net.prototxt") if arguments.only in path.parent.name
    )
    if not cases:
        parser.error(f"no cases in {arguments.folder}")
    check = check_grad if arguments.what == "grad" else check_solver
    failed = 0
    for case in cases:
        where, worst = worst_of(check, case)
        good = worst <= BOUND
        failed += not good
        print(f"{'ok ' if good else 'BAD'} {case.name:28} {worst:.1e}  {where}")
    print(f"{len(cases) - failed} of {len(cases)} cases within {BOUND:g}")
    return 1 if failed else 0


def worst_of(check: Callable[[Path], Errors], case: Path) -> tuple[str, float]:
    """The largest error of a case and where it is; of a case that cannot be built, why, as one that falls short."""
    try:
        return max(check(case), key=lambda pair: math.inf if math.isnan(pair[1]) else pair[1])
    except CaffeModelError as error:
        return str(error), math.inf


def check_grad(case: Path) -> Errors:
    """The errors of one gradient case, by array."""
    with np.load(case / "io.npz") as file:
        golden = {name: file[name] for name in file.files}
    net = load_net(case / "net.prototxt", phase="TRAIN")
    made = load(case, net, golden)
    outputs, inputs = forward(made, golden)
    torch = _torch()
    seeds = {name: torch.from_numpy(golden[f"dout:{name}"]) for name in outputs if f"dout:{name}" in golden}
    if seeds:
        sum((outputs[name] * seed).sum() for name, seed in seeds.items()).backward()
    else:
        made.module.objective(outputs).backward()
    values = {name: value.detach().numpy() for name, value in outputs.items()}
    if any(layer.type == "Dropout" for layer in net.layers):
        yield from dropped(values, inputs, golden)
        return
    yield from outputs_beside(net, values, golden)
    for name, tensor in inputs.items():
        if f"dinput:{name}" in golden:
            yield f"dinput:{name}", beside(gradient(tensor), golden[f"dinput:{name}"])
    yield from parameters_beside(made, net, golden)
    yield from later_passes(made, golden)


def load(case: Path, net: Net, golden: Mapping[str, Array]) -> Trainable:
    """The module of a case; its outputs are those that the case has diffs for, or all."""
    seeded = tuple(name.removeprefix("dout:") for name in golden if name.startswith("dout:"))
    with ExitStack() as stack:
        file = case / "weights.caffemodel"
        weights = stack.enter_context(open_weights(file)) if file.exists() else None
        return trainable(net, weights, options=Options(outputs=seeded))


def forward(made: Trainable, golden: Mapping[str, Array], step: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and inputs of a pass; inputs that have a gradient in the case ask for one."""
    torch = _torch()
    inputs = {}
    for name in made.inputs:
        tensor = torch.from_numpy(golden[f"in:{name}{step}"].copy())
        inputs[name] = tensor.requires_grad_(not step and f"dinput:{name}" in golden)
    return dict(made.module(*inputs.values())), inputs


def outputs_beside(net: Net, values: Mapping[str, Array], golden: Mapping[str, Array]) -> Errors:
    """The module's outputs as the last layer that wrote them left them."""
    last = {top: layer.name for layer in net.layers for top in layer.tops}
    for name, value in values.items():
        key = f"out:{last[name]}:{name}"
        if key in golden:
            yield key, beside(value, golden[key])


def parameters_beside(made: Trainable, net: Net, golden: Mapping[str, Array]) -> Errors:
    """Gradients of Caffe's blobs; each sharer of a blob has the total of all."""
    tensors = {**dict(made.module.named_parameters()), **dict(made.module.named_buffers())}
    keys = made.keys(net)
    for name, expected in golden.items():
        if name.startswith("dparam:"):
            _, layer_name, place = name.split(":")
            key = keys.get((layer_name, int(place)), "")
            yield name, beside(gradient(tensors[key]), expected) if key in tensors else math.inf


def later_passes(made: Trainable, golden: Mapping[str, Array]) -> Errors:
    """BatchNorm's sums after 1, 2 and 3 passes, and the outputs of the later ones."""
    blobs = {(each.layer, each.index): each.key for each in made.learnables}
    for step in (1, 2, 3):
        if step > 1:
            if not any(name.startswith("in:") and name.endswith(f":{step}") for name in golden):
                return
            outputs, _ = forward(made, golden, f":{step}")
            for name, value in outputs.items():
                if f"out{step}:{name}" in golden:
                    yield f"out{step}:{name}", beside(value.detach().numpy(), golden[f"out{step}:{name}"])
        state = made.module.state_dict()
        for name, expected in golden.items():
            if name.startswith("stat:") and name.endswith(f":{step}"):
                _, layer, index, _ = name.split(":")
                yield name, beside(state[blobs[layer, int(index)]].numpy(), expected)


def dropped(values: Mapping[str, Array], inputs: Mapping[str, Any], golden: Mapping[str, Array]) -> Errors:
    """What Dropout keeps is divided by the share that it keeps, as in the case, and its gradient likewise."""
    (output,) = values.values()
    (tensor,) = inputs.values()
    (name,) = inputs
    before = golden[f"in:{name}"]
    (seed,) = (golden[key] for key in golden if key.startswith("dout:"))
    (after,) = (golden[key] for key in golden if key.startswith("out:"))
    factor = np.max(after[before != 0] / before[before != 0])
    kept = output != 0
    yield "kept values", beside(output, np.where(kept, before * factor, 0))
    yield "gradient of kept values", beside(gradient(tensor), np.where(kept, seed * factor, 0))
    yield "something is dropped, something kept", 0.0 if 0 < kept.mean() < 1 else math.inf


def gradient(tensor: Any) -> Array:
    """A tensor's gradient; zeros where none reached it."""
    made: Array = np.zeros(tuple(tensor.shape), np.float32) if tensor.grad is None else tensor.grad.numpy()
    return made


def _torch() -> Any:
    import torch

    return torch


if __name__ == "__main__":
    sys.exit(main())
