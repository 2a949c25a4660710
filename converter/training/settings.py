"""A solver.prototxt, and where in it each field stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from os import PathLike
from pathlib import Path

from prototxt import Position, upgrade_solver
from prototxt.caffe_pb2 import SolverParameter
from prototxt.errors import CaffeModelError, RequestError, UnsupportedError, raise_all
from prototxt.parse import parse, read_text
from prototxt.scan import Field, Lines

_FINITE = (
    *("base_lr", "gamma", "power", "momentum", "momentum2", "rms_decay", "weight_decay", "delta", "clip_gradients"),
    *("warmup_start_lr", "rampup_lr", "min_lr"),
)
_NOT_DONE = {
    "momentum_policy": ("fixed", "a momentum that changes (NVIDIA's fork)"),
    "local_lr_auto": (False, "a rate for each layer by the norm of its weights (LARS; the forks differ)"),
    "disabled_update": (False, "a solver that computes and never updates (Intel's fork)"),
    "solver_data_type": (SolverParameter().solver_data_type, "training in half or double precision (NVIDIA's fork)"),
    "force_iter": (0, "forced sparsity (one project's fork)"),
}


@dataclass(frozen=True)
class Settings:
    """A solver in today's form.

    Attributes:
        param: its message; the old `solver_type` has become `type`.
        path: the file.
        notes: what was upgraded, in words.
    """

    param: SolverParameter
    path: str
    notes: tuple[str, ...] = ()
    _root: Field = field(default_factory=lambda: Field("", 0), repr=False, compare=False)
    _lines: Lines | None = field(default=None, repr=False, compare=False)

    def where(self, name: str) -> Position:
        """The place of a field; of one that is not written, the file."""
        written = self._root.find(name)
        return self._lines.position(written[0].offset) if written and self._lines else Position(self.path)

    @property
    def snapshot_prefix(self) -> str:
        """What the names of snapshots begin with: the solver's own name where it states none, or only a folder."""
        prefix = str(self.param.snapshot_prefix)
        if not prefix:
            return str(Path(self.path).with_suffix(""))
        return str(Path(prefix) / Path(self.path).stem) if Path(prefix).is_dir() else prefix


def load_settings(path: str | PathLike[str], *, allow_unknown: bool = False) -> Settings:
    """Read a solver.prototxt, old ones too.

    Args:
        path: the file.
        allow_unknown: leave out fields that the schema lacks, with a warning.

    Raises:
        PrototxtError: not a solver, or faults in the text.
        RequestError: a value that no solver can work with.
        UnsupportedError: a fork's field that asks for what is not done here.
        ErrorGroup: several of these.
    """
    name = str(path)
    param, root, lines = parse(read_text(name), SolverParameter, name, allow_unknown=allow_unknown)
    old = root.find("solver_type")
    notes = upgrade_solver(param, lines.position(old[0].offset) if old else None)
    settings = Settings(param, name, notes, root, lines)
    raise_all(_faults(settings))
    return settings


def _faults(settings: Settings) -> list[CaffeModelError]:
    param = settings.param
    faults: list[CaffeModelError] = []
    for name in _FINITE:
        value = getattr(param, name)
        if not isfinite(value):
            faults.append(RequestError(f"{name} is {value}; expected a number", position=settings.where(name)))
    for name, (usual, what) in _NOT_DONE.items():
        if getattr(param, name) != usual:
            faults.append(UnsupportedError(f"{name} asks for {what}, which is not done", position=settings.where(name)))
    if param.iter_size < 1:
        faults.append(
            RequestError(f"iter_size is {param.iter_size}; expected 1 or more", position=settings.where("iter_size"))
        )
    if param.average_loss < 1:
        faults.append(
            RequestError(
                f"average_loss is {param.average_loss}; expected 1 or more", position=settings.where("average_loss")
            )
        )
    if param.weight_decay and param.regularization_type not in ("L1", "L2"):
        what = f"regularization_type is {param.regularization_type!r}; expected L1 or L2"
        faults.append(RequestError(what, position=settings.where("regularization_type")))
    return faults
