"""Images as Caffe saw them: what OpenCV's `imread` makes of a file, and what was special about the file.

Caffe reads with `cv::imread` in colour or in grey (`ReadImageToCVMat` in io.cpp) and skips what that cannot read. So 16
bits are cut to 8, an alpha channel is dropped, CMYK is turned to BGR by OpenCV's own rule, and grey comes from OpenCV's
decoder. Two things need care:

EXIF orientation    OpenCV 2.4, of Caffe's time, ignored it; 3.1 and later turn the image
JPEG cut short      `imread` fills what is missing with grey, `imdecode` gives nothing. Caffe reads files: grey it is.
                    libjpeg makes up end markers when a file is over, and so does `decode`

The headers of JPEG and PNG are read here, because decoding again to learn what a file was would double the work; other
formats are rare, and are decoded again.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

import numpy as np

from prototxt.optional import need
from verify.evaluation.records import Decoded, ImageFault

LARGEST_FILE: Final = 1 << 29
"""Bytes; no file larger than that is taken for one image."""

LARGEST_IMAGE: Final = 1 << 27
"""Pixels; a few hundred bytes may unpack to more. OPENCV_IO_MAX_IMAGE_PIXELS says otherwise."""

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TIFF: Final = (b"II*\0", b"MM\0*")
_EXIF: Final = b"Exif\0\0"
_END_MARKERS: Final = b"\xff\xd9" * 256  # each scan of a progressive file wants some of its own
_ORIENTATION: Final = 0x0112
_PLAIN_JPEG: Final = re.compile(
    rb"\xff\xd8\xff\xe0\0\x10JFIF\0.{9}"  # JFIF header
    rb"(?:\xff\xdb\0\x43.{65}|\xff\xdb\0\x84.{130})*"  # quantisation tables
    rb"\xff[\xc0-\xc2]\0\x11\x08.{4}\x03.{9}"  # frame header with three components
    rb"\xff[\xc4\xda]",  # then nothing but Huffman tables and data
    re.DOTALL,
)
_BARE_MARKERS: Final = frozenset((0x01, *range(0xD0, 0xD9)))
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode(data: bytes, *, color: bool, ignore_orientation: bool = False) -> Decoded:
    """The pixels of an image file: H×W×3 in BGR, or H×W grey.

    `kinds` names what was special: `greyscale` (where colour was asked for), `CMYK`, `16-bit`, `alpha` (dropped),
    `rotated` (an EXIF orientation that was applied), `cut short`.

    Args:
        data: the whole file.
        color: three channels, as `IMREAD_COLOR`; else one, as `IMREAD_GRAYSCALE`.
        ignore_orientation: leave the image as it is stored, as OpenCV 2.4 did. A TIFF is turned all the same.

    Raises:
        ImageFault: OpenCV cannot decode it, or it has more pixels than OpenCV takes.
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = opencv()
    flags = (1 if color else 0) | (128 if ignore_orientation else 0)  # IMREAD_COLOR, IMREAD_IGNORE_ORIENTATION
    pixels = _imdecode(cv2, data, flags)
    if data.startswith(_JPEG):
        if pixels is not None and _PLAIN_JPEG.match(data):
            return Decoded(pixels)
        kinds = _jpeg_kinds(data, color, ignore_orientation)
        if pixels is None:
            pixels = _imdecode(cv2, data + _END_MARKERS, flags)
            kinds.append("cut short")
    elif pixels is None:
        kinds = []
    elif data.startswith(_PNG):
        kinds = _png_kinds(data, color, ignore_orientation)
    else:
        kinds = _other_kinds(cv2, data, pixels, flags)
    if pixels is None:
        raise ImageFault(_complaint(data))
    return Decoded(pixels, tuple(kinds))


@lru_cache(maxsize=1)
def opencv() -> ModuleType:
    """The `cv2` module; its log is silenced, because a data set has damaged images and they are counted instead.

    A level that the user has set in OPENCV_LOG_LEVEL stays.

    Raises:
        MissingDependencyError: it is not installed.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(LARGEST_IMAGE))  # read when cv2 is loaded
    cv2 = need("cv2", "opencv-python-headless", "decoding images")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _imdecode(cv2: ModuleType, data: bytes, flags: int) -> Any:
    if not data:
        raise ImageFault("the file is empty")
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as fault:
        if "CV_IO_MAX" in str(fault):
            raise ImageFault("it has more pixels than OpenCV takes") from fault
        raise ImageFault(f"OpenCV gives up: {fault.err or fault}") from fault


def _complaint(data: bytes) -> str:
    for magic, name in (
        (_JPEG, "JPEG"),
        (_PNG, "PNG"),
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
        *((m, "TIFF") for m in _TIFF),
    ):
        if data.startswith(magic):
            return f"the {name} is damaged"
    return "it is no image that OpenCV can read"


def _jpeg_kinds(data: bytes, color: bool, ignore_orientation: bool) -> list[str]:
    """From the segments before the first scan; a damaged chain of segments ends the search."""
    kinds = []
    orientation = 1
    at, end = 2, len(data) - 3
    while at < end:
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        if marker in (0xD9, 0xDA):  # end of image, start of scan
            break
        size = data[at + 2] << 8 | data[at + 3]
        if marker in _FRAMES and at + 9 < len(data):
            components = data[at + 9]
            if components == 1 and color:
                kinds.append("greyscale")
            elif components == 4:
                kinds.append("CMYK")
        elif marker == 0xE1 and orientation == 1 and data.startswith(_EXIF, at + 4):
            orientation = _tiff_orientation(data[at + 10 : at + 2 + size])
        at += 2 + size
    if orientation != 1 and not ignore_orientation:
        kinds.append("rotated")
    return kinds


def _png_kinds(data: bytes, color: bool, ignore_orientation: bool) -> list[str]:
    depth, kind = data[24], data[25]
    kinds = ["greyscale"] if color and kind in (0, 4) else []
    if depth == 16:
        kinds.append("16-bit")
    alpha, orientation = kind in (4, 6), 1
    at = 33
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        alpha |= name == b"tRNS"
        if name == b"eXIf":
            orientation = _tiff_orientation(data[at + 8 : at + 8 + size])
        at += 12 + size
    if alpha:
        kinds.append("alpha")
    if orientation != 1 and not ignore_orientation:
        kinds.append("rotated")
    return kinds


def _other_kinds(cv2: ModuleType, data: bytes, pixels: Any, flags: int) -> list[str]:
    kinds = []
    stored = _imdecode(cv2, data, -1)  # IMREAD_UNCHANGED
    if stored is not None:
        channels = 1 if stored.ndim == 2 else stored.shape[2]
        if flags & 1 and channels < 3:
            kinds.append("greyscale")
        if stored.dtype.itemsize > 1:
            kinds.append(f"{8 * stored.dtype.itemsize}-bit")
        if channels == 4:
            kinds.append("alpha")
    if data.startswith(_TIFF):
        rotated = _tiff_orientation(data) != 1
    else:
        rotated = not np.array_equal(pixels, _imdecode(cv2, data, flags | 128))
    if rotated:
        kinds.append("rotated")
    return kinds


def _tiff_orientation(tiff: bytes) -> int:
    """The orientation in the first directory of a TIFF structure, which EXIF is too; 1 where there is none."""
    order: Any = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)
    entries = int.from_bytes(tiff[start : start + 2], order)
    for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 9), 12):
        if int.from_bytes(tiff[at : at + 2], order) == _ORIENTATION:
            value = int.from_bytes(tiff[at + 8 : at + 10], order)
            return value if 1 <= value <= 8 else 1
    return 1
