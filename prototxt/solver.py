"""Reading solver files."""

from __future__ import annotations

from pathlib import Path

from prototxt.caffe_pb2 import SolverParameter
from prototxt.parse import parse, read_text


def load_solver(path: str | Path, *, allow_unknown: bool = False) -> SolverParameter:
    """A solver.prototxt as a message, as written; `upgrade_solver` brings it to today's form.

    Raises:
        PrototxtError: not a solver, or faults in it, all of them at once.
    """
    message, _, _ = parse(read_text(path), SolverParameter, str(path), allow_unknown=allow_unknown)
    return message
