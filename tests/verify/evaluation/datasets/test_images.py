"""Decoding: everything is compared with what OpenCV's `imread` gives for the same file."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from PIL import Image

from verify.evaluation.datasets.decoding import decode
from verify.evaluation.records import ImageFault

ROOT = Path(__file__).resolve().parents[4]
ORIENTATION = 0x0112


def picture(height: int = 60, width: int = 84, channels: int = 3) -> np.ndarray:
    """Smooth colours, different in every corner."""
    noise = np.random.default_rng(7).integers(0, 256, (height, width, channels), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (9, 9), 3)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).reshape(height, width, channels)


def encoded(pixels: np.ndarray, ending: str = ".jpg", *parameters: int) -> bytes:
    return bytes(cv2.imencode(ending, pixels, parameters)[1])


def saved(image: Image.Image, kind: str, orientation: int | None = None) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(file, kind, exif=exif.tobytes())
    return file.getvalue()


def imread(data: bytes, folder: Path, flags: int) -> np.ndarray | None:
    path = folder / "image"
    path.write_bytes(data)
    return cv2.imread(str(path), flags)


def files() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """File and its kinds in colour."""
    pil = Image.fromarray(picture()[..., ::-1])
    deep = (picture().astype(np.uint16) * 257 - 11 * (picture() > 99)).astype(np.uint16)
    palette = pil.quantize(16)
    with_hole = io.BytesIO()
    palette.save(with_hole, "PNG", transparency=3)
    return {
        "jpeg": (encoded(picture()), ()),
        "progressive": (encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), ()),
        "restarts": (encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2), ()),
        "optimised": (encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_OPTIMIZE, 1), ()),
        "grey jpeg": (encoded(picture(channels=1)), ("greyscale",)),
        "cmyk": (saved(pil.convert("CMYK"), "JPEG"), ("CMYK",)),
        "png": (encoded(picture(), ".png"), ()),
        "grey png": (encoded(picture(channels=1), ".png"), ("greyscale",)),
        "bilevel png": (saved(pil.convert("1"), "PNG"), ("greyscale",)),
        "grey with alpha": (saved(pil.convert("LA"), "PNG"), ("greyscale", "alpha")),
        "deep png": (encoded(deep, ".png"), ("16-bit",)),
        "deep grey png": (encoded(deep[..., :1], ".png"), ("greyscale", "16-bit")),
        "alpha": (encoded(picture(channels=4), ".png"), ("alpha",)),
        "palette": (saved(palette, "PNG"), ()),
        "palette with a hole": (with_hole.getvalue(), ("alpha",)),
        "bmp": (encoded(picture(), ".bmp"), ()),
        "tiff": (encoded(picture(), ".tiff"), ()),
        "grey tiff": (encoded(picture(channels=1), ".tiff"), ("greyscale",)),
        "deep tiff": (encoded(deep, ".tiff"), ("16-bit",)),
        "webp": (encoded(picture(), ".webp"), ()),
        "ppm": (encoded(picture(), ".ppm"), ()),
        "turned jpeg": (saved(pil, "JPEG", 6), ("rotated",)),
        "turned grey jpeg": (saved(pil.convert("L"), "JPEG", 8), ("greyscale", "rotated")),
        "turned png": (saved(pil, "PNG", 5), ("rotated",)),
        "turned webp": (saved(pil, "WEBP", 3), ("rotated",)),
        "turned tiff": (saved(pil, "TIFF", 3), ("rotated",)),  # imread of OpenCV 4.14 refuses 5 to 8
        "upright jpeg": (saved(pil, "JPEG", 1), ()),
        "senseless orientation": (saved(pil, "JPEG", 9), ()),
        "cut short": (encoded(picture())[:1400], ("cut short",)),
        "cut short, turned": (saved(pil, "JPEG", 6)[:1400], ("rotated", "cut short")),
    }


@pytest.mark.parametrize("name", files())
def test_pixels_and_kinds_are_those_that_imread_sees(name: str, tmp_path: Path) -> None:
    data, kinds = files()[name]
    found = decode(data, color=True)
    np.testing.assert_array_equal(found.pixels, imread(data, tmp_path, cv2.IMREAD_COLOR))
    assert found.pixels.shape[2] == 3
    assert found.pixels.dtype == np.uint8
    assert found.kinds == kinds


@pytest.mark.parametrize("name", files())
def test_grey_is_the_grey_of_imread(name: str, tmp_path: Path) -> None:
    data, kinds = files()[name]
    found = decode(data, color=False)
    np.testing.assert_array_equal(found.pixels, imread(data, tmp_path, cv2.IMREAD_GRAYSCALE))
    assert found.pixels.ndim == 2
    assert found.kinds == tuple(kind for kind in kinds if kind != "greyscale")


@pytest.mark.parametrize("name", [name for name in files() if "turned" in name and "tiff" not in name])
def test_orientation_is_ignored_on_request(name: str, tmp_path: Path) -> None:
    data, kinds = files()[name]
    found = decode(data, color=True, ignore_orientation=True)
    assert found.pixels.shape == (60, 84, 3)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    np.testing.assert_array_equal(found.pixels, imread(data, tmp_path, flags))
    assert found.kinds == tuple(kind for kind in kinds if kind != "rotated")


@pytest.mark.parametrize("orientation", range(10))
def test_rotated_is_said_exactly_when_the_image_was_turned(orientation: int) -> None:
    data = saved(Image.fromarray(picture()), "JPEG", orientation)
    turned = decode(data, color=True)
    as_stored = decode(data, color=True, ignore_orientation=True)
    assert ("rotated" in turned.kinds) == (not np.array_equal(turned.pixels, as_stored.pixels))


def test_both_byte_orders_of_exif_are_read() -> None:
    plain = encoded(picture())
    for order, mark in (("little", b"II*\0"), ("big", b"MM\0*")):
        number = lambda value, size, order=order: value.to_bytes(size, order)  # noqa: E731
        entry = number(ORIENTATION, 2) + number(3, 2) + number(1, 4) + number(6, 2) + b"\0\0"
        exif = b"Exif\0\0" + mark + number(8, 4) + number(1, 2) + entry + bytes(4)
        data = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
        found = decode(data, color=True)
        assert found.kinds == ("rotated",)
        assert found.pixels.shape == (84, 60, 3)


@pytest.mark.parametrize(
    "parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)], ids=str
)
def test_a_jpeg_cut_anywhere_is_what_imread_makes_of_it(parameters: tuple[int, ...], tmp_path: Path) -> None:
    whole = encoded(picture(), ".jpg", *parameters)
    survived = 0
    for size in range(3, len(whole), 7):
        expected = imread(whole[:size], tmp_path, cv2.IMREAD_COLOR)
        if expected is None:
            with pytest.raises(ImageFault, match="the JPEG is damaged"):
                decode(whole[:size], color=True)
            continue
        found = decode(whole[:size], color=True)
        np.testing.assert_array_equal(found.pixels, expected)
        assert found.kinds == ("cut short",)
        survived += 1
    assert survived > 100


def test_what_is_missing_of_a_jpeg_is_grey() -> None:
    pixels = decode(encoded(picture())[:1400], color=True).pixels
    assert pixels[-1, -1].tolist() == [128, 128, 128]
    assert pixels[0, 0].tolist() != [128, 128, 128]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the file is empty"),
        (b"<html>Not found</html>", "no image that OpenCV can read"),
        (b"\xff\xd8\xff", "the JPEG is damaged"),
        (encoded(picture(), ".png")[:60], "the PNG is damaged"),
        (encoded(picture(), ".bmp")[:60], "the BMP is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no image that OpenCV can read"),
    ],
)
def test_what_cannot_be_decoded_is_a_fault_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(ImageFault, match=why):
        decode(data, color=True)


def test_a_decompression_bomb_is_a_fault() -> None:
    data = bytearray(encoded(picture(), ".bmp"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(ImageFault, match="more pixels than OpenCV takes"):
        decode(bytes(data), color=True)


@pytest.mark.parametrize("name", ["turned jpeg", "turned png", "turned tiff", "cmyk", "alpha", "webp", "bmp"])
def test_damaged_files_give_pixels_or_a_fault_and_nothing_else(name: str) -> None:
    whole = files()[name][0]
    random = Random(3)
    faults = 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(random.choice((0, 1, 3, 20))):
            data[random.randrange(min(len(data), 400))] = random.choice((0, 1, 255, random.randrange(256)))
        del data[random.choice((len(data), len(data), random.randrange(len(data)))) :]
        try:
            decode(bytes(data), color=random.random() < 0.5)
        except ImageFault:
            faults += 1
    assert 0 < faults < 200


def test_opencv_does_not_write_its_log_about_damaged_images() -> None:
    code = (
        "from verify.evaluation.datasets.decoding import decode\n"
        "from verify.evaluation.records import ImageFault\n"
        "for data in (b'\\x89PNG\\r\\n\\x1a\\n' + bytes(30), b'BM' + bytes(60)):\n"
        "    try: decode(data, color=True)\n"
        "    except ImageFault: print('fault')\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("fault\nfault\n", "")


def test_the_300_photographs_are_those_of_imread(shared: Path) -> None:
    paths = sorted((shared / "images" / "imagenet_val_300").glob("*.JPEG"))
    assert len(paths) == 300
    for path in paths[::10]:
        found = decode(path.read_bytes(), color=True)
        np.testing.assert_array_equal(found.pixels, cv2.imread(str(path), cv2.IMREAD_COLOR))
        assert found.kinds == ()
