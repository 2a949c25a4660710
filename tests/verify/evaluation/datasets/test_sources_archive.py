"""Archives as they come: odd entries, damage, and names that want out."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import pickle
import stat
import tarfile
import zipfile
from pathlib import Path
from random import Random

import pytest

from prototxt.errors import CaffeModelError, RequestError
from tests.verify.evaluation.datasets.test_sources import blues, labels, names, png, tar, write, zipped
from verify.evaluation.datasets import decoding as images
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.records import ImageFault


def made_tar(path: Path, entries: list[tuple[str, bytes | None, bytes, str]]) -> Path:
    """A tar of (name, content, type, name of what a link leads to)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(content or b"")
            archive.addfile(info, io.BytesIO(content or b""))
    return path


def test_the_last_of_several_entries_with_one_name_counts(tmp_path: Path) -> None:
    file = tarfile.REGTYPE
    data = made_tar(tmp_path / "a.tar", [("a.png", png(1), file, ""), ("./a.png", png(2), file, "")])
    source = open_source(data)
    assert blues(source) == [2]
    assert source.notes == ("1 name more than once in the archive; the last file counts",)


def test_hard_links_are_files_and_other_links_are_left_out(tmp_path: Path) -> None:
    entries = [
        ("a.png", png(5), tarfile.REGTYPE, ""),
        ("b.png", None, tarfile.LNKTYPE, "a.png"),
        ("c.png", None, tarfile.SYMTYPE, "/etc/passwd"),
        ("d.png", None, tarfile.FIFOTYPE, ""),
        ("e.png", None, tarfile.LNKTYPE, "../../etc/passwd"),
    ]
    source = open_source(made_tar(tmp_path / "a.tar", entries))
    assert names(source) == ["a.png", "b.png"]
    assert blues(source) == [5, 5]
    assert source.notes == ("left out 3 files of the archive: links, or no regular files",)


def test_names_that_lead_elsewhere_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    entries = [(name, png(9), tarfile.REGTYPE, "") for name in ("../out.png", "/abs.png", "x/../../y.png")]
    source = open_source(made_tar(folder / "a.tar", entries))
    assert sorted(blues(source)) == [9, 9, 9]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "deep", "er"]


def test_long_names_are_whole(tmp_path: Path) -> None:
    name = "/".join(["folder" * 9] * 3) + "/a.png"
    folder = write(tmp_path / "val", [name, name.replace("a.png", "b.png")])
    for archive in (tar(folder, tmp_path / "a.tar"), zipped(folder, tmp_path / "a.zip")):
        assert names(open_source(archive))[0] == name


def test_a_compressed_tar_says_what_it_costs_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = open_source(tar(write(tmp_path / "val", ["a.png", "b.png"]), tmp_path / "val.tgz", "w:gz"))
    assert blues(source) == [0, 1]
    assert "val.tgz is compressed, so every process that reads it first decompresses it" in source.notes[0]
    assert list(temporary.iterdir()) == []


def test_no_room_for_the_temporary_file_is_an_error_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    archive = tar(write(tmp_path / "val", ["a.png"]), tmp_path / "val.tgz", "w:gz")
    with pytest.raises(RequestError, match=r"it is decompressed into .*none; TMPDIR names another place"):
        open_source(archive)


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_a_process_that_was_forked_and_one_that_was_spawned_read_too(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", [f"{number}.png" for number in range(9)])
    path = tmp_path / f"val.{kind}"
    source = open_source(zipped(folder, path) if kind == "zip" else tar(folder, path, "w:gz" if kind == "tgz" else "w"))
    assert blues(source) == list(range(9))
    child = os.fork()
    if not child:
        os._exit(0 if blues(source) == list(range(9)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(blues, (source,)) == list(range(9))


def test_a_tar_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", [f"{number:03d}.png" for number in range(40)])
    whole = tar(folder, tmp_path / "whole.tar").read_bytes()
    for size in (len(whole) // 2, 1024 + 512 + 40, 700):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        with pytest.raises(RequestError, match=r"cut short|damaged"):
            open_source(tmp_path / "cut.tar")
    packed = gzip.compress(whole)
    (tmp_path / "cut.tgz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(RequestError, match="damaged"):
        open_source(tmp_path / "cut.tgz")


def test_a_tar_that_is_cut_between_two_entries_is_refused_too(tmp_path: Path) -> None:
    file = tarfile.REGTYPE
    whole = made_tar(tmp_path / "a.tar", [("a.png", png(1), file, ""), ("b.png", png(2), file, "")]).read_bytes()
    second = whole.rindex(b"ustar") - 257
    assert whole[second:].startswith(b"b.png\0")
    for rest in (b"", whole[second : second + 100], b"x" * 512):
        (tmp_path / "a.tar").write_bytes(whole[:second] + rest)
        with pytest.raises(RequestError, match=f"it does not go on at byte {second}, and has no end mark there"):
            open_source(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(600), "is a zstd archive"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600), "is a 7-Zip archive"),
        ("a.rar", b"Rar!\x1a\x07" + bytes(600), "is a RAR archive"),
        ("a.gz", gzip.compress(b"no tar" * 500, mtime=0), "is no tar archive, or a damaged one"),
        ("a.tar", b"no tar at all" * 99, "is no tar archive, or a damaged one"),
        ("a.zip", b"PK\3\4" + bytes(600), "is no zip archive, or a damaged one"),
        ("a.zip", b"PK\5\6" + bytes(18), "holds no images"),
    ],
)
def test_what_is_no_readable_archive_is_refused(name: str, content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=why):
        open_source(tmp_path / name)


def test_damage_in_a_zip_is_a_fault_of_that_image_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png", "b.png"])
    archive = zipped(folder, tmp_path / "val.zip", method=zipfile.ZIP_STORED)
    data = archive.read_bytes()
    at = data.index(b"IDAT") + 8
    archive.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    source = open_source(archive)
    with pytest.raises(ImageFault, match="checksum"):
        source.read(0, color=True)
    assert source.read(1, color=True).pixels[0, 0, 0] == 1


def test_an_encrypted_zip_and_a_rare_compression_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    archive = zipped(folder, tmp_path / "lzma.zip", method=zipfile.ZIP_LZMA)
    with pytest.raises(ImageFault, match="compressed by method 14 of zip"):
        open_source(archive).read(0, color=True)
    data = bytearray(zipped(folder, tmp_path / "val.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "val.zip").write_bytes(data)
    with pytest.raises(RequestError, match="is encrypted"):
        open_source(tmp_path / "val.zip")


@pytest.mark.parametrize("kind", ["tar", "zip", "folder"])
def test_a_file_too_large_for_an_image_is_not_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "val", ["a.png"])
    (folder / "b.png").write_bytes(bytes(3 << 20))
    path = {"tar": tar, "zip": zipped}[kind](folder, tmp_path / f"val.{kind}") if kind != "folder" else folder
    source = open_source(path)
    assert images.LARGEST_FILE == 512 << 20
    for module in ("stores", "archives"):
        monkeypatch.setattr(f"verify.evaluation.datasets.{module}.LARGEST_FILE", 2 << 20)
    with pytest.raises(ImageFault, match="it has 3 MB, more than the 2 MB that one image may have"):
        source.read(1, color=True)
    assert source.read(0, color=True).pixels.shape == (5, 7, 3)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_damaged_archives_give_images_faults_or_one_error(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "val", ["cat/a.png", "dog/b.png", "dog/c.png"])
    whole = (tar if kind == "tar" else zipped)(folder, tmp_path / f"val.{kind}").read_bytes()
    random = Random(11)
    errors = faults = 0
    for round_ in range(300):
        data = bytearray(whole)
        for _ in range(random.choice((1, 4, 30))):
            data[random.randrange(len(data))] = random.choice((0, 255, random.randrange(256)))
        path = tmp_path / f"{round_}.{kind}"
        path.write_bytes(data)
        try:
            source = open_source(path)
        except CaffeModelError:
            errors += 1
            continue
        for index in range(len(source)):
            try:
                source.item(index)
                source.read(index, color=True)
            except ImageFault:
                faults += 1
    assert errors
    assert faults


def test_a_tar_of_headers_that_only_announce_others_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    (tmp_path / "a.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 3000 + bytes(1024))
    with pytest.raises(RequestError, match="is no tar archive, or a damaged one"):
        open_source(tmp_path / "a.tar")


def test_the_index_of_a_tar_is_small(tmp_path: Path) -> None:
    content = png(1)
    with tarfile.open(tmp_path / "many.tar", "w") as archive:
        for number in range(5000):
            info = tarfile.TarInfo(f"ILSVRC2012_val_{number:08d}.JPEG")
            info.size, info.mode = len(content), stat.S_IRUSR
            archive.addfile(info, io.BytesIO(content))
    source = open_source(tmp_path / "many.tar")
    assert len(source) == 5000
    assert labels(source)[:2] == [None, None]
    assert len(pickle.dumps(source)) < 5000 * 70
