"""Sequences of labels read from the scores of each time step (CTC, the best path)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from converter.graph import Shape, format_shape, is_free
from converter.layers.base import BottomsDifferError, OnnxOps, TorchOps, fault, register, require, unsupported
from converter.layers.shared.sizes import FLOAT, INT64, filled, int_size
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from converter.node import Node


@register
class CTCGreedyDecoder(Layer):
    """The best class of each step, without repetitions and blanks (forks: ctc_decoder_layer.cpp).

    Of time × streams × classes. A sequence goes on while the second bottom's marks aren't 0 behind its first step; in
    caffe_ocr, which reads no marks, to the end. The top is filled up with -1: streams × time × 1 × 1, in ChWick's fork,
    from which the others are, time × streams × 1 × 1. A second top has minus the sum of the best scores.

    The blank is class 0 in caffe_ocr, elsewhere the last one, unless `blank_index` says which.
    """

    types = ("CTCGreedyDecoder",)
    bottoms = (1, 3)
    tops = (1, 3)
    blank_index: int = -1
    ctc_merge_repeated: bool = True
    time_first: bool = False

    @classmethod
    def read(cls, source: NetLayer) -> CTCGreedyDecoder:
        p, dialect = source.param.ctc_decoder_param, source.dialect
        wanted = 1 if dialect == "caffe_ocr" else 2
        if len(source.bottoms) > wanted or len(source.tops) > wanted:
            message = f"{len(source.bottoms)} bottoms and {len(source.tops)} tops, with labels to be measured against"
            raise unsupported(source, f"{message}; expected {'scores' if wanted == 1 else 'scores and marks'} only")
        if len(source.bottoms) < wanted:
            raise fault(source, f"{len(source.bottoms)} bottom; expected scores and marks")
        blank = p.blank_index if p.HasField("blank_index") or dialect != "caffe_ocr" else 0
        return cls(blank, p.ctc_merge_repeated, dialect == "chwick")

    def infer(self, inputs: Sequence[Shape]) -> list[Shape]:
        x = inputs[0]
        require(len(x) == 3, f"the first bottom is {format_shape(x)}; expected time × streams × classes")
        require(not is_free(x[2]), "the number of classes can't be left free")
        require(self.blank_index < x[2], f"blank_index is {self.blank_index} of {x[2]} classes")
        if len(inputs) == 2 and tuple(map(int, inputs[1][:2])) != tuple(map(int, x[:2])):
            raise BottomsDifferError("marks and scores differ in time × streams")
        if len(inputs) == 2:
            flat = all(int(d) == 1 for d in inputs[1][2:])
            require(flat, f"the second bottom is {format_shape(inputs[1])}; expected time × streams")
        sequence = (x[0], x[1], 1, 1) if self.time_first else (x[1], x[0], 1, 1)
        return [sequence, (x[1], 1, 1, 1)]

    def _blank(self, node: Node) -> int:
        return self.blank_index if self.blank_index >= 0 else int(node.shape[2]) - 1

    def onnx(self, g: OnnxOps, node: Node, *x: str) -> list[str]:
        best = g.op("ArgMax", x[0], axis=2, keepdims=0)
        counted = self._onnx_within(g, node, x[1]) if len(x) == 2 else ""
        emitted = g.op("Not", g.op("Equal", best, g.constant(np.asarray(self._blank(node), np.int64), "blank")))
        if self.ctc_merge_repeated:
            streams = self._row(g, node, x[0], -1)
            before = g.op("Concat", streams, g.slice(best, 0, 0, -1), axis=0)
            emitted = g.op("And", emitted, g.op("Not", g.op("Equal", best, before)))
        emitted = g.op("And", emitted, counted) if counted else emitted
        tops = [self._onnx_sequence(g, node, x[0], best, emitted)]
        if len(node.outputs) == 2:
            score = g.reduce("ReduceMax", x[0], [2], keepdims=False)
            score = g.op("Mul", score, g.op("Cast", counted, to=FLOAT)) if counted else score
            tops.append(g.unsqueeze(g.op("Neg", g.reduce("ReduceSum", score, [0], keepdims=False)), [1, 2, 3]))
        return tops

    def _row(self, g: OnnxOps, node: Node, x: str, value: int) -> str:
        """One value for each stream, as a row of whole numbers."""
        cell = g.constant(np.asarray([[value]], np.int64), "cell")
        if not is_free(node.shape[1]):
            return g.constant(np.full((1, int(node.shape[1])), value, np.int64), "row")
        size = g.unsqueeze(int_size(g, x, node.shape, 1), [0])
        return g.op("Expand", cell, g.op("Concat", g.ints([1], "one"), size, axis=0))

    def _onnx_within(self, g: OnnxOps, node: Node, marks: str) -> str:
        """Whether a step belongs to its sequence: no mark of 0 lies between the first step and it."""
        shape = node.inputs[1].shape
        flat = g.op("Squeeze", marks, g.ints(range(2, len(shape)))) if len(shape) > 2 else marks
        ends = g.op("Cast", g.op("Equal", flat, g.scalar(0.0, "zero")), to=INT64)
        ends = g.op("Concat", self._row(g, node, flat, 0), g.slice(ends, 0, 1, 2**63 - 1), axis=0)
        past = g.op("CumSum", ends, g.constant(np.asarray(0, np.int64), "axis"))
        return g.op("Equal", past, g.constant(np.asarray(0, np.int64), "none"))

    def _onnx_sequence(self, g: OnnxOps, node: Node, x: str, best: str, emitted: str) -> str:
        """Emitted classes moved to the front; those left out go to a last row, which is cut off."""
        rank = g.op("CumSum", g.op("Cast", emitted, to=INT64), g.constant(np.asarray(0, np.int64), "axis"))
        place = g.op("Sub", rank, g.constant(np.asarray(1, np.int64), "one"))
        steps = int_size(g, x, node.shape, 0)
        place = g.op("Where", emitted, place, steps)
        known = None if any(map(is_free, node.shape[:2])) else [int(size) for size in node.shape[:2]]
        empty = filled(g, g.constant(np.asarray(-1, np.int64), "empty"), best, known)
        room = g.op("Concat", empty, self._row(g, node, x, -1), axis=0)
        found = g.slice(g.op("ScatterElements", room, place, best, axis=0), 0, 0, -1)
        found = found if self.time_first else g.op("Transpose", found, perm=(1, 0))
        return g.unsqueeze(g.op("Cast", found, to=FLOAT), [2, 3])

    def torch(self, t: TorchOps, node: Node, *x: str) -> list[str]:
        t.helper("best_path", BEST_PATH)
        marks = x[1] if len(x) == 2 else "None"
        options = "" if self.ctc_merge_repeated else ", merges=False"
        both = t.let("decoded", f"best_path({x[0]}, {marks}, {self._blank(node)}{options})")
        sequence = f"{both}[0].t()" if self.time_first else f"{both}[0]"
        return [f"{sequence}.unflatten(1, (-1, 1, 1))", f"{both}[1].reshape(-1, 1, 1, 1)"][: len(node.outputs)]


BEST_PATH = '''
def best_path(scores, marks, blank, merges=True):
    """The best classes of time × streams × classes without blanks and repetitions, and minus their scores' sum.

    A sequence ends where `marks`, time × streams, are 0 behind its first step. Streams × time, filled up with -1.
    """
    largest = scores.amax(2)
    best = scores.argmax(2)
    within = torch.ones_like(best, dtype=torch.bool)
    if marks is not None:
        within[1:] = (marks.flatten(1)[1:] == 0).cumsum(0) == 0
    emitted = within & (best != blank)
    if merges:
        emitted[1:] &= best[1:] != best[:-1]
    place = torch.where(emitted, emitted.cumsum(0) - 1, scores.shape[0])
    room = best.new_full((scores.shape[0] + 1, scores.shape[1]), -1)
    sequence = room.scatter(0, place, best)[:-1].t()
    return sequence.to(scores.dtype), -(largest * within).sum(0)
'''
