"""Output is there whole or not at all, under the right name, with the right mode."""

from __future__ import annotations

import errno
import os
import resource
import signal
from contextlib import suppress

import pytest

from prototxt.errors import Position, RequestError
from weights import Outputs, atomic_directory, atomic_file, atomic_path, noting_outputs

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_the_file_appears_when_the_block_ends_and_not_before(tmp_path):
    target = tmp_path / "out.bin"
    with atomic_file(target) as file:
        file.write(b"whole")
        assert not target.exists()
        assert len(os.listdir(tmp_path)) == 1  # beside it: a rename must not cross file systems
    assert target.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
@pytest.mark.parametrize("exists", [True, False])
def test_whatever_ends_the_block_early_changes_nothing(tmp_path, error, exists):
    target = tmp_path / "out.bin"
    if exists:
        target.write_bytes(b"before")

    def write():
        with atomic_file(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert os.listdir(tmp_path) == (["out.bin"] if exists else [])
    assert not exists or target.read_bytes() == b"before"


@pytest.mark.usefixtures("interruptible")
def test_a_real_ctrl_c_leaves_nothing(tmp_path):
    def interrupted():
        with atomic_file(tmp_path / "out.bin") as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                file.write(b"more")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_gets_the_mode_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "out"):
            pass
        with atomic_directory(tmp_path / "folder") as folder:
            (folder / "a").write_bytes(b"")
    finally:
        os.umask(before)
    assert os.stat(tmp_path / "out").st_mode & 0o7777 == 0o666 & ~mask
    assert os.stat(tmp_path / "folder").st_mode & 0o7777 == 0o777 & ~mask
    assert os.stat(tmp_path / "folder" / "a").st_mode & 0o7777 == 0o666 & ~mask


def test_a_replaced_file_keeps_its_mode(tmp_path):
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    with atomic_file(target) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert os.stat(target).st_mode & 0o7777 == 0o640


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    for name, aim in (("link", "precious"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(aim)
        with atomic_file(tmp_path / name) as file:
            file.write(b"new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert precious.read_bytes() == b"precious"


def refusal(target, opener=atomic_file):
    with pytest.raises(RequestError) as caught, opener(target):
        pytest.fail("must not get this far")
    return str(caught.value).removeprefix(f"{target}: error: ")


def test_targets_that_are_no_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_device").symlink_to("/dev/null")
    (tmp_path / "file").write_bytes(b"")
    assert refusal(tmp_path) == "is a directory; name a file"
    assert refusal(tmp_path / "pipe") == "is no regular file; name a file"
    assert refusal("/dev/null") == "is no regular file; name a file"
    assert refusal(tmp_path / "to_device") == "is a link to a device; name a file"
    assert refusal(tmp_path / "no" / "out") == f"cannot be written: the folder {tmp_path / 'no'} does not exist"
    assert refusal(tmp_path / "file" / "out") == f"cannot be written: {tmp_path / 'file'} is no folder"
    assert refusal(tmp_path / ("x" * 300)) == "cannot be written: the name is too long"
    assert refusal(str(tmp_path / "a\0b")) == "cannot be written: embedded null byte"
    assert refusal(tmp_path / "file", atomic_directory) == "is a file; name a folder"
    assert refusal(tmp_path / "no" / "out", atomic_directory).startswith("cannot be written: the folder")
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe", "to_device"]


def test_a_name_that_just_fits_is_no_trouble_for_the_temporary_one(tmp_path):
    with atomic_file(tmp_path / ("x" * 255)) as file:
        file.write(b"1")
    assert os.listdir(tmp_path) == ["x" * 255]


@pytest.mark.skipif(ROOT, reason="root writes everywhere")
def test_folders_and_files_without_permission_are_named(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o500)
    (tmp_path / "fixed").write_bytes(b"")
    (tmp_path / "fixed").chmod(0o400)
    assert refusal(tmp_path / "closed" / "out") == "cannot be written: permission denied"
    assert refusal(tmp_path / "fixed") == "is write-protected"


@pytest.mark.parametrize(
    ("code", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is used up")]
)
def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing(tmp_path, code, reason):
    target = tmp_path / "out"

    def write():
        with atomic_file(target) as file:
            file.write(b"half")
            raise OSError(code, os.strerror(code))

    with pytest.raises(RequestError) as caught:
        write()
    assert str(caught.value) == f"{target}: error: cannot be written: {reason}"
    assert os.listdir(tmp_path) == []


def test_a_file_that_grows_beyond_the_limit_is_told_in_a_sentence(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RequestError, match="the file grows beyond"), atomic_file(tmp_path / "out") as file:
            file.write(bytes(300_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_an_error_about_another_file_is_not_explained_away(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out"):
        (tmp_path / "elsewhere").read_bytes()
    assert os.listdir(tmp_path) == []


def test_a_new_folder_appears_whole(tmp_path):
    target = tmp_path / "out"
    with atomic_directory(target) as folder:
        (folder / "model.py").write_text("pass")
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text("1")
        assert not target.exists()
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*")) == ["model.py", "sub", "sub/x"]
    assert os.listdir(tmp_path) == ["out"]


def test_an_existing_folder_keeps_its_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.py").write_text("old")
    with atomic_directory(tmp_path) as folder:
        (folder / "model.py").write_text("new")
        (folder / "model.safetensors").write_text("weights")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "notes.txt": "mine",
        "model.py": "new",
        "model.safetensors": "weights",
    }


def test_a_folder_left_early_is_as_it_was(tmp_path):
    def write(target):
        with atomic_directory(target) as folder:
            (folder / "model.py").write_text("half")
            raise KeyboardInterrupt

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "model.py").write_text("old")
    for name in ("old", "new"):
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / name)
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["old", "old/model.py"]
    assert (tmp_path / "old" / "model.py").read_text() == "old"


@pytest.mark.parametrize("clash", ["file onto folder", "folder onto file"])
def test_a_folder_with_a_clash_of_kinds_replaces_nothing(tmp_path, clash):
    (tmp_path / "a").write_text("old")
    onto_folder = clash == "file onto folder"
    (tmp_path / "z").mkdir() if onto_folder else (tmp_path / "z").write_text("old")

    def write():
        with atomic_directory(tmp_path) as folder:
            (folder / "a").write_text("new")
            (folder / "z").write_text("new") if onto_folder else (folder / "z").mkdir()

    with pytest.raises(RequestError, match=r"is a directory where|is a file where"):
        write()
    assert sorted(os.listdir(tmp_path)) == ["a", "z"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_path_can_be_filled_by_a_library_that_opens_files_itself(tmp_path):
    with atomic_path(tmp_path / "out") as name:
        name.write_bytes(b"by name")
    assert (tmp_path / "out").read_bytes() == b"by name"
    assert os.listdir(tmp_path) == ["out"]


def test_all_outputs_get_their_names_together(tmp_path):
    with Outputs() as outputs:
        outputs.file(tmp_path / "net.onnx").write_bytes(b"model")
        (outputs.folder(tmp_path / "m") / "model.py").write_bytes(b"pass")
        outputs.file(tmp_path / "m" / "parity.html").write_bytes(b"page")
        assert outputs.staged(tmp_path / "net.onnx").read_bytes() == b"model"
        assert outputs.staged(tmp_path / "m" / "model.py").read_bytes() == b"pass"
        assert not [name for name in os.listdir(tmp_path) if not name.startswith(".")]
    assert sorted(os.listdir(tmp_path)) == ["m", "net.onnx"]
    assert sorted(os.listdir(tmp_path / "m")) == ["model.py", "parity.html"]


@pytest.mark.parametrize("older", [True, False])
def test_one_output_that_cannot_be_moved_keeps_all_others_back(tmp_path, older):
    if older:
        (tmp_path / "page").write_bytes(b"old page")

    def write():
        with Outputs() as outputs:
            outputs.file(tmp_path / "net").write_bytes(b"model")
            outputs.file(tmp_path / "page").write_bytes(b"page")
            (tmp_path / "net").mkdir()

    with pytest.raises(RequestError, match="is a directory where a file is to be written"):
        write()
    assert sorted(os.listdir(tmp_path)) == (["net", "page"] if older else ["net"])
    assert not older or (tmp_path / "page").read_bytes() == b"old page"


def test_what_is_written_beside_a_file_is_moved_with_it(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"old")
    (tmp_path / "net.onnx.data").write_bytes(b"old data")
    with atomic_path(tmp_path / "net.onnx") as name:
        name.write_bytes(b"new")
        name.with_name("net.onnx.data").write_bytes(b"new data")
    assert (tmp_path / "net.onnx").read_bytes() == b"new"
    assert (tmp_path / "net.onnx.data").read_bytes() == b"new data"
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.onnx.data"]
    assert not (tmp_path / "net.onnx").is_symlink()


def refuse(*_, **__):
    raise OSError(errno.EPERM, "no links here")


def test_a_file_system_without_links_never_shows_old_beside_new(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old")
    seen = set()
    replace = os.replace

    def watched(source, target):
        replace(source, target)
        seen.add(frozenset((tmp_path / name).read_text() for name in ("a", "b", "c") if (tmp_path / name).exists()))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr(os, "replace", watched)
    with atomic_directory(tmp_path) as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text("new")
    assert seen == {frozenset({"old"}), frozenset({"new"})}
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("failing", range(1, 4))
def test_a_move_that_fails_between_two_files_brings_the_old_back(tmp_path, monkeypatch, links, failing):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    replace, left = os.replace, [failing]

    def fails(source, target):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EIO, "input/output error")
        replace(source, target)

    def write():
        with atomic_directory(tmp_path) as folder:
            for name in ("a", "b"):
                (folder / name).write_text("new")
            if not links:
                monkeypatch.setattr(os, "symlink", refuse)
            monkeypatch.setattr(os, "replace", fails)

    if not links and failing == 3:
        pytest.skip("the last of the three renames; the old files are gone by then")
    with pytest.raises(RequestError, match="input/output error"):
        write()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old", "b": "old"}
    assert not any(p.is_symlink() for p in tmp_path.iterdir())


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_files_are_moved_waits_until_all_are(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    replace = os.replace

    def interrupted(source, target):
        os.kill(os.getpid(), signal.SIGINT)
        replace(source, target)

    def write():
        with atomic_directory(tmp_path) as folder:
            for name in ("a", "b"):
                (folder / name).write_text("new")
            monkeypatch.setattr(os, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_errors_name_the_target_and_not_where_it_lies_for_now(tmp_path):
    def check():
        with Outputs() as outputs:
            path = outputs.file(tmp_path / "net.onnx")
            raise RequestError(f"loading {path} failed", position=Position(str(path), 3))

    with pytest.raises(RequestError) as caught:
        check()
    assert str(caught.value) == f"{tmp_path}/net.onnx:3: error: loading {tmp_path}/net.onnx failed"


def test_who_asks_is_told_what_was_moved(tmp_path):
    with noting_outputs() as written:
        with atomic_file(tmp_path / "a") as file:
            assert written == []
        with suppress(ValueError), atomic_file(tmp_path / "b") as file:
            raise ValueError
        with atomic_directory(tmp_path / "c") as folder:
            (folder / "d").touch()
    assert file.closed
    assert written == [tmp_path / "a", tmp_path / "c" / "d"]
