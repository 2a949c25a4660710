"""The net of `golden/train/solver` by hand in PyTorch, with no help of the converter, and Caffe's trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converter.training.learnable import Learnable
from prototxt import Net, load_net

SHAPES = {"conv": ((4, 2, 3, 3), (4,)), "bn": ((4,), (4,), (1,)), "scale": ((4,), (4,)), "ip": ((5, 36), (5,))}
NARROW = {"conv": ((1, 2, 3, 3), (1,)), "bn": ((1,), (1,), (1,)), "scale": ((1,), (1,))}
NARROW |= {"s1": ((9, 9), (9,)), "ip": ((5, 9), (5,))}
# (lr_mult, decay_mult). Caffe's upgrade of a BatchNorm with three param blocks sets both of each to 0.
MULTIPLIERS = {
    "conv": ((1, 1), (0, 0)),
    "bn": ((0, 0), (0, 0), (0, 0)),
    "scale": ((0.5, 0), (2, 0.5)),
    "s1": ((1, 1), (2, 0)),
    "ip": ((1, 2), (2, 0)),
}


class GoldenNet(nn.Module):
    """conv, BatchNorm, Scale, ReLU, perhaps twice the same ip with TanH, ip, SoftmaxWithLoss.

    Caffe's blob i of a layer is `<layer>_<i>`, the weights of `conv` flattened, so that shapes differ from Caffe's.
    """

    def __init__(self, *, shared_weights: bool, batch_statistics: bool) -> None:
        super().__init__()
        self.shapes = NARROW if shared_weights else SHAPES
        self.shared_weights = shared_weights
        self.batch_statistics = batch_statistics
        for one in self.learnables():
            values = torch.zeros(one.shape).flatten() if one.key == "conv_0" else torch.zeros(one.shape)
            if one.layer == "bn":
                self.register_buffer(one.key, values)
            else:
                setattr(self, one.key, nn.Parameter(values))

    def learnables(self) -> list[Learnable]:
        """In net order."""
        return [
            Learnable(layer, index, shape, f"{layer}_{index}", *MULTIPLIERS[layer][index])
            for layer, shapes in self.shapes.items()
            for index, shape in enumerate(shapes)
        ]

    def forward(self, data: Tensor, label: Tensor) -> Tensor:
        """The loss."""
        x = F.conv2d(data, self.conv_0.reshape(self.shapes["conv"][0]), self.conv_1, stride=2, padding=1)
        if self.batch_statistics:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            self._move(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        else:
            mean, variance = self.bn_0 / self.bn_2, self.bn_1 / self.bn_2
        x = (x - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + 1e-5)
        x = F.relu(x * self.scale_0[:, None, None] + self.scale_1[:, None, None]).flatten(1)
        if self.shared_weights:
            x = torch.tanh(F.linear(x, self.s1_0, self.s1_1))
            x = torch.tanh(F.linear(x, self.s1_0, self.s1_1))
        logits = F.linear(x, self.ip_0, self.ip_1)
        total = F.cross_entropy(logits, label.long(), reduction="sum")
        return total / len(label)  # all labels are valid, so that both ways to normalise divide by the batch

    def _move(self, mean: Tensor, variance: Tensor, count: int, fraction: float = 0.9) -> None:
        self.bn_0.mul_(fraction).add_(mean)
        self.bn_1.mul_(fraction).add_(variance * count / (count - 1))
        self.bn_2.mul_(fraction).add_(1)


@dataclass(frozen=True)
class SolverCase:
    """One folder of `golden/train/solver`."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @property
    def solver(self) -> Path:
        return self.folder / "solver.prototxt"

    def net(self) -> Net:
        """The net in phase TRAIN, as parsed."""
        return load_net(self.folder / "net.prototxt", phase="TRAIN")

    def module(self) -> GoldenNet:
        """With weights of 0."""
        layers = {layer.name: layer.param for layer in self.net().layers}
        return GoldenNet(
            shared_weights="s1" in layers,
            batch_statistics=not layers["bn"].batch_norm_param.use_global_stats,
        )

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """`data` or `traj`."""
        with np.load(self.folder / f"{name}.npz") as stored:
            return dict(stored)

    def feeder(self, module: GoldenNet, skip: int = 0) -> Callable[[], Tensor]:
        """A forward pass over the next element of the data each time it is called."""
        data = self.arrays("data")
        pairs = iter(list(zip(data["data"], data["label"], strict=True))[skip:])

        def forward() -> Tensor:
            images, labels = next(pairs)
            return module(torch.from_numpy(images), torch.from_numpy(labels))

        return forward


def solver_cases(shared: Path) -> list[SolverCase]:
    """All of them, in order of name."""
    return [SolverCase(path.parent) for path in sorted(shared.glob("golden/train/solver/*/solver.prototxt"))]


def trajectory_error(module: nn.Module, learnables: list[Learnable], caffe: dict[str, np.ndarray], count: int) -> float:
    """The largest difference after `count` updates, by the largest value of its blob."""
    worst = 0.0
    held = module.state_dict()
    for one in learnables:
        expected = caffe[f"param:{one.layer}:{one.index}:{count}"].astype(np.float64)
        got = held[one.key].numpy().astype(np.float64).reshape(expected.shape)
        worst = max(worst, float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)))
    return worst
