"""NET as a folder, wherever a net is taken: both files found, held against their sums, name and licence carried on."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import safetensors

import resnet_convert
from prototxt.errors import CaffeModelError, RequestError
from resnet_convert.cli.main import main
from tests.resnet_convert.zoo.folders import DATA, LABELS, SOLVER, URL, net, readme, weights

FOLDER = Path("models/a_net")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder() -> Path:
    net(FOLDER / "deploy.prototxt")
    net(FOLDER / "train_val.prototxt", start=DATA)
    (FOLDER / "solver.prototxt").write_text(SOLVER)
    weights(FOLDER / "a_net.caffemodel")
    readme(FOLDER, "a_net.caffemodel")
    return FOLDER


def metadata(path: str) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


def test_a_folder_is_converted_and_its_name_and_licence_are_carried_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--to", "onnx"]) == 0
    assert capsys.readouterr().out.startswith("the net: 2 layers -> a_net.onnx (")
    found = metadata("a_net.onnx")
    assert found["model_license"] == "unrestricted"
    assert found["resnet_convert.name"] == "A Net"
    assert found["resnet_convert.published_at"] == URL
    assert f"sha1: {found['resnet_convert.sha1']}" in (folder / "readme.md").read_text()
    files = json.loads(found["resnet_convert.inputs"])
    assert [each["file"] for each in files] == ["deploy.prototxt", "a_net.caffemodel"]


@pytest.mark.parametrize(
    ("to", "file"), [("torch", "a_net_torch/model.safetensors"), ("safetensors", "a_net.safetensors")]
)
def test_safetensors_carry_them_too(to: str, file: str, folder: Path) -> None:
    resnet_convert.convert(folder, to=to)  # type: ignore[arg-type]
    with safetensors.safe_open(file, "np") as stored:
        assert stored.metadata()["model_license"] == "unrestricted"
        assert stored.metadata()["resnet_convert.name"] == "A Net"


def test_every_verb_that_takes_a_net_takes_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(folder), "-o", "m.onnx", "-q"]) == 0
    assert main(["verify", str(folder), "m.onnx", "-q"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [layer["layer"] for layer in told["layers"]] == ["x", "ip0"]
    assert [Path(each["file"]).name for each in told["provenance"]["files"]] == ["deploy.prototxt", "a_net.caffemodel"]
    assert resnet_convert.verify(folder, None, "m.onnx").ok
    module = resnet_convert.load(folder)
    assert {name: tuple(each.shape) for name, each in module.state_dict().items()} == {
        "ip0.weight": (3, 5),
        "ip0.bias": (3,),
    }


def test_the_folder_that_one_is_in_is_named_by_its_own_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main([".", "-q"]) == 0
    assert Path("a_net.onnx").exists()


def test_another_file_than_was_published_is_refused_with_both_sums(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = readme(folder, "a_net.caffemodel").read_text().split("sha1: ")[1][:40]
    with (folder / "a_net.caffemodel").open("ab") as file:
        file.write(b"\0")
    assert main([str(folder), "-o", "m.onnx"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("models/a_net/a_net.caffemodel: error: its sha1 is ")
    assert said.endswith(f", but readme.md:6 states {stated}: not the file that was published, or not all of it\n")
    assert not Path("m.onnx").exists()


@pytest.mark.parametrize("verb", [["convert"], ["verify"], ["evaluate", "--data", "x"], ["port", "--layout", "timm"]])
def test_where_missing_weights_are_published_is_said(
    verb: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a_net.caffemodel").unlink()
    model = ["m.onnx"] if verb == ["verify"] else []
    assert main([verb[0], str(folder), *model, *verb[1:]]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "models/a_net/a_net.caffemodel: error: no such file, which readme.md names; it is published at"
    )
    assert f" {URL} (sha1 " in said


def test_layers_are_listed_and_fillers_used_without_the_weights(folder: Path) -> None:
    (folder / "a_net.caffemodel").unlink()
    assert main(["inspect", str(folder), "-q"]) == 0
    assert main([str(folder), "--random-weights", "0", "-q"]) == 0
    assert "model_license" not in metadata("a_net.onnx")


def test_weights_from_elsewhere_have_no_licence_of_the_folders(folder: Path) -> None:
    weights(Path("mine.caffemodel"), seed=1)
    assert main([str(folder), "mine.caffemodel", "-o", "m.onnx", "-q"]) == 0
    assert "model_license" not in metadata("m.onnx")
    assert "mine.caffemodel" in metadata("m.onnx")["resnet_convert.inputs"]


def test_a_folder_without_a_readme_has_the_one_pair_that_is_there(folder: Path) -> None:
    (folder / "readme.md").unlink()
    (folder / "labels.prototxt").write_text(LABELS)
    assert main([str(folder), "-q"]) == 0
    assert set(metadata("a_net.onnx")) == {f"resnet_convert.{name}" for name in ("inputs", "source", "tops")}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (lambda: weights(FOLDER / "b.caffemodel", seed=1), "with any of a_net.caffemodel and b.caffemodel"),
        (lambda: (FOLDER / "a_net.caffemodel").unlink(), "has no weight file of a net; there is deploy.prototxt"),
        (lambda: (FOLDER / "deploy.prototxt").write_text(LABELS), ""),
        (
            lambda: (net(FOLDER / "b.prototxt", (4,)), weights(FOLDER / "b.caffemodel", (4,))),
            "net: b.prototxt with b.caffemodel; deploy.prototxt with a_net.caffemodel; name the two files",
        ),
    ],
)  # fmt: skip
def test_a_folder_without_a_readme_that_is_not_one_net_is_refused(more, said: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
    (folder / "readme.md").unlink()
    more()
    if not said:  # the net for training is all that there is
        assert resnet_convert.inspect(folder, input_shapes={"x": (2, 5)}).net.path == "models/a_net/train_val.prototxt"
        return
    with pytest.raises(RequestError, match=said) as caught:
        resnet_convert.convert(folder)
    assert caught.value.position.path == "models/a_net"


def test_the_last_snapshot_counts(folder: Path) -> None:
    (folder / "readme.md").unlink()
    (folder / "a_net.caffemodel").rename(folder / "a_iter_900.caffemodel")
    weights(folder / "a_iter_10000.caffemodel", seed=1)
    resnet_convert.convert(folder, output="m.onnx")
    assert "a_iter_10000.caffemodel" in metadata("m.onnx")["resnet_convert.inputs"]


@pytest.mark.parametrize("made", ["empty", "file.txt"])
def test_a_folder_of_no_net_is_refused(made: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(CaffeModelError, match=r"has no prototxt of a net|can't read the file"):
        resnet_convert.convert(made)


def test_an_output_does_not_take_the_place_of_a_file_of_the_folder(folder: Path) -> None:
    with pytest.raises(RequestError, match="that is read"):
        resnet_convert.convert(folder, output=folder / "a_net.caffemodel")
