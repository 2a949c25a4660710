"""What only the training of YOLO nets computes: losses and measures against the truth, which no deployed net gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converter.layers.base import UNLIMITED, register, unsupported
from converter.node import Layer
from prototxt import NetLayer

if TYPE_CHECKING:
    from typing_extensions import Self


@register
class YoloTraining(Layer):
    """A loss or measure of YOLO's training, left out of every model; asked for, it is refused.

    `Yolov3` and `YoloSeg` of MobileNet-YOLO are losses, though the names are silent (yolov3_layer.cpp, yolo_seg.cpp);
    `EvalDetection` counts what Intel's fork and caffe-yolo find (eval_detection_layer.cpp).
    """

    types = ("EvalDetection", "RegionLoss", "YoloSeg", "YoloV2Loss", "YoloV3Loss", "Yolov3")
    bottoms = (0, UNLIMITED)
    tops = (0, UNLIMITED)
    role = "loss"

    @classmethod
    def read(cls, source: NetLayer) -> Self:
        raise unsupported(source, "a loss or measure that only training computes; no model can give it", "type")
