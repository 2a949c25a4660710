"""Names that are no UTF-8, from the files of Caffe to models, by a small net in GBK, Shift-JIS and Latin-1."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from converter.api import convert
from converter.options import Options
from prototxt import load_net
from prototxt.names import from_bytes, to_bytes, utf8
from prototxt.upgrade import upgrade_net
from resnet_convert.cli.main import main
from verify import verify_model
from weights import blob_from_array, open_weights, write_caffemodel, write_hdf5
from weights.model import LayerRecord
from weights.strings import message_bytes
from weights.wire import prefixed

NET = b"""# %(comment)s
input: "%(data)s" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5
layer { name: "%(first)s" type: "Convolution" bottom: "%(data)s" top: "%(first)s" param { name: "%(shared)s" }
  convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
layer { name: "%(second)s" type: "Convolution" bottom: "%(first)s" top: "%(second)s" param { name: "%(shared)s" }
  convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }
layer { name: "relu" type: "ReLU" bottom: "%(second)s" top: "%(second)s" }
layer { name: "a" type: "TanH" bottom: "%(second)s" top: "%(one)s" }
layer { name: "b" type: "AbsVal" bottom: "%(second)s" top: "%(other)s" }
"""
CHINESE = ("数据", "卷积一", "卷积二", "共享", "输出", "全连接", "注释")
JAPANESE = ("入力", "畳込一", "畳込二", "共有", "出力", "全結合", "注釈")
FRENCH = ("données", "entrée", "milieu é", "partagé", "sortie ê", "à côté", "déjà")


def names(words: tuple[str, ...], encoding: str, of_comment: str = "") -> dict[bytes, bytes]:
    keys = (b"data", b"first", b"second", b"shared", b"one", b"other", b"comment")
    found = dict(zip(keys, (word.encode(encoding) for word in words), strict=True))
    return found | {b"comment": words[-1].encode(of_comment or encoding)}


CASES = {
    "gbk": names(CHINESE, "gbk"),
    "shift-jis": names(JAPANESE, "shift-jis"),
    "latin-1": names(FRENCH, "latin-1"),
    "utf-8": names(CHINESE, "utf-8"),
    "utf-8 with a comment in gbk": names(CHINESE, "utf-8", "gbk"),
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    """A net, its weights in both forms in the working directory; the names in it."""
    monkeypatch.chdir(tmp_path)
    found = CASES[request.param]
    Path("net.prototxt").write_bytes(NET % found)
    values = np.random.default_rng(0).standard_normal((3, 3, 1, 1))
    layers = [
        LayerRecord(
            layer.name,
            layer.type,
            (blob_from_array(values),) if layer.type == "Convolution" else (),
            message_bytes(layer.param),
        )
        for layer in load_net("net.prototxt").layers
    ]
    write_caffemodel("w.caffemodel", "", layers)
    write_hdf5("w.caffemodel.h5", layers)
    return found


def text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in name)


def test_files_hold_the_names_as_bytes(case: dict[bytes, bytes]) -> None:
    stored = Path("w.caffemodel").read_bytes()
    assert all(name in stored for key, name in case.items() if key != b"comment")
    for file in ("w.caffemodel", "w.caffemodel.h5"):
        with open_weights(file) as weights:
            found = [to_bytes(layer.name) for layer in weights.layers if layer.blobs]
        assert sorted(found) == sorted((case[b"first"], case[b"second"]))


@pytest.mark.parametrize(
    "files", [("net.prototxt", "w.caffemodel"), ("net.prototxt", "w.caffemodel.h5"), ("w.caffemodel",)]
)
def test_onnx_has_the_blobs_in_utf_8_and_is_verified(case: dict[bytes, bytes], files: tuple[str, ...]) -> None:
    import onnx

    assert main([*files, "-q", "-o", "m.onnx"]) == 0
    graph = onnx.load("m.onnx").graph
    assert [i.name for i in graph.input] == [text(case[b"data"])]
    assert [o.name for o in graph.output] == [text(case[b"one"]), text(case[b"other"])]


def test_torch_gives_its_outputs_by_the_same_names(case: dict[bytes, bytes]) -> None:
    done = convert("net.prototxt", "w.caffemodel", to="torch", output="m")
    with open_weights("w.caffemodel") as weights:
        report = verify_model(done.net, weights, "m")
    assert report.ok
    assert {row.top for row in report.shipped} == {text(case[b"one"]), text(case[b"other"])}
    assert {row.top for row in report.rows} >= {text(case[b"first"]), text(case[b"second"])}
    assert repr(text(case[b"other"])) in Path("m/model.py").read_text(encoding="utf-8")


def test_caffe_gets_its_own_bytes_back(case: dict[bytes, bytes]) -> None:
    assert main(["net.prototxt", "w.caffemodel", "-q", "--to", "caffe", "-o", "m"]) == 0
    for file in ("deploy.prototxt", "model.caffemodel"):
        written = Path("m", file).read_bytes()
        assert all(name in written for key, name in case.items() if key != b"comment")


def test_an_upgraded_file_has_the_same_names(case: dict[bytes, bytes]) -> None:
    expected = upgrade_net(load_net("net.prototxt").message).message
    assert main(["upgrade", "net.prototxt", "-q", "-o", "new.prototxt"]) == 0
    assert load_net("new.prototxt").message == expected
    assert case[b"first"] in Path("new.prototxt").read_bytes()


def test_an_upgrade_on_the_terminal_is_text_that_holds_the_same_names(
    case: dict[bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upgrade", "net.prototxt", "-q"]) == 0
    Path("new.prototxt").write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_net("new.prototxt").message == load_net("net.prototxt").message
    assert main(["upgrade", "w.caffemodel", "-q", "-o", "new.caffemodel"]) == 0
    with open_weights("new.caffemodel") as new, open_weights("w.caffemodel") as old:
        assert [layer.name for layer in new.layers] == [layer.name for layer in old.layers]


@pytest.mark.parametrize("form", ["bytes", "escape"])
def test_options_name_blobs_by_bytes_or_by_their_escapes(case: dict[bytes, bytes], form: str) -> None:
    def given(name: bytes) -> str:
        return os.fsdecode(name) if form == "bytes" else text(name)

    words = ["--outputs", given(case[b"other"]), "--input-shape", f"{given(case[b'data'])}=2,3,6,7"]
    assert main(["net.prototxt", "w.caffemodel", "-q", "-o", "m.onnx", *words]) == 0
    assert main(["verify", "net.prototxt", "w.caffemodel", "m.onnx", "-q", *words[2:]]) == 0
    assert main(["inspect", "net.prototxt", "w.caffemodel", "-q", *words]) == 0


@pytest.mark.parametrize("form", ["safetensors", "npz", "hdf5"])
def test_files_of_weights_have_the_names_in_utf_8(
    case: dict[bytes, bytes], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = {"safetensors": "w.safetensors", "npz": "w.npz", "hdf5": "w.h5"}[form]
    assert main(["net.prototxt", "w.caffemodel", "-q", "--to", form, "-o", file]) == 0
    assert main(["diff", "w.caffemodel", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["matched_by"], found["compared"]) == ("names", 2)


def test_names_in_json_and_reports_are_those_of_the_model(
    case: dict[bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["net.prototxt", "w.caffemodel", "--json", "-o", "m.onnx", "--report", "r.html"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["inputs"]) == list(found["verification"]["inputs"]) == [text(case[b"data"])]
    assert found["outputs"] == [text(case[b"one"]), text(case[b"other"])]
    assert main(["inspect", "net.prototxt", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["layers"]
    assert text(case[b"second"]) in [row["layer"] for row in rows]


def test_a_blob_that_looks_like_anothers_escape_keeps_its_name(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "n.prototxt"
    path.write_bytes(
        b'input: "\xe9" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4\n'
        b'layer { name: "a" type: "ReLU" bottom: "\xe9" top: "\xff" }\n'
        b'layer { name: "b" type: "TanH" bottom: "\xff" top: "\\\\xff" }\n'
        b'layer { name: "c" type: "AbsVal" bottom: "\xff" top: "\xfe" }\n'
    )
    net = load_net(path)
    for to, target in (("onnx", tmp_path / "m.onnx"), ("torch", tmp_path / "m")):
        outputs = [from_bytes(b"\xff"), r"\xff", r"\xfe"]
        convert(path, to=to, output=target, options=Options(outputs=outputs))  # type: ignore[arg-type]
        assert verify_model(net, None, target).ok
    assert [o.name for o in onnx.load(tmp_path / "m.onnx").graph.output] == [r"\xff/a", r"\xff", r"\xfe"]
    assert utf8(from_bytes(b"\xff")) == r"\xff"


def test_an_input_field_of_a_binary_net_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    monkeypatch.chdir(tmp_path)
    layer = prefixed(1, b"r") + prefixed(2, b"ReLU") + prefixed(3, b"\xff") + prefixed(4, b"y")
    shape = prefixed(8, b"\x08\x02\x08\x03")
    Path("n.caffemodel").write_bytes(prefixed(3, b"\xff") + shape + prefixed(100, layer))
    assert main(["n.caffemodel", "-q", "-o", "m.onnx"]) == 0
    assert [i.name for i in onnx.load("m.onnx").graph.input] == [r"\xff"]


@pytest.mark.parametrize("case", ["gbk"], indirect=True)
def test_a_judge_that_knows_names_in_utf_8_alone_is_refused(
    case: dict[bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    assert main(["net.prototxt", "w.caffemodel", "-q", "-o", "m.onnx"]) == 0
    assert main(["verify", "net.prototxt", "w.caffemodel", "m.onnx", "--judge", "opencv"]) == 2
    assert "can't be asked for blobs of names that are no UTF-8" in capsys.readouterr().err
