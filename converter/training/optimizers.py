"""Caffe's six solvers as PyTorch optimizers.

Each step takes the gradients that `backward()` left, the sum over `iter_size` passes, and does in Caffe's order

    g := Σ gradients
    g := g · clip / ‖g‖ where ‖g‖ > clip         ‖g‖: the L2 norm over all parameters together, before the division
    g := g / iter_size
    g := g + weight_decay · decay_mult · w       L1: · sign(w)
    r := lr · lr_mult
    the rule, with h, h2 the histories and m the momentum

    SGD        h := m·h + r·g                    w := w - h
    Nesterov   h' := m·h + r·g                   w := w - (1+m)·h' + m·h
    AdaGrad    h := h + g²                       w := w - r·g / (√h + delta)
    RMSProp    h := d·h + (1-d)·g²               w := w - r·g / (√h + delta)                d: rms_decay
    AdaDelta   h := m·h + (1-m)·g²               s := g · √((h2 + delta) / (h + delta))
               h2 := m·h2 + (1-m)·s²             w := w - r·s
    Adam       h := m·h + (1-m)·g                h2 := m2·h2 + (1-m2)·g²
               w := w - r · √(1-m2ᵗ) / (1-mᵗ) · h / (√h2 + delta)                           t: 1 at the first step

They differ from torch's own: SGD and Nesterov keep the rate inside the history, Adam adds delta before the correction.
A parameter without a gradient counts as one with a gradient of 0, so that it decays as it does in Caffe. Caffe computes
no gradient for a frozen blob (`lr_mult` 0), unless the net says `force_backward`: let such a parameter need none
(`requires_grad_(False)`), or its gradient counts in the norm.

Source: ComputeUpdateValue of each of Caffe's solvers, and ClipGradients, Normalize and Regularize of sgd_solver.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]
Group: TypeAlias = dict[str, Any]


class CaffeOptimizer(Optimizer):
    """What the six have in common.

    Param groups carry `lr`, `lr_mult`, `decay_mult`, `weight_decay`, `regularization` (`"L2"` or `"L1"`) and what the
    rule needs, so that torch's learning rate schedulers and `state_dict` work as with any optimizer.

    Attributes:
        histories: names of what the rule keeps for each parameter in `state`, in the order of Caffe's solver state.
    """

    histories: ClassVar[tuple[str, ...]]

    def __init__(self, params: Params, settings: Group, *, clip_gradients: float, iter_size: int) -> None:
        """Take the settings that every group has unless it brings its own.

        Raises:
            ValueError: a setting out of range.
        """
        if iter_size < 1:
            raise ValueError(f"iter_size is {iter_size}; expected 1 or more")
        self.clip_gradients = clip_gradients
        self.iter_size = iter_size
        super().__init__(params, {"lr_mult": 1.0, "decay_mult": 1.0, **settings})

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles; torch's own keeps nothing but groups and state."""
        own = {"clip_gradients": self.clip_gradients, "iter_size": self.iter_size}
        return {**super().__getstate__(), **own}

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with settings of their own; see `torch.optim.Optimizer`.

        Raises:
            ValueError: a setting out of range.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["regularization"] not in ("L1", "L2"):
            raise ValueError(f"regularization is {group['regularization']!r}; expected L1 or L2")
        for name in ("lr", "lr_mult", "weight_decay", "decay_mult"):
            if not group[name] >= 0:
                raise ValueError(f"{name} is {group[name]}; expected 0 or more")

    def history_of(self, parameter: Tensor) -> list[Tensor]:
        """What the rule keeps for a parameter, in the order of `histories`; zeros before the first step."""
        state = self.state[parameter]
        for name in self.histories:
            if name not in state:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format, requires_grad=False)
        return [state[name] for name in self.histories]

    def set_step(self, count: int) -> None:
        """Take `count` updates as done, for a rule that depends on their number."""

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the parameters once.

        Args:
            closure: computes the loss and its gradients anew; as with torch's optimizers.

        Returns:
            What the closure gave.

        Raises:
            RuntimeError: a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            clip = self._clip_factor()
            for group in self.param_groups:
                for parameter in group["params"]:
                    gradient = self._regularized(group, parameter, clip)
                    self._update(group, parameter, gradient, float(group["lr"]) * group["lr_mult"])
        return loss

    def _clip_factor(self) -> Tensor | None:
        """What the gradients are multiplied by; None for gradients that are not clipped."""
        if self.clip_gradients < 0:
            return None
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        squares = [parameter.grad.square().sum() for parameter in parameters if parameter.grad is not None]
        if not squares:
            return None
        norm = torch.stack([square.to(squares[0].device) for square in squares]).sum().sqrt()
        return torch.where(norm > self.clip_gradients, self.clip_gradients / norm, torch.ones_like(norm))

    def _regularized(self, group: Group, parameter: Tensor, clip: Tensor | None) -> Tensor:
        """The gradient as the rule gets it, in memory of its own."""
        found = parameter.grad
        if found is None:
            gradient = torch.zeros_like(parameter, requires_grad=False)
        elif found.is_sparse:
            raise RuntimeError(f"{type(self).__name__} takes no sparse gradients")
        else:
            gradient = found.clone()
            if clip is not None:
                gradient.mul_(clip.to(gradient.device))
            if self.iter_size != 1:
                gradient.mul_(1.0 / self.iter_size)
        decay = group["weight_decay"] * group["decay_mult"]
        if decay:
            gradient.add_(parameter if group["regularization"] == "L2" else parameter.sign(), alpha=decay)
        return gradient

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        raise NotImplementedError


class CaffeSGD(CaffeOptimizer):
    """Caffe's SGD: v := m·v + lr·g, w := w - v. The rate is inside the momentum, where torch has it outside.

    A drop of the rate therefore slows the net down over the next 1/(1-m) steps, not at once.

        optimizer = CaffeSGD(
            [{"params": weights}, {"params": biases, "lr_mult": 2, "decay_mult": 0}],
            lr=0.1, momentum=0.9, weight_decay=0.0005,
        )
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [32000, 48000])
        for images, labels in batches:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
            scheduler.step()
    """

    histories = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        """Settings as in solver.prototxt.

        Args:
            params: as for every torch optimizer; a group may bring `lr_mult`, `decay_mult` or any setting of its own.
            lr: the rate.
            momentum: m.
            weight_decay: factor of the penalty.
            regularization: L2 or L1.
            clip_gradients: the largest L2 norm over all gradients together; below 0 for none.
            iter_size: how many backward passes add up to one step.
        """
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "regularization": regularization}
        super().__init__(params, settings, clip_gradients=clip_gradients, iter_size=iter_size)

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        (velocity,) = self.history_of(parameter)
        velocity.mul_(group["momentum"]).add_(gradient, alpha=rate)
        parameter.sub_(velocity)


class CaffeNesterov(CaffeSGD):
    """Caffe's Nesterov: v' := m·v + lr·g, w := w - (1+m)·v' + m·v. Settings are those of `CaffeSGD`."""

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        (velocity,) = self.history_of(parameter)
        momentum = group["momentum"]
        step = velocity * -momentum
        velocity.mul_(momentum).add_(gradient, alpha=rate)
        parameter.sub_(step.add_(velocity, alpha=1 + momentum))


class CaffeAdaGrad(CaffeOptimizer):
    """Caffe's AdaGrad: h := h + g², w := w - lr·g / (√h + delta)."""

    histories = ("square_sum",)

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        *,
        delta: float = 1e-8,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        """Settings as in solver.prototxt: `delta` keeps the divisor from 0, the others are those of `CaffeSGD`."""
        settings = {"lr": lr, "delta": delta, "weight_decay": weight_decay, "regularization": regularization}
        super().__init__(params, settings, clip_gradients=clip_gradients, iter_size=iter_size)

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        (squares,) = self.history_of(parameter)
        squares.addcmul_(gradient, gradient)
        parameter.sub_(gradient.div_(squares.sqrt().add_(group["delta"])).mul_(rate))


class CaffeRMSProp(CaffeOptimizer):
    """Caffe's RMSProp: h := d·h + (1-d)·g², w := w - lr·g / (√h + delta)."""

    histories = ("square_avg",)

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        *,
        rms_decay: float = 0.99,
        delta: float = 1e-8,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        """Settings as in solver.prototxt: `rms_decay` is d, the others are those of `CaffeAdaGrad`."""
        settings: Group = {"lr": lr, "rms_decay": rms_decay, "delta": delta}
        settings |= {"weight_decay": weight_decay, "regularization": regularization}
        super().__init__(params, settings, clip_gradients=clip_gradients, iter_size=iter_size)

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        (squares,) = self.history_of(parameter)
        decay = group["rms_decay"]
        squares.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
        parameter.sub_(gradient.div_(squares.sqrt().add_(group["delta"])).mul_(rate))


class CaffeAdaDelta(CaffeOptimizer):
    """Caffe's AdaDelta: delta inside both roots; `momentum` is the decay of both averages; lr scales the step only."""

    histories = ("square_avg", "step_square_avg")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        *,
        momentum: float = 0.95,
        delta: float = 1e-8,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        """Settings as in solver.prototxt: `momentum` is m, the others are those of `CaffeAdaGrad`."""
        settings: Group = {"lr": lr, "momentum": momentum, "delta": delta}
        settings |= {"weight_decay": weight_decay, "regularization": regularization}
        super().__init__(params, settings, clip_gradients=clip_gradients, iter_size=iter_size)

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        squares, steps = self.history_of(parameter)
        momentum, delta = group["momentum"], group["delta"]
        squares.mul_(momentum).addcmul_(gradient, gradient, value=1 - momentum)
        gradient.mul_(((steps + delta) / (squares + delta)).sqrt_())
        steps.mul_(momentum).addcmul_(gradient, gradient, value=1 - momentum)
        parameter.sub_(gradient.mul_(rate))


class CaffeAdam(CaffeOptimizer):
    """Caffe's Adam: delta is added to √v as it is, where torch adds its epsilon to the corrected root.

    `state[parameter]["step"]` counts the updates; Caffe takes its iteration for it.
    """

    histories = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 0.001,
        *,
        momentum: float = 0.9,
        momentum2: float = 0.999,
        delta: float = 1e-8,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
        iter_size: int = 1,
    ) -> None:
        """Settings as in solver.prototxt: `momentum` is β1, `momentum2` β2, the others those of `CaffeAdaGrad`."""
        settings: Group = {"lr": lr, "momentum": momentum, "momentum2": momentum2, "delta": delta}
        settings |= {"weight_decay": weight_decay, "regularization": regularization}
        super().__init__(params, settings, clip_gradients=clip_gradients, iter_size=iter_size)

    def set_step(self, count: int) -> None:
        """Take `count` updates as done."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["step"] = count

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        average, squares = self.history_of(parameter)
        first, second = group["momentum"], group["momentum2"]
        state = self.state[parameter]
        count = state["step"] = state.get("step", 0) + 1
        average.mul_(first).add_(gradient, alpha=1 - first)
        squares.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        correction = sqrt(1 - second**count) / (1 - first**count)
        parameter.sub_(average.div(squares.sqrt().add_(group["delta"])).mul_(rate * correction))
