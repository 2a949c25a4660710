"""Databases as Caffe's convert_imageset writes them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from prototxt.caffe_pb2 import Datum
from prototxt.errors import RequestError
from tests.verify.evaluation.datasets.test_sources import blues, labels, names
from verify.evaluation.datasets.opening import open_source
from verify.evaluation.records import ImageFault


def picture(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (9, 13, channels), dtype=np.uint8)


def raw(pixels: np.ndarray, label: int) -> bytes:
    """CVMatToDatum of io.cpp: planes, in the order of OpenCV's channels."""
    height, width, channels = pixels.shape
    datum = Datum(channels=channels, height=height, width=width, label=label, encoded=False)
    datum.data = pixels.transpose(2, 0, 1).tobytes()
    return datum.SerializeToString()


def packed(file: bytes, label: int) -> bytes:
    """ReadFileToDatum of io.cpp."""
    return Datum(data=file, label=label, encoded=True).SerializeToString()


def database(path: Path, values: list[bytes], start: int = 0) -> Path:
    """Keys as convert_imageset makes them: `%08d_` and the name of the line."""
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for number, value in enumerate(values, start):
            transaction.put(f"{number:08d}_val/{number}.JPEG".encode(), value)
    return path


def test_planes_of_bytes_become_bgr_pixels(tmp_path: Path) -> None:
    source = open_source(database(tmp_path / "val_lmdb", [raw(picture(seed), 7 - seed) for seed in range(3)]))
    assert names(source) == ["00000000_val/0.JPEG", "00000001_val/1.JPEG", "00000002_val/2.JPEG"]
    assert labels(source) == [7, 6, 5]
    for seed in range(3):
        found = source.read(seed, color=True)
        np.testing.assert_array_equal(found.pixels, picture(seed))
        assert found.kinds == ()
    np.testing.assert_array_equal(source.read(1, color=False).pixels, cv2.cvtColor(picture(1), cv2.COLOR_BGR2GRAY))


def test_grey_planes_stay_grey_or_fill_three_channels(tmp_path: Path) -> None:
    source = open_source(database(tmp_path / "grey", [raw(picture(channels=1), 2)]))
    np.testing.assert_array_equal(source.read(0, color=False).pixels, picture(channels=1)[:, :, 0])
    found = source.read(0, color=True)
    assert found.kinds == ("greyscale",)
    np.testing.assert_array_equal(found.pixels, cv2.cvtColor(picture(channels=1), cv2.COLOR_GRAY2BGR))


def test_encoded_files_are_decoded_as_files_are(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", picture())[1]
    png = cv2.imencode(".png", picture(channels=1))[1]
    source = open_source(database(tmp_path / "db", [packed(bytes(jpeg), 0), packed(bytes(png), 999)]))
    assert labels(source) == [0, 999]
    np.testing.assert_array_equal(source.read(0, color=True).pixels, cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(source.read(0, color=False).pixels, cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE))
    assert source.read(1, color=True).kinds == ("greyscale",)


def test_floats_that_are_pixels_are_read_and_others_are_a_fault(tmp_path: Path) -> None:
    whole, broken = Datum(channels=3, height=9, width=13, label=4), Datum(channels=3, height=9, width=13, label=4)
    whole.float_data.extend(picture().transpose(2, 0, 1).ravel().tolist())
    broken.CopyFrom(whole)
    broken.float_data[5] = 0.5
    outside = Datum(channels=1, height=1, width=2, float_data=[-1, 256], label=4)
    values = [datum.SerializeToString() for datum in (whole, broken, outside)]
    source = open_source(database(tmp_path / "db", values))
    np.testing.assert_array_equal(source.read(0, color=True).pixels, picture())
    assert labels(source) == [4, 4, 4]
    for index in (1, 2):
        with pytest.raises(ImageFault, match="floats that are no pixels"):
            source.read(index, color=True)


def test_damaged_values_are_faults_and_told(tmp_path: Path) -> None:
    liar = Datum(channels=3, height=1 << 20, width=1 << 20, data=b"123", label=1)
    four = Datum(channels=4, height=1, width=1, data=b"1234", label=1)
    values = [raw(picture(), 1), b"\xff\xff\xff", b"", liar.SerializeToString(), four.SerializeToString()]
    values.append(packed(b"no image", 1))
    source = open_source(database(tmp_path / "db", values))
    assert labels(source) == [1, None, None, 1, 1, 1]
    assert source.notes == ("2 values of the database are no Datum",)
    reasons = ["Datum is damaged", "Datum is 0×0×0", "has 3 values for 3×1048576×1048576", "is 4×1×1", "no image"]
    for index, why in enumerate(reasons, 1):
        with pytest.raises(ImageFault, match=why):
            source.read(index, color=True)


def test_a_datum_without_a_label_has_none(tmp_path: Path) -> None:
    datum = Datum(channels=1, height=1, width=2, data=b"12")
    assert labels(open_source(database(tmp_path / "db", [datum.SerializeToString()]))) == [None]


@pytest.mark.parametrize("label", [-1, -(1 << 31), 10_000_000])
def test_a_label_that_is_no_class_is_an_error_that_names_the_key(label: int, tmp_path: Path) -> None:
    path = database(tmp_path / "db", [raw(picture(), 0), raw(picture(), label)])
    with pytest.raises(RequestError, match=f"the label of 00000001_val/1.JPEG is {label}; labels count from 0"):
        open_source(path)


def test_classes_come_from_the_users_list(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    path = database(tmp_path / "db", [raw(picture(), 1)])
    assert open_source(path, synsets=tmp_path / "classes.txt").classes == ("cat", "dog")
    assert open_source(path / "data.mdb").classes == ()


def test_two_sources_copies_threads_and_processes_read_at_once(tmp_path: Path) -> None:
    solid = [raw(np.full((9, 13, 3), value, np.uint8), value) for value in range(100)]
    path = database(tmp_path / "db", solid)
    first, second = open_source(path), open_source(path)
    copy = pickle.loads(pickle.dumps(first))
    for source in (first, second, copy):
        with ThreadPoolExecutor(8) as pool:
            found = list(
                pool.map(lambda index, source=source: source.read(index, color=True).pixels[0, 0, 0], range(100))
            )
        assert found == list(range(100))
    child = os.fork()
    if not child:
        os._exit(0 if blues(copy) == list(range(100)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(blues, (copy,)) == list(range(100))


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = database(tmp_path / "db", [raw(picture(), 1)])
    (path / "lock.mdb").unlink()
    path.chmod(0o555)
    (path / "data.mdb").chmod(0o444)
    assert blues(open_source(path)) == [int(picture()[0, 0, 0])]
    assert [entry.name for entry in path.iterdir()] == ["data.mdb"]


def test_a_database_that_is_cut_short_damaged_or_empty_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path / "db", [raw(picture(seed), 1) for seed in range(200)])
    size = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", size // 2)
    with pytest.raises(RequestError, match=r"data.mdb is cut short: it has \d+ of \d+ bytes"):
        open_source(path)
    (path / "data.mdb").write_bytes(b"no database" * 999)
    with pytest.raises(RequestError, match="is no LMDB, or a damaged one"):
        open_source(path)
    (path / "data.mdb").write_bytes(b"")
    with pytest.raises(RequestError, match="LMDB"):
        open_source(path)
    with pytest.raises(RequestError, match="is an empty LMDB"):
        open_source(database(tmp_path / "empty", []))


def test_other_databases_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="whose values are not what convert_imageset writes"):
        open_source(database(tmp_path / "other", [b"\x80\x04pickle", b"text"]))
    level = tmp_path / "level"
    level.mkdir()
    (level / "CURRENT").write_text("MANIFEST-000002\n")
    (level / "MANIFEST-000002").write_bytes(b"\0")
    with pytest.raises(RequestError, match="is a LevelDB"):
        open_source(level)


def test_labels_from_elsewhere_are_refused(tmp_path: Path) -> None:
    path = database(tmp_path / "db", [raw(picture(), 1)])
    (tmp_path / "val.txt").write_text("a 1\n")
    with pytest.raises(RequestError, match="has its labels in it"):
        open_source(path, labels=tmp_path / "val.txt")
