"""CIFAR's binary versions."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from prototxt.errors import RequestError
from verify.evaluation.datasets.opening import open_source

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def planes(count: int) -> np.ndarray:
    """Images × RGB × height × width."""
    return np.random.default_rng(5).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def cifar10(folder: Path, labels: list[int], name: str = "test_batch.bin") -> Path:
    folder.mkdir(exist_ok=True)
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, planes(len(labels)), strict=True)]
    (folder / name).write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


def cifar100(folder: Path, labels: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    records = [bytes([7, label]) + image.tobytes() for label, image in zip(labels, planes(len(labels)), strict=True)]
    (folder / "test.bin").write_bytes(b"".join(records))
    (folder / "fine_label_names.txt").write_text("\n".join(f"fine{number}" for number in range(100)) + "\n")
    return folder


def test_a_folder_means_its_test_images(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-bin", [3, 9, 0])
    source = open_source(folder)
    assert (len(source), source.classes) == (3, tuple(NAMES))
    assert [source.item(index).label for index in range(3)] == [3, 9, 0]
    assert source.item(1).name == "test_batch.bin/1"
    for index, image in enumerate(planes(3)):
        pixels = source.read(index, color=True).pixels
        assert pixels.shape == (32, 32, 3)
        for channel in range(3):
            np.testing.assert_array_equal(pixels[:, :, channel], image[2 - channel])


def test_grey_is_opencvs_of_the_colours(tmp_path: Path) -> None:
    source = open_source(cifar10(tmp_path / "c", [3, 9]))
    rgb = planes(2)[1].transpose(1, 2, 0)
    np.testing.assert_array_equal(source.read(1, color=False).pixels, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def test_the_fine_label_of_cifar_100_counts(tmp_path: Path) -> None:
    source = open_source(cifar100(tmp_path / "cifar-100-binary", [99, 0]))
    assert [source.item(index).label for index in range(2)] == [99, 0]
    assert source.classes[99] == "fine99"
    np.testing.assert_array_equal(source.read(1, color=True).pixels[:, :, 0], planes(2)[1, 2])


def test_a_file_is_told_by_its_size(tmp_path: Path) -> None:
    cifar10(tmp_path / "ten", [1, 2], "data_batch_3.bin")
    assert open_source(tmp_path / "ten" / "data_batch_3.bin").classes == tuple(NAMES)
    cifar100(tmp_path / "hundred", [55])
    (tmp_path / "hundred" / "test.bin").rename(tmp_path / "renamed.bin")
    source = open_source(tmp_path / "renamed.bin")
    assert (source.item(0).label, source.classes) == (55, ())


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_the_archive_is_read_as_it_is_downloaded(mode: str, tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "cifar-10-batches-bin", [3, 9, 0])
    with tarfile.open(tmp_path / "cifar-10-binary.tar", mode) as archive:  # type: ignore[call-overload]
        archive.add(folder, folder.name)
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "cifar-10-binary.tar")))
    assert [source.item(index).label for index in range(3)] == [3, 9, 0]
    assert source.classes == tuple(NAMES)
    np.testing.assert_array_equal(source.read(2, color=True).pixels[:, :, 2], planes(3)[2, 0])


def test_the_python_version_is_refused_unopened(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("test_batch", "data_batch_1", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps({"data": [1]}, protocol=2))
    for path, why in ((folder, "take the binary version"), (folder / "test_batch", "CIFAR has a binary version too")):
        with pytest.raises(RequestError, match=why):
            open_source(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (bytes(3072), "its 3072 bytes are not a number of records"),
        (bytes([10]) + bytes(3072), "record 1 has label 10 of 10 classes"),
        (bytes(3073) + bytes([255]) + bytes(3072), "record 2 has label 255 of 10 classes"),
        (bytes([0, 100]) + bytes(3072), "record 1 has label 100 of 100 classes"),
    ],
)
def test_other_files_are_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(RequestError, match=why):
        open_source(tmp_path / "x.bin")


def test_a_test_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "c", [3, 9])
    with open(folder / "test_batch.bin", "r+b") as file:
        file.truncate(5000)
    with pytest.raises(RequestError, match="is no CIFAR-10 file or is cut short: its 5000 bytes"):
        open_source(folder)


def test_labels_from_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("a 1\n")
    with pytest.raises(RequestError, match="has its labels in it"):
        open_source(cifar10(tmp_path / "c", [3]), labels=tmp_path / "val.txt")


def test_classes_may_come_from_a_list_or_be_unknown(tmp_path: Path) -> None:
    folder = cifar10(tmp_path / "c", [3])
    (tmp_path / "classes.txt").write_text("\n".join(f"kind {number}" for number in range(10)))
    assert open_source(folder, synsets=tmp_path / "classes.txt").classes[3] == "kind 3"
    (folder / "batches.meta.txt").unlink()
    source = open_source(folder)
    assert (source.item(0).label, source.classes) == (3, ())
