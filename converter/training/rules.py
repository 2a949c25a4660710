"""From a solver.prototxt to the optimizer that it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from converter.training.learnable import Learnable
from converter.training.optimizers import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeOptimizer,
    CaffeRMSProp,
    CaffeSGD,
)
from converter.training.settings import Settings
from prototxt.errors import RequestError, UnsupportedError

# Caffe's type -> the optimizer, and the solver's fields that its rule reads.
RULES: dict[str, tuple[Callable[..., CaffeOptimizer], tuple[str, ...]]] = {
    "SGD": (CaffeSGD, ("momentum",)),
    "Nesterov": (CaffeNesterov, ("momentum",)),
    "AdaGrad": (CaffeAdaGrad, ("delta",)),
    "RMSProp": (CaffeRMSProp, ("rms_decay", "delta")),
    "AdaDelta": (CaffeAdaDelta, ("momentum", "delta")),
    "Adam": (CaffeAdam, ("momentum", "momentum2", "delta")),
}


def make_optimizer(settings: Settings, learnables: Sequence[Learnable], tensors: Sequence[Tensor]) -> CaffeOptimizer:
    """The optimizer that a solver file describes: one group for each pair of `lr_mult` and `decay_mult`.

    Args:
        settings: the solver.
        learnables: all of the net's, in its order.
        tensors: theirs.

    Raises:
        UnsupportedError: a `type` that is none of Caffe's six.
        RequestError: settings that Caffe refuses for the type.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for one, tensor in zip(learnables, tensors, strict=True):
        groups.setdefault((one.lr_mult, one.decay_mult), []).append(tensor)
    param, kind = settings.param, settings.param.type
    if kind not in RULES:
        raise UnsupportedError(f"type {kind!r}; expected {', '.join(RULES)}", position=settings.where("type"))
    if kind in ("AdaGrad", "RMSProp") and param.momentum:
        raise RequestError(f"{kind} has no momentum, as in Caffe; remove it", position=settings.where("momentum"))
    if kind == "RMSProp" and not 0 <= param.rms_decay < 1:
        what = f"rms_decay is {param.rms_decay:g}; expected 0 or more and below 1"
        raise RequestError(what, position=settings.where("rms_decay"))
    made, names = RULES[kind]
    return made(
        [{"params": held, "lr_mult": lr, "decay_mult": decay} for (lr, decay), held in groups.items()],
        **{name: getattr(param, name) for name in names},
        weight_decay=param.weight_decay,
        regularization=param.regularization_type if param.weight_decay else "L2",
        clip_gradients=param.clip_gradients,
        iter_size=param.iter_size,
    )
