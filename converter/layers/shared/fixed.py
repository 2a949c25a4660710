"""A blob whose numbers are known before the net runs."""

from __future__ import annotations

from dataclasses import field

import numpy as np

from converter.emission import Array, TorchOps
from converter.node import Layer, Node


class Fixed(Layer):
    """Numbers that hang on none that is fed; a module holds them in a buffer."""

    bottoms = (0, 0)
    values: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def torch(self, t: TorchOps, node: Node, *x: str) -> str:
        t.helper("Constant", CONSTANT)
        return f"{t.module('Constant', self.values.shape, state={'value': self.values})}()"


CONSTANT = '''
class Constant(nn.Module):
    """A fixed array."""

    def __init__(self, shape):
        super().__init__()
        self.register_buffer("value", torch.zeros(shape))

    def forward(self):
        return self.value
'''
