"""Every layer case of the original Caffe, converted, against its answers."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from converter.layers.base import registry
from prototxt import load_net
from tests.golden import GoldenCase, assert_parity, golden_cases
from verify import known_types

CASES = golden_cases()
KINDS = set(registry()) & set(known_types())
"""What is computed; the rest only has a name, such as the losses of YOLO's forks, which no converted net holds."""


def _is_supported(case: GoldenCase) -> bool:
    return {layer.kind for layer in load_net(case.net).layers} <= set(registry())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_conversion_gives_caffes_numbers_however_it_folds(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, folds=("none", "bn", "conv"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_newer_opsets_give_caffes_numbers(case: GoldenCase, tmp_path: Path) -> None:
    assert_parity(case, tmp_path, 17, onnx.defs.onnx_opset_version())


def test_every_layer_kind_has_a_golden_case() -> None:
    kinds = {layer.kind for case in CASES for layer in load_net(case.net).layers}
    assert sorted(KINDS - kinds) == []


def test_every_layer_kind_has_a_case_in_which_no_two_axes_are_alike() -> None:
    unlike: set[str] = set()
    for case in CASES:
        sizes = {name: array.shape for name, array in (case.expected() | case.feeds()).items()}
        for layer in load_net(case.net).layers:
            shapes = [sizes.get(name, (1, 1)) for name in (*layer.bottoms, *layer.tops)]
            if any(len(set(shape)) == len(shape) for shape in shapes):
                unlike.add(layer.kind)
    # What these read or bring in is square.
    assert sorted(KINDS - unlike - {"Data", "WindowData", "YoloDetectionOutput", "Yolov3DetectionOutput"}) == []


def test_there_are_golden_cases() -> None:
    assert len(CASES) > 90
    assert all(map(_is_supported, CASES))
