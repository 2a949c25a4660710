"""Class folders: which folder is the class, and which label it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt.errors import RequestError
from tests.verify.evaluation.datasets.test_sources import blues, labels, names, tar, write, zipped
from verify.evaluation.datasets.opening import open_source


def test_class_folders_count_in_sorted_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets", ["dog/1.png", "Zebra/x.png", "cat/3.png", "dog/0.png", "dog/10.png"])
    source = open_source(folder)
    assert source.classes == ("Zebra", "cat", "dog")
    assert names(source) == ["Zebra/x.png", "cat/3.png", "dog/0.png", "dog/1.png", "dog/10.png"]
    assert labels(source) == [0, 1, 2, 2, 2]
    assert blues(source) == [1, 2, 3, 0, 4]
    assert source.notes == ()


@pytest.mark.parametrize("pack", [tar, zipped])
def test_the_last_folder_of_a_path_in_an_archive_is_the_class(pack: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", ["test/dog/1.png", "test/cat/1.png", "test/cat/2.png"])
    archive = pack(folder, tmp_path / ("pets.tar" if pack is tar else "pets.zip"))  # type: ignore[operator]
    source = open_source(archive)
    assert source.classes == ("cat", "dog")
    assert labels(source) == [0, 0, 1]


def test_train_and_test_are_put_together_and_that_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "pets", ["test/cat/1.png", "test/dog/2.png", "train/cat/3.png", "train/eel/3.png"])
    source = open_source(folder)
    assert source.classes == ("cat", "dog", "eel")
    assert labels(source) == [0, 1, 0, 2]
    assert source.notes == ("the class folders of 2 folders were put together: test, train",)


def test_a_folder_that_is_the_same_for_all_is_no_class(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny", ["train/cat/images/1.png", "train/dog/images/1.png"])
    source = open_source(folder)
    assert source.classes == ("cat", "dog")
    assert labels(source) == [0, 1]


def test_wordnet_ids_are_in_caffes_order_even_when_few_are_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["n15075141/1.JPEG", "n01440764/1.JPEG", "n02119789/1.JPEG"])
    source = open_source(folder)
    assert labels(source) == [0, 278, 999]
    assert (len(source.classes), source.classes[278]) == (1000, "kit fox")
    assert source.notes == ("3 of the 1000 classes of ILSVRC 2012 are there",)


def test_other_wordnet_ids_are_classes_by_their_names(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "val", ["n01440764/1.JPEG", "n00000001/1.JPEG"]))
    assert source.classes == ("n00000001", "n01440764")
    assert labels(source) == [0, 1]


def test_a_list_gives_the_order_of_the_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["n15075141/1.JPEG", "n01440764/1.JPEG"])
    (tmp_path / "synsets.txt").write_text("n15075141 toilet tissue\nn02119789 kit fox\nn01440764 tench, Tinca\n")
    source = open_source(folder, synsets=tmp_path / "synsets.txt")
    assert labels(source) == [2, 0]
    assert source.classes == ("toilet tissue", "kit fox", "tench")


def test_a_list_of_names_fits_folders_of_these_names(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("dog\nhouse cat\n")
    source = open_source(write(tmp_path / "val", ["house cat/1.png", "dog/1.png"]), synsets=tmp_path / "classes.txt")
    assert names(source) == ["dog/1.png", "house cat/1.png"]
    assert labels(source) == [0, 1]
    (tmp_path / "classes.txt").write_text("house cat\ndog\n")
    assert labels(open_source(tmp_path / "val", synsets=tmp_path / "classes.txt")) == [1, 0]


def test_folders_that_the_list_does_not_name_are_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", [f"{name}/1.png" for name in ("ant", "bee", "cat", "dog", "eel")])
    (tmp_path / "classes.txt").write_text("cat\nfox\n")
    with pytest.raises(RequestError, match=r"does not name these folders: ant, bee, dog and 1 more"):
        open_source(folder, synsets=tmp_path / "classes.txt")


@pytest.mark.parametrize("pack", [None, tar, zipped])
def test_an_empty_class_folder_counts_and_is_told(pack: object, tmp_path: Path) -> None:
    folder = write(tmp_path / "pets", ["ant/1.png", "cat/2.png"])
    (folder / "bee").mkdir()
    data = folder if pack is None else pack(folder, tmp_path / ("p.tar" if pack is tar else "p.zip"))  # type: ignore[operator]
    source = open_source(data)
    assert source.classes == ("ant", "bee", "cat")
    assert labels(source) == [0, 2]
    assert source.notes == ("1 class folders hold no image and count as classes all the same: bee",)


def test_images_beside_class_folders_have_no_label_and_are_told(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "pets", ["cat/1.png", "logo.png", "dog/1.png"]))
    assert labels(source) == [0, 1, None]
    assert source.classes == ("cat", "dog")
    assert source.notes == ("1 image beside the class folders, not in one, and so without a label",)


def test_folders_in_some_class_folders_belong_to_the_class(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "pets", ["cat/1.png", "cat/more/2.png", "dog/1.png"]))
    assert source.classes == ("cat", "dog")
    assert labels(source) == [0, 0, 1]


def test_images_in_one_folder_have_no_labels_unless_it_is_a_class(tmp_path: Path) -> None:
    assert labels(open_source(write(tmp_path / "a", ["val/1.png", "val/2.png"]))) == [None, None]
    assert labels(open_source(write(tmp_path / "b", ["n02119789/1.png", "n02119789/2.png"]))) == [278, 278]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    source = open_source(write(tmp_path / "c", ["dog/1.png"]), synsets=tmp_path / "classes.txt")
    assert labels(source) == [1]


def test_ten_thousand_jpegs_of_cifar_are_read_from_their_zip(shared: Path) -> None:
    source = open_source(shared / "images" / "cifar10_test_jpeg.zip")
    assert len(source) == 10_000
    assert source.classes == tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
    counts = [0] * 10
    for index in range(len(source)):
        label = source.item(index).label
        assert label is not None
        counts[label] += 1
    assert counts == [1000] * 10
    assert source.item(2338).name == "test/bird/0338.jpg"
    assert source.read(2338, color=True).pixels.shape == (32, 32, 3)
