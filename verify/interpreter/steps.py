"""What a run of the interpreter leaves behind: the tops of its layers, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prototxt.unread import Unread
from verify.keys import Key
from verify.layers.registry import Array, largest


@dataclass(frozen=True)
class Step:
    """One top of one layer, as that layer left it.

    For error bounds: let e_i be the absolute error of input i, relative to exact arithmetic. Then this top's error is
    about  sum of gains[i] * e_i  +  a rounding term that grows with fan_in (at most fan_in * 2**-24 of the sum of
    magnitudes of its terms for a float32 sum in any order).

    Attributes:
        layer, layer_type, top: what made it.
        value: float32.
        inputs: indices into `Trace.steps` of the tops that the layer read, in bottom order; an implicit split or an
            in-place layer needs no special care. Empty for what is fed.
        fan_in: number of terms summed into each value; 1 for an elementwise layer, 0 where `own` tells all of it.
        gains: one per input. Where terms are summed it is the root of the sum of squared factors (largest over
            outputs): independent errors add that way. Elsewhere it is the largest slope, at the values seen, so
            BatchNorm's is the largest 1/std and Scale's the largest |factor|. 0: the input's values do not matter
            (only its shape). inf: the top jumps (an index, a count, a comparison), no bound holds near a tie.
        own: rounding that `fan_in` and `gains` do not tell, as an absolute error; inf where the layer makes a choice
            that rounding within the layer may turn.
        again: not a top of the layer, which worked in place on another blob in the same memory, or wrote over a bottom
            before it read that; made where a layer reads it, or nothing does and it is an output of the net.
    """

    layer: str
    layer_type: str
    top: str
    value: Array
    inputs: tuple[int, ...]
    fan_in: int
    gains: tuple[float, ...]
    own: float = 0.0
    again: bool = False

    @property
    def key(self) -> Key:
        """Layer and top name."""
        return self.layer, self.top


@dataclass(frozen=True)
class Trace:
    """Every top of a run, in net order.

    `unread` is what the net states and no layer here read, where no number hangs on it.

    The mappings are keyed by (layer, top); should a net have two layers of one name with a top of one name, they hold
    the later one, as the answers of a model do, and `steps` has both.
    """

    steps: tuple[Step, ...]
    unread: tuple[Unread, ...] = ()

    @cached_property
    def tops(self) -> dict[Key, Array]:
        """Each top as its layer left it."""
        return {step.key: step.value for step in self.steps}

    @cached_property
    def last(self) -> dict[str, Step]:
        """The step that each blob is given as by name, in the order in which the names first appear.

        It is the last layer's that has the blob for a top, so that a net that is cut there gives the same; of a blob
        that no layer reads, Caffe's output, it is what its memory holds in the end.
        """
        read = self._read
        return {step.top: step for index, step in enumerate(self.steps) if not (step.again and index in read)}

    @cached_property
    def blobs(self) -> dict[str, Array]:
        """The final value of each blob by name; see `last`."""
        return {name: step.value for name, step in self.last.items()}

    @cached_property
    def fan_in(self) -> dict[Key, int]:
        """Terms summed into each value."""
        return {step.key: step.fan_in for step in self.steps}

    @cached_property
    def inputs(self) -> dict[Key, tuple[Key, ...]]:
        """The tops that each top's layer read."""
        return {step.key: tuple(self.steps[i].key for i in step.inputs) for step in self.steps}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the blobs whose final value no layer read, in net order."""
        read = {id(self.steps[index]) for index in self._read}
        return tuple(name for name, step in self.last.items() if id(step) not in read)

    @cached_property
    def _read(self) -> frozenset[int]:
        return frozenset(index for step in self.steps for index in step.inputs)

    def amplification(self, step: Step) -> tuple[float, ...]:
        """For each input of `step`: by how much an error, as a share of the largest value, can grow in it.

            gain * max|input| / max|value|

        For BatchNorm + Scale together that is |factor| / std * max|x| / max|y|, the larger the more mean is taken off.
        inf where the top is all zero or jumps.
        """
        peak = largest(step.value)
        shares = []
        for gain, index in zip(step.gains, step.inputs, strict=True):
            size = gain * largest(self.steps[index].value) if gain else 0.0
            shares.append(size / peak if peak else (np.inf if size else 0.0))
        return tuple(shares)
