"""`resnet-convert port` and `diff` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file

from prototxt import load_net
from resnet_convert.cli.main import main
from resnet_convert.requests import Layout
from tests.weights.layouts.porting_nets import seeded_arrays, weights_of
from weights import open_weights, write_caffemodel
from weights.layouts import LAYOUTS, layout


@pytest.fixture
def resnet50(tmp_path: Path) -> Path:
    write_caffemodel(tmp_path / "r50.caffemodel", "", weights_of(seeded_arrays(50, 7, factor=1.0)).layers)
    return tmp_path / "r50.caffemodel"


@pytest.fixture
def resnet18(tmp_path: Path) -> Path:
    write_caffemodel(tmp_path / "r18.caffemodel", "", weights_of(seeded_arrays(18, 7, factor=1.0)).layers)
    return tmp_path / "r18.caffemodel"


def test_the_options_name_every_layout() -> None:
    assert (*LAYOUTS, "caffe") == get_args(Layout)


def test_a_port_says_what_it_wrote_and_warns(resnet50: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = resnet50.with_name("out.safetensors")
    assert main(["port", str(resnet50), "--layout", "torchvision", "-o", str(output)]) == 0
    out, err = capsys.readouterr()
    assert out == f"ResNet-50, 7 classes: 267 arrays -> {output} (94.3 MB, the names of torchvision)\n"
    assert err.startswith(
        "warning: same shapes, other numbers: these weights want a bottleneck's stride in the first 1×1"
    )
    assert "fill the model of weights.layouts.torchvision.build(50)" in err
    with open_weights(resnet50) as weights:
        expected = layout("torchvision").to(weights)
        found = load_file(output)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_warns_of_what_differs_in_it(
    name: str, resnet50: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = resnet50.with_name("out.safetensors")
    assert main(["port", str(resnet50), "--layout", name, "-o", str(output), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["files"], facts["layout"], facts["depth"], facts["classes"]) == ([str(output)], name, 50, 7)
    [warning] = facts["warnings"]
    assert ("stride in the first 1×1" in warning) == (name in ("torchvision", "timm", "flax"))
    assert ("first pooling is not padded" in warning) == (name != "flax")


def test_a_basic_block_has_no_stride_to_warn_of(resnet18: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["port", str(resnet18), "--layout", "timm", "-q", "-o", str(resnet18.with_name("o.safetensors"))])
    assert capsys.readouterr().err == (
        "warning: same shapes, other numbers: Caffe's first pooling is not padded, that of timm is; "
        'fill weights.layouts.timm.patch(timm.create_model("resnet18"))\n'
    )


def test_names_are_made_where_none_is_given(
    resnet50: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(resnet50.parent)
    assert main(["port", "r50.caffemodel", "--layout", "keras"]) == 0
    assert main(["port", "r50_keras.weights.h5", "--from", "keras", "--layout", "mmdet"]) == 0
    assert main(["port", "r50_keras_mmdet.safetensors", "--from", "mmdet"]) == 0
    assert main(["diff", "r50.caffemodel", "r50_keras_mmdet.caffemodel"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "267 arrays in both files; different: none"


def test_the_way_back_warns_and_writes_the_net(resnet50: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ported, back, net = (str(resnet50.with_name(name)) for name in ("t.safetensors", "b.caffemodel", "b.prototxt"))
    assert main(["port", str(resnet50), "--layout", "torchvision", "-q", "-o", ported]) == 0
    capsys.readouterr()
    assert main(["port", ported, "--from", "torchvision", "-o", back]) == 0
    assert "weights that were trained in torchvision's own model" in capsys.readouterr().err
    assert main(["port", ported, "--from", "torchvision", "-o", back, "--net", "own", "--prototxt", net]) == 0
    assert capsys.readouterr().err == ""
    layers = {layer.name: layer.param for layer in load_net(Path(net)).layers}
    assert layers["pool1"].pooling_param.pad == 1
    assert list(layers["res3a_branch2b"].convolution_param.stride) == [2]
    assert layers["fc7"].inner_product_param.num_output == 7


def test_preprocessing_is_folded_from_values_or_a_file(resnet18: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", np.float32([104, 117, 123]))
    outputs = []
    for number, mean in enumerate(("104,117,123", str(tmp_path / "mean.npy"))):
        outputs.append(tmp_path / f"{number}.safetensors")
        words = ["--fold-preprocessing", "--input-order", "rgb", "--mean", mean, "--scale", "0.5"]
        assert main(["port", str(resnet18), "--layout", "timm", "-q", "-o", str(outputs[-1]), *words]) == 0
    first, second = map(load_file, outputs)
    kernel, (mean_sums, _, _) = seeded_arrays(18, 7)["conv1"][0], seeded_arrays(18, 7, factor=1.0)["bn_conv1"]
    assert np.array_equal(first["conv1.weight"], kernel[:, ::-1] * np.float32(0.5))
    taken = kernel.astype(np.float64).sum((2, 3)) @ [104, 117, 123] / 2
    assert np.allclose(first["bn1.running_mean"], mean_sums + taken, rtol=1e-6)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to do: name the layout to write (--layout), or the one that is read (--from)"),
        (["--layout", "keras"], "Keras has no ResNet-18; it has 50, 101 and 152"),
        (["--layout", "timm", "--mean", "1,2,3"], "--fold-preprocessing and what to fold"),
        (["--layout", "timm", "--fold-preprocessing"], "--fold-preprocessing and what to fold"),
        (["--layout", "timm", "--net", "own"], "a net is written for Caffe only, not for timm"),
        (
            ["--layout", "timm", "-o", "x.h5"],
            "weights for timm are written to a file that ends in .safetensors, .npz, .pth or .pt, not to 'x.h5'",
        ),
        (["--from", "timm", "-o", "back.caffemodel"], "is none of .safetensors, .npz, .h5, .pth, .pkl, .msgpack"),
        (["--from", "flax", "--net", "own", "-o", "back.caffemodel"], "Caffe has no layers for the own net of Flax"),
        (["--layout", "caffe2"], "invalid choice: 'caffe2'"),
    ],
)
def test_what_makes_no_sense_is_said(
    words: list[str], message: str, resnet18: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(resnet18.parent)
    assert main(["port", resnet18.name, *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert [path.name for path in resnet18.parent.iterdir()] == [resnet18.name]


def test_a_checkpoint_goes_there_and_back(
    resnet18: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(resnet18.parent)
    for name, form in (("torchvision", "net.pth"), ("detectron2", "net.pkl"), ("flax", "net.msgpack")):
        assert main(["port", resnet18.name, "--layout", name, "-q", "-o", form]) == 0
        assert main(["diff", form, resnet18.name, "-q"]) == 0
        capsys.readouterr()
        assert main(["port", form, "--layout", "timm"]) == 2
        assert f"{form}: error: is no file of Caffe's; say whose layout it has (--from)" in capsys.readouterr().err
        assert main(["port", form, "--from", name, "--net", "msra", "-q"]) == 0
        assert main(["diff", "net.caffemodel", form, "-q"]) == 0
        (resnet18.parent / "net.caffemodel").unlink()
    assert main(["port", "net.pth", "--from", "torchvision", "--layout", "mmdet", "-o", "net.pth"]) == 2
    assert "net.pth: error: is a file that is read; name another file to write" in capsys.readouterr().err
    assert main(["diff", "net.pth", resnet18.name, "-q"]) == 0


def test_a_checkpoint_that_is_damaged_or_hostile_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(50)}, "whole.pth")
    Path("cut.pth").write_bytes(Path("whole.pth").read_bytes()[:500])
    Path("evil.pkl").write_bytes(b"\x80\x02}S'x'\ncos\nsystem\n(S'touch mark'\ntRs.")
    Path("evil.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00touch mark\x85R.")
    reasons = {
        "cut.pth": "is damaged: ",
        "evil.pkl": "holds os.system; ",
        "evil.pth": "holds posix.system; of a pickle",
    }
    for name, reason in reasons.items():
        for words in (["diff", "whole.pth", name], ["port", name, "--from", "timm", "-o", "out.caffemodel"]):
            assert main(words) == 1
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"{name}: error: {reason}")
            assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pth", "evil.pkl", "evil.pth", "whole.pth"]


def test_a_safetensors_file_needs_its_layout_named(resnet18: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ported = resnet18.with_name("t.safetensors")
    assert main(["port", str(resnet18), "--layout", "timm", "-q", "-o", str(ported)]) == 0
    assert main(["port", str(ported), "--layout", "flax", "-o", str(ported.with_name("f.safetensors"))]) == 2
    assert f"{ported}: error: is no file of Caffe's; say whose layout it has (--from)" in capsys.readouterr().err


def test_diff_prints_a_table_and_tells_by_its_status(resnet18: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = seeded_arrays(18, 7, factor=1.0)
    arrays["fc7"][1][2] += 4
    other = resnet18.with_name("other.caffemodel")
    write_caffemodel(other, "", weights_of(arrays).layers)
    assert main(["diff", str(resnet18), str(other)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "parameter", "shape", "max", "abs", "max", "rel", "differ"]
    assert lines[1].split()[:4] == ["fc7", "bias", "7", "4"]
    assert lines[1].endswith("1 of 7")
    assert lines[-1] == "102 arrays in both files; different: 1 array of 1 layer"
    assert main(["diff", str(resnet18), str(other), "--tolerance", "10", "-q"]) == 0
    assert main(["diff", str(resnet18), str(other), "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert (facts["same"], facts["matched_by"], facts["compared"]) == (False, "resnet", 102)
    [entry] = facts["different"]
    assert (entry["layer"], entry["parameter"], entry["values"]) == ("fc7", "bias", 1)
    assert entry["max_abs"] == pytest.approx(4, rel=1e-6)
    assert main(["diff", str(resnet18), str(other), "--tolerance", "nan"]) == 2


def test_hostile_names_stay_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", **{"evil\x1b[31m\nname.w": np.float32([1]), "ok": np.float32([1])})
    np.savez(tmp_path / "b.npz", **{"evil\x1b[31m\nname.w": np.float32([2]), "../x\n": np.float32([1])})
    assert main(["diff", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 3
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5
