"""Images resized by a matrix for the rows and one for the columns, for rules that no operator of the targets has.

y[n, c] = R x[n, c] Kᵀ
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from converter.emission import OnnxOps, TorchOps

Matrix = npt.NDArray[np.float32]


def picks(matrix: Matrix) -> list[int] | None:
    """Of a matrix each row of which takes one value as it is, which; None of another."""
    chosen = matrix.argmax(axis=1)
    plain = np.zeros_like(matrix)
    plain[np.arange(len(matrix)), chosen] = 1
    return [int(i) for i in chosen] if np.array_equal(plain, matrix) else None


def _steps(rows: Matrix, columns: Matrix) -> list[tuple[int, Matrix, list[int] | None]]:
    """Axis, matrix and what it picks, of the axes that change."""
    both = ((-2, rows, picks(rows)), (-1, columns, picks(columns)))
    return [step for step in both if step[2] is None or step[2] != list(range(step[1].shape[1]))]


def onnx_separable(g: OnnxOps, x: str, rows: Matrix, columns: Matrix) -> str:
    """N×C×H×W after both matrices; N and C may be left free."""
    for axis, matrix, chosen in _steps(rows, columns):
        if chosen is not None:
            x = g.op("Gather", x, g.ints(chosen, "pixels"), axis=axis + 4)
        elif axis == -2:
            x = g.op("MatMul", g.constant(matrix, "rows"), x)
        else:
            x = g.op("MatMul", x, g.constant(np.ascontiguousarray(matrix.T), "columns"))
    return x


def torch_separable(t: TorchOps, x: str, rows: Matrix, columns: Matrix) -> str:
    """The same, by a module that holds the matrices, or the numbers of the pixels that are picked."""
    steps = _steps(rows, columns)
    if not steps:
        return x
    t.helper("AlongAxis", ALONG_AXIS)
    for axis, matrix, chosen in steps:
        held: npt.NDArray[Any] = matrix if chosen is None else np.asarray(chosen, np.float32)
        x = f"{t.module('AlongAxis', axis, held.shape, state={'matrix': held})}({x})"
    return x


ALONG_AXIS = '''
class AlongAxis(nn.Module):
    """The last axis, or the one before, times a fixed matrix; of a vector, the values that it numbers are taken."""

    def __init__(self, axis, shape):
        super().__init__()
        self.axis = axis
        self.register_buffer("matrix", torch.zeros(shape))

    def forward(self, x):
        if self.matrix.dim() == 1:
            return x.index_select(self.axis, self.matrix.long())
        return self.matrix @ x if self.axis == -2 else x @ self.matrix.T
'''
