"""Solver states: read as protobuf and h5py read them, written as Caffe wrote them; all else is refused."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prototxt import caffe_pb2
from prototxt.errors import MissingDependencyError, RequestError, WeightsError
from tests.weights import caffe_bytes as wire
from weights import SolverState, blob_from_array, open_weights, read_solverstate, write_solverstate

SMALL = (
    wire.number(1, 6)
    + wire.text(2, "snap_iter_6.caffemodel")
    + wire.message(3, wire.floats([0.5, -1.5, 2.0, 3.0, 4.0, 5.25]), wire.shape(2, 3))
    + wire.message(3, wire.floats([7.0]), wire.shape(1))
    + wire.number(4, 2)
)
PLATEAU = wire.key(5, 5) + struct.pack("<f", 0.25) + wire.number(6, 4)


def read(folder: Path, data: bytes) -> SolverState:
    return read_solverstate(wire.saved(folder, data, "a.solverstate"))


def refusal(path: str) -> str:
    with pytest.raises(WeightsError) as caught:
        read_solverstate(path)
    assert caught.value.position is not None
    assert caught.value.position.path == path
    return str(caught.value).removeprefix(f"{path}: error: ")


def test_a_state_gives_its_numbers_and_its_history(tmp_path: Path) -> None:
    with read(tmp_path, SMALL + PLATEAU) as state:
        assert (state.iteration, state.current_step, state.learned_net) == (6, 2, "snap_iter_6.caffemodel")
        assert (state.minimum_loss, state.last_event) == (0.25, 4)
        assert [blob.shape for blob in state.history] == [(2, 3), (1,)]
        assert state.history[0].array()[1, 2] == 5.25
        assert state.history[1].array().tolist() == [7]


def test_what_a_state_does_not_say_has_caffes_defaults(tmp_path: Path) -> None:
    with read(tmp_path, wire.number(1, 0)) as state:
        assert (state.iteration, state.current_step, state.learned_net, state.history) == (0, 0, None, ())
        assert (state.minimum_loss, state.last_event) == (float(np.finfo(np.float32).max), None)


def test_fields_given_twice_and_old_forms_of_blobs_are_read_as_protobuf_does(tmp_path: Path) -> None:
    old = wire.message(3, wire.legacy_shape(1, 1, 2, 3) + wire.unpacked_floats(range(6)))
    doubles = wire.message(3, wire.unpacked_shape(2) + wire.doubles([1.5, 2.5]))
    losses = wire.key(5, 5) + struct.pack("<f", 3.0)
    with read(tmp_path, wire.number(1, 3) + old + losses + PLATEAU + doubles + wire.number(1, 9)) as state:
        assert (state.iteration, state.minimum_loss) == (9, 0.25)
        assert [(blob.shape, blob.legacy) for blob in state.history] == [((1, 1, 2, 3), True), ((2,), False)]
        assert state.history[1].array().tolist() == [1.5, 2.5]


def test_a_closed_state_can_be_read_no_more(tmp_path: Path) -> None:
    with read(tmp_path, SMALL) as state:
        kept = state.history[1].array()
    assert kept.tolist() == [7]
    with pytest.raises(WeightsError, match="is closed"):
        state.history[0].array()


def golden_states(shared: Path) -> list[Path]:
    found = sorted(shared.glob("golden/train/solver/*/snap_iter_6.solverstate"))
    assert len(found) == 19
    return [*found, shared / "digits" / "digits_resnet.solverstate"]


def test_caffes_own_states_come_back_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    for path in golden_states(shared):
        expected = caffe_pb2.SolverState.FromString(path.read_bytes())
        with read_solverstate(path) as state:
            assert (state.iteration, state.current_step) == (expected.iter, expected.current_step)
            assert state.learned_net == expected.learned_net
            for blob, theirs in zip(state.history, expected.history, strict=True):
                assert blob.shape == tuple(theirs.shape.dim)
                assert np.array_equal(blob.array().ravel(), np.array(theirs.data, np.float32))
            write_solverstate(tmp_path / "again.solverstate", state)
        assert (tmp_path / "again.solverstate").read_bytes() == path.read_bytes()


def test_caffes_hdf5_states_hold_what_the_binary_ones_do_and_come_back_in_caffes_layout(
    shared: Path, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    for path in golden_states(shared)[:-1]:
        with read_solverstate(path) as binary, read_solverstate(f"{path}.h5") as hdf5:
            assert (hdf5.iteration, hdf5.current_step) == (binary.iteration, binary.current_step)
            assert hdf5.learned_net == f"{binary.learned_net}.h5"
            for a, b in zip(binary.history, hdf5.history, strict=True):
                assert np.array_equal(a.array(), b.array())
            write_solverstate(tmp_path / "again.solverstate.h5", hdf5)
        with h5py.File(tmp_path / "again.solverstate.h5") as ours, h5py.File(f"{path}.h5") as caffes:
            assert layout(ours) == layout(caffes)


def layout(file: Any) -> dict[str, Any]:
    """Every dataset with its type as the file has it, its shape and its bytes."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            kind = item.id.get_type()
            padding = kind.get_strpad() if kind.get_class() == 3 else None
            found[name] = (kind.get_class(), kind.get_size(), padding, item.shape, np.asarray(item[()]).tobytes())

    file.visititems(visit)
    return found


@pytest.mark.parametrize("name", ["a.solverstate", "a.solverstate.h5"])
@pytest.mark.parametrize("event", [None, 4])
def test_what_is_written_reads_back(tmp_path: Path, name: str, event: int | None) -> None:
    rng = np.random.default_rng(8)
    arrays = [rng.standard_normal(shape, np.float32) for shape in ((2, 3, 5), (7,), (), (3, 0))]
    state = SolverState(
        2**31 - 1,
        [blob_from_array(array) for array in arrays],
        learned_net="models/netz-ü_iter_5.caffemodel",
        current_step=3,
        minimum_loss=0.125,
        last_event=event,
    )
    write_solverstate(tmp_path / name, state)
    with read_solverstate(tmp_path / name) as found:
        assert (found.iteration, found.current_step, found.learned_net) == (2**31 - 1, 3, state.learned_net)
        assert found.last_event == event
        assert event is None or found.minimum_loss == 0.125
        for blob, array in zip(found.history, arrays, strict=True):
            assert blob.shape == array.shape
            assert np.array_equal(blob.array(), array)


def test_protobuf_writes_the_same_bytes(tmp_path: Path) -> None:
    state = SolverState(300, [blob_from_array(np.float32([[1, 2, 3]]))], learned_net="a", last_event=0, minimum_loss=2)
    write_solverstate(tmp_path / "a.solverstate", state)
    data = (tmp_path / "a.solverstate").read_bytes()
    assert caffe_pb2.SolverState.FromString(data).SerializeToString() == data


def test_a_state_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with read(tmp_path, SMALL) as state:
        pass
    for name in ("b.solverstate", "b.solverstate.h5"):
        with pytest.raises(WeightsError, match="is closed"):
            write_solverstate(tmp_path / name, state)
        with pytest.raises(RequestError):
            write_solverstate(tmp_path / "absent" / name, state)
    assert [path.name for path in tmp_path.iterdir()] == ["a.solverstate"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SMALL[:-20], "is damaged or cut short: "),
        (SMALL[:40], "is damaged or cut short: "),
        (b"", "is empty"),
        (wire.SMALL, "is no solver state but a .caffemodel: give the .solverstate saved with it"),
        (wire.layer("a", "ReLU"), "is no solver state but a .caffemodel: give the .solverstate saved with it"),
        (wire.text(2, "x.caffemodel"), "is no solver state: it has no iteration"),
        (wire.number(1, -5), "has iteration -5; expected 0 to 2147483647"),
        (wire.number(1, 5) + wire.number(6, -1), "has iter_last_event -1; expected 0 to 2147483647"),
        (wire.number(1, 5) + wire.number(4, -1), "has current_step -1; expected 0 to 2147483647"),
        (
            SMALL + wire.message(3, wire.shape(2, 2), wire.floats([1, 2, 3])),
            "history blob 2 is 2×2, 4 values, but the file stores 3 values for it",
        ),
        (
            wire.number(1, 1) + wire.message(3, wire.shape(1 << 20, 1 << 20), wire.floats([1])),
            "history blob 0 is 1048576×1048576, more values than Caffe can count",
        ),
        (
            wire.number(1, 1) + wire.message(3, wire.message(5, b"abc")),
            "history blob 0 is damaged: 3 bytes at byte 6 are no whole number of 4-byte numbers",
        ),
        (b'net: "train_val.prototxt"\nbase_lr: 0.1\n', "is a prototxt, not a solver state"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG image, not a solver state"),
        (b"\x1f\x8b\x08" + bytes(40), "is a gzip archive: unpack it first"),
        (b"<!DOCTYPE html><html>", "is a web page, not a solver state"),
    ],
)
def test_what_is_no_solver_state_is_refused_with_the_reason(tmp_path: Path, data: bytes, message: str) -> None:
    said = refusal(wire.saved(tmp_path, data, "a.solverstate"))
    assert said.startswith(message) if message.endswith(" ") else said == message


def test_places_that_are_no_file_are_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "absent.solverstate")) == "no such file"
    assert refusal(str(tmp_path)) == "is a directory; a file is needed"
    assert refusal("a\0b") == "cannot be read: embedded null byte"


def test_more_history_than_any_net_has_is_refused(tmp_path: Path) -> None:
    data = wire.number(1, 1) + wire.message(3, wire.shape(0)) * 200_001
    said = refusal(wire.saved(tmp_path, data, "a.solverstate"))
    assert said == "is damaged or cut short: it holds more than 200,000 history blobs"


def test_without_h5py_an_hdf5_state_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wire.saved(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(64), "a.solverstate.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        read_solverstate(path)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        write_solverstate(tmp_path / "b.h5", SolverState(1, []))


def hdf5(folder: Path, change: Callable[[Any], None]) -> str:
    """A sound state, changed."""
    h5py = pytest.importorskip("h5py")
    path = folder / "a.solverstate.h5"
    history = [blob_from_array(np.float32([[1, 2, 3]])), blob_from_array(np.float32([4]))]
    write_solverstate(path, SolverState(6, history, learned_net="n.caffemodel.h5"))
    with h5py.File(path, "r+") as file:
        change(file)
    return str(path)


def put(key: str, value: object) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if key in file:
            del file[key]
        if value is not None:
            file[key] = value

    return change


def links_out(key: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        h5py = pytest.importorskip("h5py")
        del file[key]
        file[key] = h5py.ExternalLink("/etc/passwd", "/")

    return change


def promises(key: str, shape: tuple[int, ...]) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[key]
        file.create_dataset(key, shape, "<f4", chunks=tuple(min(dim, 16) for dim in shape))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("iter", None), "is no solver state: it has no 'iter' (not Caffe's)"),
        (put("history", None), "is no solver state: it has no 'history' (not Caffe's)"),
        (put("history", np.float32([1])), "has a dataset where the group 'history' belongs"),
        (put("iter", np.int32([1, 2])), "has no single value 'iter'"),
        (put("iter", np.float32([6])), "its 'iter' is of the wrong kind"),
        (put("iter", np.int64([1 << 40])), f"has iteration {1 << 40}; expected 0 to 2147483647"),
        (put("iter", np.int32([-2])), "has iteration -2; expected 0 to 2147483647"),
        (put("learned_net", np.int32([3])), "its 'learned_net' is of the wrong kind"),
        (put("learned_net", np.array(b"x" * 70_000)), "its 'learned_net' is of the wrong kind"),
        (put("history/0", None), "has no history blob 0 of 1"),
        (put("history/5", np.float32([1])), "has no history blob 2 of 3"),
        (put("history/1", np.array(b"words")), "layer 'history': blob 1 holds no numbers"),
        (links_out("history/0"), "has a link to elsewhere at '0', which is not followed"),
        (links_out("iter"), "has a link to elsewhere at 'iter', which is not followed"),
        (
            promises("history/0", (1 << 14, 1 << 14)),
            "layer 'history': blob 0 is 16384×16384, 1,073,741,824 bytes, but 0 bytes are stored",
        ),
    ],
)
def test_hostile_hdf5_states_are_refused(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    assert refusal(hdf5(tmp_path, change)) == message


def test_hdf5_weights_in_a_states_place_are_told(shared: Path) -> None:
    pytest.importorskip("h5py")
    path = shared / "golden" / "train" / "solver" / "sgd_poly" / "snap_iter_6.caffemodel.h5"
    assert refusal(str(path)) == "is no solver state: it has no 'iter' (Caffe weights)"


def test_an_hdf5_state_of_a_fork_and_one_without_weights_are_read(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["learned_net"]
        file["iter_last_event"], file["minimum_loss"] = np.int32([5]), np.float32([0.5])

    with read_solverstate(hdf5(tmp_path, change)) as state:
        assert (state.learned_net, state.last_event, state.minimum_loss) == (None, 5, 0.5)


def test_a_string_of_any_length_is_read(tmp_path: Path) -> None:
    """h5py's own strings are of variable length, Caffe's fixed."""
    with read_solverstate(hdf5(tmp_path, put("learned_net", "other.caffemodel.h5"))) as state:
        assert state.learned_net == "other.caffemodel.h5"


def test_a_state_is_not_taken_for_weights(tmp_path: Path) -> None:
    for path in (wire.saved(tmp_path, SMALL), hdf5(tmp_path, lambda _: None)):
        with pytest.raises(WeightsError, match=r"is a solver state \(\.solverstate"):
            open_weights(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=300)
@given(wire.mutated((SMALL, SMALL + PLATEAU)))
@example(SMALL)
@example(SMALL + PLATEAU)
def test_a_mutated_state_is_refused_or_read_as_protobuf_reads_it(folder: Path, data: bytes) -> None:
    path = wire.saved(folder, data, "mutated.solverstate")
    try:
        with read_solverstate(path) as state:
            found = [blob.array().ravel() for blob in state.history]
    except WeightsError:
        return
    try:
        expected = caffe_pb2.SolverState.FromString(data)
    except (DecodeError, UnicodeError):  # It holds strings to be UTF-8, which a path need not be.
        return
    assert (state.iteration, state.current_step) == (expected.iter, expected.current_step)
    for ours, theirs in zip(found, expected.history, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.array(theirs.double_data or theirs.data, np.float64).astype(np.float32)
        assert np.array_equal(ours, values, equal_nan=True) or theirs.raw_data


@settings(max_examples=150)
@given(st.data())
def test_a_mutated_hdf5_state_is_refused_or_read(folder: Path, data: st.DataObject) -> None:
    whole = folder / "whole.solverstate.h5"
    if not whole.exists():
        hdf5(folder, lambda _: None)
        (folder / "a.solverstate.h5").rename(whole)
    path = wire.saved(folder, data.draw(wire.mutated((whole.read_bytes(),))), "mutated.solverstate.h5")
    with suppress(WeightsError), read_solverstate(path) as state:
        for blob in state.history:
            blob.array()
