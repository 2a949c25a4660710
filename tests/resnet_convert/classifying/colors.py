"""A detector that a person can follow: an SSD of four prior boxes, an image's quarters, that sees blue and red.

Each quarter's mean colour is three numbers; class 1 scores by blue and class 2 by red, against a background of 0.
Nothing moves the boxes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from weights import LayerWeights, blob_from_array, write_caffemodel

SIDE = 8
NET = """
name: "colors"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: BATCH dim: 3 dim: 8 dim: 8 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean" pooling_param { pool: AVE kernel_size: 4 stride: 4 } }
layer { name: "loc" type: "Convolution" bottom: "mean" top: "loc" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "mean" top: "conf" convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "prob" type: "Softmax" bottom: "conf_rows" top: "prob" softmax_param { axis: 2 } }
layer { name: "prob_flat" type: "Flatten" bottom: "prob" top: "prob_flat" }
layer { name: "priors" type: "PriorBox" bottom: "mean" bottom: "data" top: "priors"
  prior_box_param { min_size: 4 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 4 offset: 0.5 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "prob_flat" bottom: "priors" top: "found"
  detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE
    nms_param { nms_threshold: 0.45 top_k: 10 } keep_top_k: 10 confidence_threshold: 0.01 } }
"""
STRENGTH = 0.04
"""Of a colour's value above 127 in its score."""


def write_detector(folder: Path, batch: int = 1, *, sign: int = 1) -> list[str]:
    """The paths of the net and of its weights; with a sign of -1 it sees what is not blue and what is not red."""
    net, weights = folder / "colors.prototxt", folder / "colors.caffemodel"
    net.write_text(NET.replace("BATCH", str(batch)))
    conf = np.zeros((3, 3, 1, 1), np.float32)
    conf[1, 0] = conf[2, 2] = sign * STRENGTH
    bias = np.array([0, -127, -127], np.float32) * np.float32(sign * STRENGTH)
    arrays = {"loc": (np.zeros((4, 3, 1, 1), np.float32), np.zeros(4, np.float32)), "conf": (conf, bias)}
    layers = [LayerWeights(name, "Convolution", tuple(map(blob_from_array, blobs))) for name, blobs in arrays.items()]
    write_caffemodel(weights, "colors", layers)
    return [str(net), str(weights)]


def quarters(height: int, width: int, blue: str = "", red: str = "") -> npt.NDArray[np.uint8]:
    """A dark image, H×W×3, whose quarters (`nw`, `ne`, `sw`, `se`) are blue or red; height and width are even."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    for channel, names in ((0, blue), (2, red)):
        for name in names.split():
            rows = slice(0, height // 2) if name[0] == "n" else slice(height // 2, height)
            columns = slice(0, width // 2) if name[1] == "w" else slice(width // 2, width)
            pixels[rows, columns, channel] = 255
    return pixels


def score_of(blue: int, red: int, *, of: int) -> float:
    """What the net gives a quarter of that colour, worked out here: softmax over background, blue and red."""
    terms = np.exp([0.0, STRENGTH * (blue - 127), STRENGTH * (red - 127)])
    return float(terms[of] / terms.sum())
