"""Boxes on an image: a frame of each class's own colour, and its name with the score on a bar of that colour.

OpenCV's fonts have ASCII alone: a class with another name is drawn with its number.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np

from resnet_convert.classifying.records import Box
from verify.evaluation.datasets.decoding import opencv
from verify.evaluation.records import Pixels

WRITTEN = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of the files that are written."""

SHORTER_SIDE = 640
"""Pixels of an image on which a frame is two pixels wide and letters about 13 high."""

_HUES = 20
_STEP = 7 / _HUES
"""Of a turn, from a class to the next: of twenty in a row, as many as VOC's, no two share a hue."""

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_DARK = 0.18
_WHITE = (255, 255, 255)

_LIMIT = 1 << 24
"""Pixels beyond an image at which its boxes end: OpenCV's integers are shorter than the numbers of a wild box."""


def drawn(pixels: Pixels, boxes: Sequence[Box]) -> Pixels:
    """A copy of an image H×W×3 (B, G, R) with boxes on it; the best lie on top."""
    cv2 = opencv()
    made: Any = np.array(pixels, order="C")
    scale = max(0.5, min(made.shape[:2]) / SHORTER_SIDE)
    for box in reversed(boxes):
        corners = [int(np.clip(round(side), -_LIMIT, _LIMIT)) for side in (box.left, box.top, box.right, box.bottom)]
        color, width = color_of(box.label), max(1, round(2 * scale))
        for line, thick in ((_WHITE, width + 2), (color, width)):  # else it is lost on its own colour
            cv2.rectangle(made, tuple(corners[:2]), tuple(corners[2:]), line, thick, cv2.LINE_AA)
        _write(cv2, made, caption(box), corners[:2], color, scale)
    return np.asarray(made, np.uint8)


def encoded(pixels: Pixels, ending: str) -> bytes:
    """The image as a file of an ending among `WRITTEN`."""
    done, data = opencv().imencode(ending, pixels)
    assert done
    made: bytes = data.tobytes()
    return made


def caption(box: Box) -> str:
    """`car 0.98`; `class 7 0.98` for a name that the font does not have, or none."""
    name = box.name if box.name and in_the_font(box.name) else f"class {box.label}"
    return f"{name} {box.score:.2f}"


def in_the_font(name: str) -> bool:
    """Whether all of a name can be drawn."""
    return name.isascii() and name.isprintable()


def color_of(label: int) -> tuple[int, int, int]:
    """B, G, R, so dark that white letters have a contrast of 4.5 on it (WCAG 2.1)."""
    rgb = np.array(colorsys.hsv_to_rgb((label * _STEP + label // _HUES / 2 / _HUES) % 1, 0.85, 0.85))
    luminance = float(rgb**2.2 @ _LUMINANCE)
    red, green, blue = (rgb * min(1.0, (_DARK / luminance) ** (1 / 2.2)) * 255).astype(int).tolist()
    return blue, green, red


def _write(cv2: Any, pixels: Any, text: str, corner: Sequence[int], color: tuple[int, int, int], scale: float) -> None:
    """A caption on the frame's upper edge, moved into the image where it would reach beyond it."""
    font, size, thick = cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, max(1, round(scale))
    (width, height), below = cv2.getTextSize(text, font, size, thick)
    pad = max(2, round(3 * scale))
    bar = (width + 2 * pad, height + below + 2 * pad)
    left = max(0, min(corner[0], pixels.shape[1] - bar[0]))
    top = max(0, min(corner[1] - bar[1], pixels.shape[0] - bar[1]))
    cv2.rectangle(pixels, (left, top), (left + bar[0], top + bar[1]), color, cv2.FILLED)
    cv2.putText(pixels, text, (left + pad, top + pad + height), font, size, _WHITE, thick, cv2.LINE_AA)
