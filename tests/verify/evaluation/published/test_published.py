"""Published errors as data: every row makes sense, and the figures are those of the sources."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from prototxt.errors import RequestError
from verify.evaluation.published.figure import DIGESTS, Published, PublishedWeights, letters
from verify.evaluation.published.known import PUBLISHED, find, published, weights_note
from verify.evaluation.published.reading import load_published

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIGITS = Path(__file__).resolve().parents[4] / "examples" / "digits"

ROW = """
[net]
title = "A net"
dataset = "CIFAR-10 test"
top1 = "8.26"
resize = "shorter 40"
crop = 32
crops = 10
order = "bgr"
mean = [1, 2.5, 3]
source = "https://example.org"
"""


FIELDS = """title dataset top1 top5 variation resize crop crops mirror scales order mean mean_file mean_shape scale
    scores blob note source like"""
TEXTS = "title dataset resize order mean_file scores blob note source like"
TABLES: dict[str, dict[str, Any]] = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))


def load(tmp_path: Path, text: str) -> dict[str, Published]:
    path = tmp_path / "rows.toml"
    path.write_text(text, encoding="utf-8")
    return load_published(path)


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_every_table_is_written_as_the_head_of_the_file_says(table: dict[str, Any]) -> None:
    assert set(table) <= {*FIELDS.split(), "weights"}
    assert all(isinstance(table[key], str) for key in table.keys() & set(TEXTS.split()))
    assert "top1" in table or "top5" in table
    for key in table.keys() & {"top1", "top5", "variation"}:
        assert re.fullmatch(r"\d{1,2}(\.\d{1,9})?", table[key])
    assert re.fullmatch(r"none|shorter [1-9]\d*|warp [1-9]\d*x[1-9]\d*", table.get("resize", "none"))
    weights = table.get("weights", {})
    assert set(weights) <= {"file", "bytes", *DIGESTS}
    for kind in weights.keys() & set(DIGESTS):
        assert re.fullmatch(f"[0-9a-f]{{{hashlib.new(kind).digest_size * 2}}}", weights[kind])


def test_a_table_is_like_one_above_it() -> None:
    names = list(TABLES)
    likes = [(name, table["like"]) for name, table in TABLES.items() if "like" in table]
    assert len(likes) > 10
    assert [name for name, like in likes if names.index(like) >= names.index(name)] == []


def test_no_two_names_differ_in_hyphens_only() -> None:
    assert len({letters(name) for name in TABLES}) == len(TABLES)


@pytest.mark.parametrize("entry", published().values(), ids=list(published()))
def test_the_numbers_of_every_row_go_together(entry: Published) -> None:
    channels = {"bgr": 3, "rgb": 3, "grey": 1}[entry.order]
    assert entry.crops == 1 or (entry.crops == 10 and entry.crop)
    assert len(entry.mean) in (0, channels)
    assert all(0 <= value <= 255 for value in entry.mean)
    assert len(entry.mean_shape) == (3 if entry.mean_file else 0)
    assert not (entry.mean_file and entry.mean)
    assert entry.mean_shape[:1] in ((), (channels,))
    assert 0 < entry.scale < float("inf")
    assert isinstance(entry.mirror, bool)
    assert all(type(size) is int and size > 0 for size in (*entry.scales, *entry.mean_shape))
    assert type(entry.crop) is type(entry.weights.size) is int
    assert min(entry.crop, entry.weights.size) >= 0
    assert bool(entry.scores) == bool(entry.blob)


@pytest.mark.parametrize("entry", published().values(), ids=list(published()))
def test_every_row_says_what_was_measured_and_where_it_stands(entry: Published) -> None:
    assert entry.title
    assert entry.source.startswith(("https://", "examples/digits/"))
    assert entry.images in (50_000, 10_000, 500)
    errors = [each for each in (entry.top1, entry.top5) if each is not None]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < each < 0.5 for each in errors)
    assert 0 < entry.variation <= 0.005
    assert entry.protocol
    assert entry.preprocessing
    if entry.dataset.startswith("ImageNet"):
        assert ((entry.shorter or any(entry.warp)) and entry.crop) or entry.scales
        assert entry.mean or entry.mean_file
    assert find(entry.name) is entry


@pytest.mark.parametrize(
    ("name", "top1", "top5", "variation"),
    [
        ("resnet-50", 0.247, 0.078, 0.0015),
        ("resnet-101", 0.236, 0.071, 0.0015),
        ("resnet-152", 0.230, 0.067, 0.0015),
        ("resnet-50-10crop", 0.229, 0.067, 0.0015),
        ("resnet-101-10crop", 0.218, 0.061, 0.0015),
        ("resnet-152-10crop", 0.214, 0.057, 0.0015),
        ("vgg-16", 0.285, 0.099, 0.0005),
        ("squeezenet-1.0", 0.425, 0.197, 0.0005),
        ("caffenet", 1 - 0.574, 1 - 0.804, 0.0005),
        ("alexnet", 1 - 0.571, 1 - 0.802, 0.0005),
        ("googlenet", 0.313, 0.111, 0.0005),
        ("nin", 1 - 0.5936, None, 0.00005),
        ("mobilenet-v1", 1 - 0.7081, 1 - 0.8985, 0.00005),
        ("mobilenet-v2", 1 - 0.7190, 1 - 0.9049, 0.00005),
        ("densenet-121", 1 - 0.7491, 1 - 0.9219, 0.00005),
        ("densenet-169", 1 - 0.7609, 1 - 0.9314, 0.00005),
        ("densenet-201", 1 - 0.7731, 1 - 0.9364, 0.00005),
        ("densenet-161", 1 - 0.7764, 1 - 0.9379, 0.00005),
        ("squeezenet-1.1", 1 - 0.58382, 1 - 0.81, 0.000005),
        ("resnet-18", 1 - 0.690801, 1 - 0.890321, 0.0000005),
        ("inception-bn", 1 - 0.7205, 1 - 0.9087, 0.00005),
        ("cifar10-resnet-20", 1 - 0.9174, None, 0.00005),
        ("cifar10-resnet-110-padded", 1 - 0.9356, None, 0.00005),
        ("cifar10-nin", 1 - 0.896, None, 0.0005),
        ("cifar10-quick", 0.25, None, 0.005),
        ("digits-resnet", 0.02, 0.002, 0.0005),
    ],
)
def test_errors_and_what_they_vary_by(name: str, top1: float, top5: float | None, variation: float) -> None:
    found = published()[name]
    assert found.top1 == pytest.approx(top1, abs=1e-12)
    assert found.top5 == (None if top5 is None else pytest.approx(top5, abs=1e-12))
    assert found.variation == pytest.approx(variation, rel=1e-9)


def test_every_family_that_people_ask_for_is_there() -> None:
    wanted = """vgg-19 densenet-161 se-resnet-50 se-resnet-101 se-resnet-152 se-resnext-50 inception-bn resnet-18
        cifar10-quick cifar10-full cifar10-resnet-32 cifar10-resnet-44 cifar10-resnet-56 cifar10-nin"""
    assert set(wanted.split()) <= set(published())


def test_how_the_msra_resnets_were_measured() -> None:
    one, ten, dense = (published()[f"resnet-101{suffix}"] for suffix in ("", "-10crop", "-multiscale"))
    assert (one.shorter, one.warp, one.crop, one.crops, one.order) == (256, (0, 0), 224, 1, "bgr")
    assert (one.mean_file, one.mean_shape, one.scale) == ("ResNet_mean.binaryproto", (3, 224, 224), 1.0)
    assert one.protocol == "centre crop 224×224 of shorter side 256"
    assert one.preprocessing == "BGR, minus ResNet_mean.binaryproto (3×224×224)"
    assert ten.protocol == "ten crops 224×224 of shorter side 256"
    assert ten.weights == one.weights != PublishedWeights()
    assert dense.protocol == "whole image, fully convolutional, at shorter sides 224, 256, 384, 480 and 640"
    assert dense.variation == pytest.approx(0.00005)


def test_protocols_in_words() -> None:
    assert published()["caffenet"].protocol == "centre crop 227×227 of 256×256 (warped)"
    assert published()["digits-resnet"].protocol == "whole image as stored"
    dense = published()["vgg-16-dense"]
    assert dense.protocol == "whole image, fully convolutional, at shorter side 384, with mirrors"
    mobile = published()["mobilenet-v2"].preprocessing
    assert mobile == "BGR, minus 103.94, 116.78, 123.68, times 0.017"


def test_the_example_is_what_caffe_itself_scored() -> None:
    entry, result = find("digits-resnet"), json.loads((DIGITS / "RESULT.json").read_text())
    assert (entry.top1, entry.top5) == (result["caffe_top1_error"], result["caffe_top5_error"])
    assert entry.images == result["n_val"]
    assert weights_note(entry, DIGITS / "digits_resnet.caffemodel") is None


@pytest.mark.parametrize("spelt", ["ResNet50", "resnet_50", "RESNET-50", "resnet 50"])
def test_a_name_may_be_spelt_otherwise(spelt: str) -> None:
    assert find(spelt).name == "resnet-50"


def test_an_unknown_name_is_told_its_neighbours() -> None:
    with pytest.raises(RequestError) as caught:
        find("vgg-18")
    said = str(caught.value)
    assert said.startswith("error: no published errors go by the name 'vgg-18'; did you mean vgg-1")
    assert said.endswith(f"('--expect list' lists all {len(published())})")


@pytest.mark.parametrize("name", ["", "\x1b[31mx", "zzz" * 40_000])
def test_a_name_like_no_other_gets_one_short_line(name: str) -> None:
    with pytest.raises(RequestError) as caught:
        find(name)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 200
    assert "did you mean" not in said


def test_weights_of_another_size_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"12345")
    said = weights_note(find("resnet-50"), path)
    assert said == (
        "net.caffemodel has 5 bytes, the published ResNet-50-model.caffemodel 102,462,397: other weights, or the same "
        "in another form"
    )


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        ("sha256", "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e"),
        ("sha1", "0a4d55a8d778e5022fab701977c5d840bbc486d0"),
        ("md5", "b10a8db164e0754105b7a99be72e3fe5"),
    ],
)
def test_digests_tell_files_of_the_same_size_apart(tmp_path: Path, kind: str, digest: str) -> None:
    text = f'{ROW}[net.weights]\nfile = "a.caffemodel"\nbytes = 11\n{kind} = "{digest}"\n'
    entry = load(tmp_path, text)["net"]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"Hello World")
    assert weights_note(entry, path) is None
    path.write_bytes(b"Hello World"[::-1])
    said = weights_note(entry, path)
    assert said
    assert said.startswith(
        f"net.caffemodel has another {kind.upper().replace('SHA', 'SHA-')} than the published a.caffe"
    )


def test_weights_of_which_nothing_is_known_are_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"x")
    assert weights_note(find("resnet-18"), path) is None


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent\.caffemodel: error: cannot be read: No such file"):
        weights_note(find("resnet-50"), tmp_path / "absent.caffemodel")
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        weights_note(find("mobilenet-v1"), tmp_path)


def test_the_shared_models_weights_are_recognised(shared: Path) -> None:
    models = shared / "golden" / "models"
    assert weights_note(find("cifar10-resnet-20"), models / "cifar10-resnet20" / "weights.caffemodel") is None
    said = weights_note(find("squeezenet-1.0"), models / "squeezenet-imagenet" / "weights.caffemodel")
    assert said
    assert "has 4,995,323 bytes, the published squeezenet_v1.0.caffemodel 5,001,403" in said


def test_a_row_takes_what_it_lacks_from_the_one_it_is_like(tmp_path: Path) -> None:
    text = f'{ROW}variation = "0.5"\n[net.weights]\nbytes = 3\n[b]\nlike = "net"\ntop5 = "7"\ncrops = 1\n'
    rows = load(tmp_path, text + '[c]\nlike = "b"\ntitle = "Another"\ntop1 = "9.0"\n')
    second = rows["b"]
    assert (second.title, second.top1, second.top5, second.crops) == ("A net", None, 0.07, 1)
    assert (second.variation, second.weights.size, second.mean) == (0.005, 3, (1.0, 2.5, 3.0))
    assert (rows["c"].weights, rows["c"].top5, rows["c"].crop) == (PublishedWeights(), None, 32)
    assert rows["net"].variation == pytest.approx(0.00505)
