"""The best path of CTC (ctc_decoder_layer.cpp of ChWick's fork, of Intel's and of caffe_ocr)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.layers.registry import UNBOUNDED, Array, Call, Sensitivity, marks, narrow, register, wide


def _decoder_error(call: Call, tops: Sequence[Array]) -> list[Sensitivity]:
    """Classes jump; a score is a sum over the steps."""
    steps = call.x.shape[0]
    rules = [
        Sensitivity(1, (UNBOUNDED,) * len(call.bottoms)),
        Sensitivity(steps, (float(steps), UNBOUNDED)[: len(call.bottoms)]),
    ]
    return rules[: len(tops)]


@register("CTCGreedyDecoder", bottoms=(1, 2), error=_decoder_error, feeds={1: marks})
def ctc_greedy_decoder(call: Call) -> list[Array]:
    """The best class of each step but blanks and repetitions, then -1; minus the sum of the best scores."""
    call.require(call.x.ndim == 3, f"needs a bottom of time × streams × classes, it has {call.x.ndim} axes")
    steps, streams, classes = call.x.shape
    p, ocr = call.param.ctc_decoder_param, call.layer.dialect == "caffe_ocr"
    call.require(len(call.bottoms) == (1 if ocr else 2), f"has {len(call.bottoms)} bottoms, expected {1 if ocr else 2}")
    blank = 0 if ocr and not p.HasField("blank_index") else p.blank_index
    blank = classes - 1 if blank < 0 else blank
    merges = p.ctc_merge_repeated
    runs = np.ones((steps, streams)) if ocr else call.bottoms[1].reshape(steps, streams)
    best = np.argmax(call.x, axis=2)
    sequences: Array = np.full((streams, steps), -1, np.float32)
    scores = np.zeros((streams, 1, 1, 1))
    for n in range(streams):
        ends = np.flatnonzero(runs[1:, n] == 0)
        length = int(ends[0]) + 1 if ends.size else steps
        kept, before = [], -1
        for label in best[:length, n]:
            if label != blank and not (merges and label == before):
                kept.append(label)
            before = label
        sequences[n, : len(kept)] = kept
        scores[n] = -wide(np.max(call.x[:length, n], axis=1)).sum()
    sequences = sequences.T if call.layer.dialect == "chwick" else sequences
    tops = [np.ascontiguousarray(sequences)[:, :, None, None], narrow(scores)]
    return tops[: len(call.layer.tops)]
