"""Small files that ask for much: each is refused in bounded time and memory, by an error of ours."""

from __future__ import annotations

import bz2
import io
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzzing_targets import RUN, TARGETS
from converter.building.build import build
from converter.building.parameters import RandomParameters
from prototxt import Net, load_net, parse_net
from prototxt.caffe_pb2 import BlobProto
from prototxt.errors import MOST_ERRORS, MOST_SHOWN, CaffeModelError, ErrorGroup, RequestError, WeightsError
from verify.evaluation.datasets import archives, decoding, matlab
from verify.inputs import input_shapes
from verify.interpreter import run
from verify.interpreter.wiring import wire
from weights import load_mean
from weights import machine as weights_machine
from weights.blobproto import MOST_STRANGE
from weights.layouts.compare import compare
from weights.layouts.files import open_arrays
from weights.wire import prefixed

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = ROOT / "tests" / "hostile"
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }\n'
ARCHIVE = "is no tar archive, or a damaged one: "

REFUSED = {
    "anchor_inf.prototxt": "anchor_scale is inf, 4; expected 2 numbers above 0, below 1e+06",
    "bilinear_scale_huge.prototxt": "scale_factor 1e+38 makes 4e+38 of 4; a blob holds fewer",
    "bilinear_scale_inf.prototxt": "scale_factor is inf; expected a number above 0",
    "classes_by_the_billion.prototxt": "num_classes is 1000000000; expected at most 100000",
    "eta_near_one.prototxt": "eta is 0.9999999: the limit falls more than 100 times",
    "landmark_map_nan.prototxt": "spatial_scale is nan; expected a number above 0",
    "outputs_by_the_billion.prototxt": "its weight is 1000000000×1: the values that the net's layers without weights "
    "start from would take 8.0 GB; at most 2.1 GB are made",
    "overlap_inf.prototxt": "nms_threshold is inf; expected at least 0",
    "parameter_by_the_billion.prototxt": "its value is 1000×1000×1000: the values that the net's layers without "
    "weights start from would take 4.0 GB; at most 2.1 GB are made",
    "prior_boxes_by_the_billion.prototxt": "a blob of the layer is 1×2×900000000: its numbers stand in the model, "
    "which takes at most 16777216 of them",
    "reshape_to_65536_axes.prototxt": "65536 sizes; a blob has 32 axes at most",
    "samples_by_the_billion.prototxt": "sampling_ratio is 1000000000; expected at most 1000",
    "steps_by_the_million.prototxt": "10000000 time steps; the net is unrolled over at most 10000",
    "transitions_by_the_billion.prototxt": "numTransition is 1000000000; expected at most 1000",
    "upsample_scale_inf.prototxt": "scale is inf; expected a whole number, 1 or more",
    "upsample_scale_nan.prototxt": "scale is nan; expected a whole number, 1 or more",
    "windows_by_the_billion.prototxt": "the model would hold 1073741824 numbers for it; at most 67108864 can be",
    "diff_runtimeerror.h5": "is a damaged HDF5 file: Unable to synchronously check link existence "
    "(address of object past end of allocation)",
    "deep.journal": "is damaged: no line of a journal; begin anew without --resume",
    "infinite.journal": "is damaged: inf is no image; begin anew without --resume",
}


@pytest.fixture(autouse=True)
def _memory_of_24_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_machine, "physical_memory", lambda: 24_000_000_000)
    monkeypatch.setattr("verify.machine.physical_memory", lambda: 24_000_000_000)


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_a_hostile_file_is_refused_before_anything_is_allocated(name: str, message: str, tmp_path: Path) -> None:
    target = next(target for target in TARGETS.values() if name.endswith(target.suffix))
    path = tmp_path / name
    path.write_bytes((HOSTILE / name).read_bytes())
    tracemalloc.start()
    with pytest.raises(CaffeModelError) as caught:
        target.check(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.message == message
    assert peak < 100e6


def test_damaged_hdf5_is_refused_by_what_asks_first_whose_it_is() -> None:
    path = HOSTILE / "diff_runtimeerror.h5"
    with pytest.raises(WeightsError, match="is damaged: Unable to synchronously check link existence"):
        compare(path, path)


@pytest.mark.parametrize("name", ["input_by_the_billion", "tiles_by_the_billion"])
def test_a_net_whose_blobs_do_not_fit_into_memory_is_not_run(name: str) -> None:
    net = load_net(HOSTILE / f"{name}.prototxt")
    tracemalloc.start()
    with pytest.raises(CaffeModelError, match="memory") as caught:
        run(net, None, {top: np.ones(shape, np.float32) for top, shape in input_shapes(net, ["x"]).items()})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(caught.value, RequestError) == name.startswith("input")
    assert peak < 100e6


def test_random_weights_are_at_most_a_quarter_of_a_small_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = parse_net(
        INPUT + 'layer { name: "f" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 100000 } }"
    )
    build(net, None, make=RandomParameters(0))
    monkeypatch.setattr(weights_machine, "physical_memory", lambda: 4_000_000)
    with pytest.raises(CaffeModelError, match=r"at most 0\.0 GB are made"):
        build(net, None, make=RandomParameters(0))


def test_a_containers_limit_counts_as_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(weights_machine, "_OF_CONTAINER", (str(limit),))
    machine = weights_machine.physical_memory()
    limit.write_text("12345678\n")
    assert weights_machine.physical_memory() == 12345678
    limit.write_text("max\n")
    assert weights_machine.physical_memory() == machine


def many(layer: str) -> Net:
    """A net of 3,000 layers, `#` in each being its number."""
    return parse_net(INPUT + "".join(layer.replace("#", str(i)) + "\n" for i in range(3000)), "n.prototxt")


def test_unknown_types_by_the_thousand_are_one_message_of_bounded_length() -> None:
    with pytest.raises(ErrorGroup) as caught:
        build(many('layer { name: "l#" type: "Strange#" bottom: "x" top: "t#" }'), None)
    assert len(caught.value.errors) == MOST_ERRORS
    lines = str(caught.value).splitlines()
    assert len(lines) == MOST_SHOWN + 1
    assert (
        lines[0]
        == "n.prototxt:2:20: error: layer 'l0' (Strange0): unknown layer type 'Strange0'; --plugin FILE.py supplies it"
    )
    assert lines[-1] == "error: and 900 more"


def test_what_was_meant_is_looked_for_as_often_as_it_is_shown() -> None:
    net = many('layer { name: "l#" type: "ReLU" bottom: "xx" top: "t#" }')
    for raised in (lambda: build(net, None), lambda: wire(net, None)):
        with pytest.raises(ErrorGroup) as caught:
            raised()
        hinted = ["did you mean 'x'" in str(error) for error in caught.value.errors]
        assert hinted[:MOST_SHOWN] == [True] * MOST_SHOWN
        assert not any(hinted[MOST_SHOWN:])


def test_layers_without_weights_by_the_thousand_are_named_by_the_hundred() -> None:
    net = many('layer { name: "l#" type: "InnerProduct" bottom: "x" top: "t#" inner_product_param { num_output: 1 } }')
    with pytest.raises(WeightsError) as caught:
        build(net, None)
    assert caught.value.message.startswith("3000 layers need weights")
    assert caught.value.message.endswith("l98, l99 and 2,900 more")


def test_warnings_by_the_thousand_are_a_hundred_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    fields = "".join(f"strange_{i}: 1\n" for i in range(900))
    parse_net(INPUT + fields, "n.prototxt", allow_unknown=True)
    assert len(caplog.messages) == MOST_SHOWN + 1
    assert caplog.messages[-1] == "n.prototxt: warning: and 800 more warnings"


def test_repairs_by_the_thousand_are_a_hundred_warnings_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    many('layer { name: "l#" type: RELU bottom: "x" top: "t#" }')
    assert len(caplog.messages) == MOST_SHOWN + 1
    assert caplog.messages[-1] == "n.prototxt: warning: and 2900 more warnings"


def test_strange_fields_of_a_mean_by_the_thousand_are_named_by_the_dozen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blob = BlobProto(num=1, channels=1, height=1, width=1, data=[1.0]).SerializeToString()
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(blob + b"".join(prefixed(number, b"x") for number in range(100, 3000)))
    load_mean(path)
    assert len(caplog.messages) == MOST_STRANGE


def test_a_tar_that_leads_back_is_refused() -> None:
    """In a process of its own: before, it was read without end."""
    code = (
        "import sys; from verify.evaluation.datasets.archives import TarStore; TarStore(sys.argv[1], compressed=False)"
    )
    command = [sys.executable, "-c", code, HOSTILE / "leads_back.tar"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert f"{ARCHIVE}it goes back at byte 512" in done.stderr


def test_an_archive_that_expands_without_end_is_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_EXPANDED", 1 << 20)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.bmp")
        info.size = 8 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    path = tmp_path / "bomb.tar.bz2"
    path.write_bytes(bz2.compress(out.getvalue()))
    with pytest.raises(RequestError, match="it expands to more than 100 times its size"):
        archives.TarStore(str(path), compressed=True)


def test_an_image_of_a_few_bytes_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 20_000  # 400 million pixels, which OpenCV takes by default
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path = tmp_path / "wide.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    code = (
        "import sys; from verify.evaluation.datasets.decoding import decode\n"
        "decode(open(sys.argv[1], 'rb').read(), color=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "ImageFault: it has more pixels than OpenCV takes" in done.stderr
    assert side * side > decoding.LARGEST_IMAGE


def test_an_array_that_unpacks_to_more_than_deflate_can_make_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(10_000_000, np.float32))
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", out.getvalue())
    with pytest.raises(WeightsError, match="'a' has 40,000,128 bytes, but"), open_arrays(path):
        pass


def test_a_damaged_lzma_member_is_an_error_of_ours(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.arange(1000, dtype=np.float32))
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", out.getvalue())
    data = bytearray(path.read_bytes())
    data[45:55] = b"\xff" * 10
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged"), open_arrays(path) as arrays:
        arrays["a"].array()


def test_a_mat_file_of_elements_without_number_is_refused() -> None:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    elements = struct.pack("<II", 1, 0) * 1_000_000
    matrix = struct.pack("<II", 14, len(elements)) + elements
    packed = zlib.compress(matrix)
    with pytest.raises(RequestError, match="more than 100000 elements in one"):
        matlab.read_meta(header + struct.pack("<II", 15, len(packed)) + packed, "meta.mat")


def test_the_first_number_of_an_element_is_read_without_the_others() -> None:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    wide = struct.pack("<II", 2, 50_000_000) + bytes(50_000_000)
    matrix = wide + wide + struct.pack("<II", 1, 7) + b"synsets\0"
    data = header + struct.pack("<II", 14, len(matrix)) + matrix
    tracemalloc.start()
    with pytest.raises(RequestError):
        matlab.read_meta(data, "meta.mat")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_journals_of_the_hostile_folder_belong_to_the_run_that_reads_them() -> None:
    """Else they would be refused for that."""
    for name in ("deep.journal", "infinite.journal"):
        head = (HOSTILE / name).read_text().splitlines()[0]
        assert all(f'"{key}": "{value}"' in head for key, value in RUN.items())
