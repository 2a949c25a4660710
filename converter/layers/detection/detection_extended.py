"""Detections of SSD's kind that say where in the features each comes from (OpenVINO's training toolbox for Caffe)."""

from __future__ import annotations

import re

from converter.layers.base import fault, register, shortest
from converter.layers.detection.detection_bottoms import OfPlaces
from converter.layers.detection.detection_output import SECTION, DetectionOutput, overlap_limits
from converter.layers.detection.suppression import LOWEST
from prototxt import NetLayer


@register
class DetectionOutputExtended(DetectionOutput):
    """SSD's detections, 1×1×found×10: anchor, column and row behind the corners (detection_output_extended_layer.cpp).

    Of two classes that share their offsets, which are N×H×W×(4 · anchors); the first is never given, whatever
    `background_label_id` says. The prior boxes go by row, column and anchor. All else is as in DetectionOutput.
    """

    types = ("DetectionOutputExtended",)
    bottoms = (3, 3)

    @classmethod
    def read(cls, source: NetLayer) -> DetectionOutputExtended:
        p = source.param.detection_output_param
        if p.num_classes != 2:
            raise fault(source, f"num_classes is {p.num_classes}; expected 2", SECTION, "num_classes")
        if not p.share_location:
            raise fault(
                source, "share_location is false, for which the fork finds no scores", SECTION, "share_location"
            )
        top_k = p.nms_param.top_k if p.nms_param.HasField("top_k") else -1
        return cls(
            (1,),
            OfPlaces(2),
            p.code_type,
            p.variance_encoded_in_target,
            shortest(p.confidence_threshold) if p.HasField("confidence_threshold") else LOWEST,
            overlap_limits(source, p),
            top_k if top_k >= 0 else None,
            p.keep_top_k if p.keep_top_k >= 0 else None,
            re.sub(r"\W", "_", f"detections_of_{source.name}"),
        )
