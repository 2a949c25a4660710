"""Folders and archives of images with labels in every form that people have them."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from prototxt.errors import ErrorGroup, RequestError
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.records import ImageFault, Source

ROOT = Path(__file__).resolve().parents[4]


def png(value: int) -> bytes:
    """A 5×7 image of one colour, told apart by its blue."""
    return bytes(cv2.imencode(".png", np.full((5, 7, 3), (value, 20, 30), np.uint8))[1])


def write(folder: Path, names: list[str]) -> Path:
    """Images whose blue is their place among the names."""
    for value, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(value))
    return folder


def blues(source: Source) -> list[int]:
    return [int(source.read(index, color=True).pixels[0, 0, 0]) for index in range(len(source))]


def names(source: Source) -> list[str]:
    return [source.item(index).name for index in range(len(source))]


def labels(source: Source) -> list[int | None]:
    return [source.item(index).label for index in range(len(source))]


def tar(source: Path, target: Path, mode: str = "w", prefix: str = "") -> Path:
    with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
        archive.add(source, prefix or ".")
    return target


def zipped(source: Path, target: Path, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, prefix + str(path.relative_to(source)))
    return target


CONTAINERS: dict[str, Callable[[Path, Path], Path]] = {
    "folder": lambda folder, _: folder,
    "tar": lambda folder, out: tar(folder, out / "val.tar"),
    "tar of a folder": lambda folder, out: tar(folder, out / "any.tar", prefix="ILSVRC2012/val"),
    "tar.gz": lambda folder, out: tar(folder, out / "val.tar.gz", "w:gz"),
    "tar.xz": lambda folder, out: tar(folder, out / "val.tar.xz", "w:xz"),
    "tar.bz2": lambda folder, out: tar(folder, out / "val.tar.bz2", "w:bz2"),
    "zip": lambda folder, out: zipped(folder, out / "val.zip"),
    "zip, stored": lambda folder, out: zipped(folder, out / "val.zip", method=zipfile.ZIP_STORED),
    "zip of a folder": lambda folder, out: zipped(folder, out / "any.zip", prefix="data/val/"),
}


@pytest.fixture(params=CONTAINERS)
def contain(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Path]:
    out = tmp_path / "out"
    out.mkdir()
    return lambda folder: CONTAINERS[request.param](folder, out)


def test_a_list_gives_names_labels_and_order(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b c.png", "d.png"])
    listing = tmp_path / "val.txt"
    listing.write_text("d.png 7\nb c.png  0\r\n\n./a.png\t12\n")
    source = open_source(contain(folder), labels=listing)
    assert [Path(name).name for name in names(source)] == ["d.png", "b c.png", "a.png"]
    assert labels(source) == [7, 0, 12]
    assert blues(source) == [2, 1, 0]
    assert source.classes == ()
    assert not [note for note in source.notes if "compressed" not in note]


def test_a_list_may_repeat_the_folder_that_the_data_is_in(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    listing = tmp_path / "val.txt"
    listing.write_text("val/b.png 1\nval/a.png 2\n")
    assert blues(open_source(contain(folder), labels=listing)) == [1, 0]


def test_images_and_lines_without_each_other_are_told(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png", "c.png", "d.png"])
    listing = tmp_path / "val.txt"
    listing.write_text("a.png 1\ngone.png 2\na.png 3\nb.png 1\n")
    source = open_source(contain(folder), labels=listing)
    notes = "\n".join(source.notes)
    assert "1 image of the list not found in" in notes
    assert "gone.png" in notes
    assert "2 images of" in notes
    assert "1 line of the list for an image named before (a.png is there 2 times)" in notes
    assert "several labels" in notes
    assert source.item(1).name == "gone.png"
    assert source.item(1).label == 2
    with pytest.raises(ImageFault, match="it is on the list, but not in"):
        source.read(1, color=True)
    assert source.read(2, color=True).pixels[0, 0, 0] == 0


def test_a_list_that_fits_nothing_names_list_line_image_and_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    listing = tmp_path / "val.txt"
    listing.write_text("\nx.png 1\ny.png 2\n")
    with pytest.raises(RequestError) as caught:
        open_source(folder, labels=listing)
    assert str(caught.value).startswith(f"{listing}:2: error: 'x.png' and the other images of the list")
    assert str(caught.value).endswith(str(folder))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("b.png", "expected `name label`"),
        ("b.png cat", "expected `name label`"),
        ("b.png 1.5", "expected `name label`"),
        ("b.png -1", "label '-1' is no class"),
        ("b.png 99999999999999999999", "is no class"),
        ("b.png 10000000", "is no class"),
        ("/etc/passwd 1", "is an absolute path"),
        ("C:\\val\\b.png 1", "is an absolute path"),
        ("../val/b.png 1", "may lead out of the data folder"),
        ("x/../../b.png 1", "may lead out of the data folder"),
        ("..\\b.png 1", "may lead out of the data folder"),
        ("\x1b[2Jb.png cat", r"\\x1b\[2Jb.png cat"),
    ],
)
def test_a_bad_line_is_an_error_at_its_line(line: str, why: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    listing = tmp_path / "val.txt"
    listing.write_text(f"a.png 0\n{line}\n")
    with pytest.raises(RequestError, match=why) as caught:
        open_source(folder, labels=listing)
    assert caught.value.position == (str(listing), 2, 0)
    assert "\x1b" not in str(caught.value)


def test_bad_lines_are_reported_together(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    listing = tmp_path / "val.txt"
    listing.write_text("a.png 0\n" + "a.png -1\n" * 500)
    with pytest.raises(ErrorGroup) as caught:
        open_source(folder, labels=listing)
    assert [error.position.line for error in caught.value.errors if error.position] == list(range(2, 12))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\x08\x01\0\0\0binary", "is no text"),
        (b"MATLAB 5.0 MAT-file, written", "is a MATLAB file"),
    ],
)
def test_a_file_that_is_no_list_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    (tmp_path / "val.txt").write_bytes(content)
    with pytest.raises(RequestError, match=why):
        open_source(folder, labels=tmp_path / "val.txt")


def test_a_list_inside_the_data_is_found_by_its_name(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    (folder / "val.txt").write_text("b.png 3\na.png 4\n")
    data = contain(folder)
    inside = next(name for name in ("val.txt", "ILSVRC2012/val/val.txt", "data/val/val.txt") if _holds(data, name))
    source = open_source(data, labels=inside)
    assert labels(source) == [3, 4]
    assert blues(source) == [1, 0]


def _holds(data: Path, name: str) -> bool:
    if data.is_dir():
        return (data / name).exists()
    if data.suffix == ".zip":
        return name in zipfile.ZipFile(data).namelist()
    with tarfile.open(data) as archive:
        return name in [entry.removeprefix("./") for entry in archive.getnames()]


def test_a_list_that_was_not_asked_for_is_not_read_but_mentioned(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["b.png", "a.png"])
    (folder / "val.txt").write_text("b.png 3\na.png 4\n")
    source = open_source(folder)
    assert labels(source) == [None, None]
    assert names(source) == ["a.png", "b.png"]
    assert "val.txt is in it, and was not read" in source.notes[0]


def test_labels_beyond_the_listed_classes_are_an_error(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    (tmp_path / "val.txt").write_text("a.png 1\nb.png 2\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(RequestError, match="label 2 is none of the 2 classes that were listed, 0 to 1") as caught:
        open_source(folder, labels=tmp_path / "val.txt", synsets=tmp_path / "classes.txt")
    assert caught.value.position == (str(tmp_path / "val.txt"), 2, 0)


def test_ground_truth_goes_to_sorted_images_in_caffes_order(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    stems = [f"ILSVRC2012_val_{number:08d}" for number in (3, 1, 2)]
    folder = write(tmp_path / "val", [f"{stem}.JPEG" for stem in stems])
    truth = tmp_path / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n2\n449\n")
    source = open_source(contain(folder), labels=truth)
    assert blues(source) == [1, 2, 0]
    assert labels(source) == [278, 212, 0]  # kit fox, English setter, tench: their lines in Caffe's synset_words.txt
    assert source.classes[278] == "kit fox"


def test_ground_truth_follows_the_users_list_of_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["1.png", "2.png"])
    (tmp_path / "truth.txt").write_text("1\n449\n")
    known = (ROOT / "verify" / "evaluation" / "datasets" / "ilsvrc2012.txt").read_text().splitlines()
    in_reverse = sorted((line.split()[0] for line in known), reverse=True)
    (tmp_path / "synsets.txt").write_text("\n".join(in_reverse))
    source = open_source(folder, labels=tmp_path / "truth.txt", synsets=tmp_path / "synsets.txt")
    assert labels(source) == [999 - 278, 999]
    (tmp_path / "kit.txt").write_text("\n".join(line.split()[0] for line in known))
    source = open_source(folder, labels=tmp_path / "truth.txt", synsets=tmp_path / "kit.txt")
    assert labels(source) == [278, 0]


def test_ground_truth_for_another_number_of_images_is_refused_with_both(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    (tmp_path / "truth.txt").write_text("1\n2\n3\n")
    with pytest.raises(RequestError, match=r"has labels for 3 images, but .* holds 2"):
        open_source(folder, labels=tmp_path / "truth.txt")


@pytest.mark.parametrize("line", ["0", "1001", "-5", "12 13", "x", "99999999999"])
def test_a_line_of_ground_truth_that_is_no_id_is_an_error(line: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    (tmp_path / "truth.txt").write_text(f"7\n{line}\n")
    with pytest.raises(RequestError, match="expected an ILSVRC ID from 1 to 1000") as caught:
        open_source(folder, labels=tmp_path / "truth.txt")
    assert caught.value.position == (str(tmp_path / "truth.txt"), 2, 0)


def test_ground_truth_needs_ilsvrcs_classes(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    (tmp_path / "truth.txt").write_text("1\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(RequestError, match="holds IDs of ILSVRC 2012"):
        open_source(folder, labels=tmp_path / "truth.txt", synsets=tmp_path / "classes.txt")


def test_sources_can_be_pickled_and_read_from_threads(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", [f"{number:03d}.png" for number in range(200)])
    source = open_source(contain(folder))
    source.read(0, color=True)
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: int(copy.read(index, color=True).pixels[0, 0, 0]), range(200)))
    assert found == list(range(200))
    assert names(copy) == names(source)


def test_a_relative_path_stays_right_when_the_process_moves(
    contain: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = contain(write(tmp_path / "val", ["a.png"]))
    monkeypatch.chdir(data.parent)
    source = pickle.loads(pickle.dumps(open_source(data.name)))
    monkeypatch.chdir(ROOT)
    assert blues(source) == [0]
    assert source.where == data.name


def test_hidden_files_and_other_files_are_no_images(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["b.png", "a.JPG", ".hidden.png", "__MACOSX/._b.png", ".git/x.png"])
    (folder / "readme.md").write_text("images")
    assert blues(open_source(contain(folder))) == [1, 0]


def test_an_empty_folder_holds_no_images(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "val"
    folder.mkdir()
    (folder / "readme.md").write_text("images")
    with pytest.raises(RequestError, match="holds no images"):
        open_source(contain(folder))


def test_one_image_is_a_data_set(tmp_path: Path) -> None:
    write(tmp_path, ["a.png", "b.png"])
    source = open_source(tmp_path / "b.png")
    assert (names(source), labels(source), blues(source)) == (["b.png"], [None], [1])
    assert source.where == str(tmp_path / "b.png")


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", "a\0b"):
        with pytest.raises(RequestError, match="cannot be read"):
            open_source(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RequestError, match="neither a folder nor a file"):
        open_source(tmp_path / "pipe")
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(RequestError, match="is empty"):
        open_source(tmp_path / "empty.tar")
    with pytest.raises(RequestError, match="cannot be read"):
        open_source(write(tmp_path / "val", ["a.png"]), labels=tmp_path / "none.txt")


def test_links_are_followed_but_never_in_circles_and_pipes_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    write(tmp_path / "elsewhere", ["b.png"])
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "dead.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "val.txt").write_text("a.png 0\nmore/b.png 1\n")
    source = open_source(folder, labels=tmp_path / "val.txt")
    assert names(source) == ["a.png", "more/b.png"]
    assert not source.notes


def test_names_with_control_characters_are_shown_as_escapes(contain: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a\x1b[2J\n.png"])
    source = open_source(contain(folder))
    assert Path(source.item(0).name).name == r"a\x1b[2J\n.png"
    assert blues(source) == [0]


def test_names_that_are_no_utf8_are_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["b.png"])
    os.rename(folder / "b.png", os.fsencode(folder) + b"/\xe9.png")
    (tmp_path / "val.txt").write_bytes(b"\xe9.png 4\n")
    source = open_source(folder, labels=tmp_path / "val.txt")
    assert (labels(source), blues(source)) == ([4], [0])
    source.item(0).name.encode()


def test_a_file_that_vanished_is_a_fault(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    source = open_source(folder)
    (folder / "a.png").unlink()
    with pytest.raises(ImageFault, match="it cannot be read: No such file"):
        source.read(0, color=True)
    assert source.read(1, color=True).pixels.shape == (5, 7, 3)


def test_the_300_photographs_have_the_labels_of_their_list(shared: Path) -> None:
    folder = shared / "images" / "imagenet_val_300"
    source = open_source(folder, labels=folder / "val.txt")
    lines = [line.rsplit(" ", 1) for line in (folder / "val.txt").read_text().splitlines()]
    assert [(item.name, item.label) for item in map(source.item, range(300))] == [(n, int(k)) for n, k in lines]
    assert not source.notes


def test_the_digits_have_names() -> None:
    digits = ROOT / "examples" / "digits"
    source = open_source(digits / "val", labels=digits / "val.txt", synsets=digits / "synset_words.txt")
    assert len(source) == 500
    assert source.classes == tuple("zero one two three four five six seven eight nine".split())
    assert source.read(0, color=True).kinds == ("greyscale",)
