"""One learnable blob of a net: what Caffe calls it, and where a PyTorch module keeps it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Learnable:
    """A blob of Caffe's `Net::learnable_params`, which has them in the net's order, a shared one once.

    BatchNorm's three blobs are among them: no solver changes them, since their rate is 0, but each has its place in a
    solver state.

    Attributes:
        layer: Caffe's name of the layer that owns it.
        index: of the blob in the layer.
        shape: Caffe's.
        key: its name in `module.state_dict()`. The tensor there has the same values in the same order (C order), and
            perhaps another shape. It is a parameter or a buffer, and keeps its identity: whoever changes a buffer,
            does so in place.
        lr_mult: what the solver's rate is multiplied by; 0 freezes the blob.
        decay_mult: what the solver's weight decay is multiplied by.
    """

    layer: str
    index: int
    shape: tuple[int, ...]
    key: str
    lr_mult: float = 1.0
    decay_mult: float = 1.0
