"""The digits of examples/, their net, and what the original Caffe gave for each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits"
NET, WEIGHTS = str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
MEAN = ["--mean", str(DIGITS / "mean.binaryproto")]
SYNSETS = ["--labels", str(DIGITS / "synset_words.txt")]
NAMES = [line.split()[0] for line in (DIGITS / "val.txt").read_text().splitlines()]
CAFFE = np.load(DIGITS / "caffe_scores.npy").reshape(len(NAMES), 10)
WORDS = "zero one two three four five six seven eight nine".split()

Found = Callable[..., dict[str, Any]]
Refused = Callable[..., str]


def digit(index: int) -> str:
    return str(DIGITS / "val" / NAMES[index])


def assert_caffes(made: dict[str, Any], indices: range | list[int], top: int = 5) -> None:
    """The classes of the original Caffe in its order, with its scores."""
    assert len(made["images"]) == len(indices)
    for seen, index in zip(made["images"], indices, strict=True):
        best = np.argsort(-CAFFE[index], kind="stable")[:top]
        assert [each["label"] for each in seen["classes"]] == best.tolist(), seen["image"]
        np.testing.assert_allclose([each["score"] for each in seen["classes"]], CAFFE[index][best], atol=1e-5)
