"""Caffe2's names of a ResNet's parameters, and what Detectron2 calls them."""

from __future__ import annotations

import re

from weights.layouts.family import Role, Unit


def unit_names(depth: int, unit: Unit) -> dict[Role, str]:
    """The names of one unit: its weights, and the affine scale and shift."""
    if unit.stage == 1:
        return {"weight": "conv1_w", "scale": "res_conv1_bn_s", "shift": "res_conv1_bn_b"}
    name = f"res{unit.stage}_{unit.block}_branch{unit.branch}"
    return {"weight": f"{name}_w", "scale": f"{name}_bn_s", "shift": f"{name}_bn_b"}


def model_names(name: str) -> str:
    """What Detectron2's ResNet calls the parameter that a file calls `name`; `fc1000_w` is its `linear.weight`."""
    parts = re.fullmatch(r"(?:res_)?(conv1)(_bn)?_([wsb])|res([2-5])_(\d+)_branch(1|2[abc])(_bn)?_([wsb])", name)
    if parts is None:
        kind = "weight" if name.endswith("_w") else "bias"
        return f"linear.{kind}"
    stem, stem_norm, stem_kind, stage, block, branch, norm, kind = parts.groups()
    convs = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
    module = "stem.conv1" if stem else f"res{stage}.{block}.{convs[branch]}"
    tail = "bias" if (stem_kind or kind) == "b" else "weight"
    return f"{module}.norm.{tail}" if stem_norm or norm else f"{module}.{tail}"
