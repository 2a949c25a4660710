"""`batch DIR`: what it finds in a tree, says of it and makes of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from resnet_convert.cli.main import main
from tests.browser import visit
from tests.resnet_convert.batches.zoo import statuses
from tests.resnet_convert.test_json import check
from tests.resnet_convert.zoo.folders import DATA, SOLVER, URL, net, readme, weights

CARDS = ("lenet", "cifar10-full", "squeezenet-imagenet")
MODEL_YML = """\
files:
  - name: deploy.prototxt
    sha256: {net}
    source: http://example.org/deploy.prototxt
  - name: deploy.caffemodel
    size: {size}
    sha256: {weights}
    source: http://example.org/deploy.caffemodel
model_optimizer_args:
  - --input_shape=[2,5]
  - --input=x
  - --output=ip0
  - --input_model=$dl_dir/deploy.caffemodel
  - --input_proto=$dl_dir/deploy.prototxt
  - --keep_shape_ops
framework: caffe
license: http://example.org/LICENSE
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary(out: str = "out") -> Any:
    found = json.loads(Path(out, "summary.json").read_bytes())
    check("batch", found)
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_yml(folder: Path) -> None:
    prototxt, stored = net(folder / "deploy.prototxt"), weights(folder / "deploy.caffemodel")
    text = MODEL_YML.format(net=digest(prototxt), size=stored.stat().st_size, weights=digest(stored))
    (folder / "model.yml").write_text(text)


@pytest.mark.slow
def test_the_golden_models_as_a_zoo(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With three readmes, two ambiguous pairs and one missing file."""
    shutil.copytree(shared / "golden" / "models", "zoo")
    for path in Path("zoo").rglob("*"):
        path.chmod(0o755)
    for name in CARDS:
        Path("zoo", name, "net.prototxt").rename(f"zoo/{name}/deploy.prototxt")
        Path("zoo", name, "weights.caffemodel").rename(f"zoo/{name}/{name}.caffemodel")
        readme(Path("zoo", name), f"{name}.caffemodel", name=name.upper())
    Path("zoo/squeezenet-imagenet/squeezenet-imagenet.caffemodel").unlink()
    shutil.copy("zoo/mtcnn-det1/weights.caffemodel", "zoo/mtcnn-det1/weights2.caffemodel")
    shutil.copy("zoo/pcn-face-1/net.prototxt", "zoo/pcn-face-1/net2.prototxt")

    assert main(["batch", "zoo", "-o", "out"]) == 1
    kept = sorted(path.name for path in Path("zoo").iterdir())
    assert len(kept) == 18
    wrong = {"mtcnn-det1": "ambiguous", "pcn-face-1": "ambiguous", "squeezenet-imagenet": "missing"}
    assert statuses() == {name: wrong.get(name, "ok") for name in kept}
    found = {row["name"]: row for row in summary()["nets"]}
    for name in set(kept) - set(wrong):
        carded = name in CARDS
        suffix = ".h5" if name.endswith("hdf5") else ""
        assert found[name]["net"] == f"{name}/{'deploy' if carded else 'net'}.prototxt"
        assert found[name]["weights"] == f"{name}/{name if carded else 'weights'}.caffemodel{suffix}"
        assert found[name]["why"] == ("readme.md names it" if carded else "the only ones in their folder")
    said = {name: found[name]["message"].partition(" error: ")[2] for name in wrong}
    one = "name the pair that is meant in a manifest"
    assert said["mtcnn-det1"] == f"weights.caffemodel and weights2.caffemodel fit net.prototxt alike; {one}"
    assert said["pcn-face-1"] == f"weights.caffemodel fits net.prototxt and net2.prototxt alike; {one}"
    assert said["squeezenet-imagenet"].startswith(
        f"no such file, which readme.md names; it is published at {URL} (sha1 "
    )
    licences = {
        name: {entry.key: entry.value for entry in onnx.load(f"out/{name}/model.onnx").metadata_props}
        for name in ("lenet", "lstm-trading")
    }
    assert licences["lenet"]["model_license"] == "unrestricted"
    assert licences["lenet"]["resnet_convert.name"] == "LENET"
    assert "model_license" not in licences["lstm-trading"]
    out, err = capsys.readouterr()
    assert "lenet: lenet/deploy.prototxt + lenet.caffemodel: readme.md names it\n" in out
    assert err.splitlines()[-1] == "18 nets: 15 ok, 2 ambiguous, 1 missing; out/summary.html"


def test_a_tree_is_found_converted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    net(Path("zoo/one/deploy.prototxt"))
    net(Path("zoo/one/train_val.prototxt"), start=DATA)
    Path("zoo/one/solver.prototxt").write_text(SOLVER)
    weights(Path("zoo/one/one_iter_5.caffemodel"))
    readme(Path("zoo/one"), "one_iter_5.caffemodel")
    model_yml(Path("zoo/two"))
    net(Path("zoo/three/net.prototxt"))
    assert main(["batch", "zoo", "-o", "zoo/out", "-j", "1"]) == 1
    assert statuses("zoo/out") == {"one": "ok", "two": "ok", "three": "missing"}
    found = summary("zoo/out")
    assert found["left_out"] == [
        {"path": "one/solver.prototxt", "why": "a solver"},
        {"path": "one/train_val.prototxt", "why": "a net for training"},
    ]
    rows = {row["name"]: row for row in found["nets"]}
    assert rows["two"]["why"] == "model.yml names them; model.yml: --keep_shape_ops is not followed"
    assert rows["three"]["message"] == "zoo/three/net.prototxt: error: no weight file near it fits"
    licence = {entry.key: entry.value for entry in onnx.load("zoo/out/two/model.onnx").metadata_props}
    assert licence["model_license"] == "http://example.org/LICENSE"
    out, err = capsys.readouterr()
    assert out.splitlines()[:4] == [
        "one: one/deploy.prototxt + one_iter_5.caffemodel: readme.md names it",
        f"two: two/deploy.prototxt + deploy.caffemodel: {rows['two']['why']}",
        "left out: zoo/one/solver.prototxt: a solver",
        "left out: zoo/one/train_val.prototxt: a net for training",
    ]  # fmt: skip
    assert err.splitlines() == [
        "three: missing: zoo/three/net.prototxt: error: no weight file near it fits",
        "3 nets: 2 ok, 1 missing; zoo/out/summary.html",
    ]
    assert main(["batch", "zoo", "-o", "zoo/out", "-j", "1"]) == 1
    assert "2 of 3 nets done by an earlier run" in capsys.readouterr().out
    assert summary("zoo/out")["nets"] == found["nets"]
    readme(Path("zoo/one"), "one_iter_5.caffemodel", license="other")
    assert main(["batch", "zoo", "-o", "zoo/out", "-j", "1"]) == 1
    assert "1 of 3 nets done by an earlier run" in capsys.readouterr().out


def test_files_that_are_not_what_their_folder_states_are_not_converted() -> None:
    model_yml(Path("zoo/two"))
    weights(Path("zoo/two/deploy.caffemodel"), seed=1)
    net(Path("zoo/one/deploy.prototxt"))
    weights(Path("zoo/one/a.caffemodel"))
    readme(Path("zoo/one"), "a.caffemodel", sha1="0" * 40)
    assert main(["batch", "zoo", "-o", "out", "-q", "-j", "1"]) == 1
    said = {row["name"]: (row["status"], row["message"]) for row in summary()["nets"]}
    assert said["one"][0] == said["two"][0] == "failed"
    assert said["one"][1].startswith("one/a.caffemodel: error: its sha1 is ")
    assert f", but readme.md:6 states {'0' * 40}: not the file" in said["one"][1]
    assert said["two"][1].startswith("two/deploy.caffemodel: error: its sha256 is ")
    assert not Path("out/one/model.onnx").exists()


def test_missing_files_of_a_manifest_are_said_first_with_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    net(Path("zoo/one/deploy.prototxt"))
    weights(Path("zoo/one/w.caffemodel"))
    net(Path("zoo/two/deploy.prototxt"))
    readme(Path("zoo/two"), "w.caffemodel")
    rows = [
        "net,weights",
        "one/deploy.prototxt,one/w.caffemodel",
        "one/deploy.prototxt,one/x.caffemodel",
        "two,",
        "no,y",
    ]
    Path("zoo/zoo.csv").write_text("\n".join(rows))
    assert main(["batch", "zoo/zoo.csv", "-o", "out", "-j", "1"]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "one-2: missing: zoo/zoo.csv:3: error: weights one/x.caffemodel: no such file",
        f"two: missing: zoo/zoo.csv:4: {Path('zoo/two').absolute()}/w.caffemodel: error: no such file, which readme.md "
        f"names; it is published at {URL}",
        "no: missing: zoo/zoo.csv:5: error: net no: no such file (and 1 more)",
        "4 nets: 1 ok, 3 missing; out/summary.html",
    ]
    assert out.splitlines()[0].startswith("[4/4] one: ok ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zoo", "-o", "zoo"], "zoo: error: is the folder whose nets are converted; choose another -o"),
        (["empty", "-o", "out"], "empty: error: no prototxt or caffemodel of a net lies in this folder"),
    ],
)
def test_trees_that_make_no_batch(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    net(Path("zoo/one/deploy.prototxt"))
    Path("empty").mkdir()
    assert main(["batch", *words]) == 2
    assert capsys.readouterr().err == f"{said}\n"
    assert not Path("out").exists()


def test_the_nets_of_the_folder_itself_are_called_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net(Path("my zoo/deploy.prototxt"))
    weights(Path("my zoo/w.caffemodel"))
    monkeypatch.chdir("my zoo")
    assert main(["batch", ".", "-o", "../out", "-q", "--no-verify"]) == 0
    assert statuses("../out") == {"my_zoo": "ok"}


def test_names_in_another_encoding(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(b"zoo/\xb2\xe2 net"))
    net(folder / "deploy.prototxt")
    weights(folder / "w.caffemodel")
    (folder / "solver.prototxt").write_text(SOLVER)
    net(Path(os.fsdecode(b"zoo/\xca\xd4/deploy.prototxt")))
    assert main(["batch", "zoo", "-o", "out"]) == 1
    assert sorted(statuses().values()) == ["missing", "ok"]
    assert "\\xb2\\xe2 net/deploy.prototxt + w.caffemodel: the only ones" in capfd.readouterr().out
    assert "\\xb2\\xe2 net/solver.prototxt" in Path("out/summary.json").read_text().replace("\\\\", "\\")


@pytest.mark.slow
def test_a_large_tree_with_what_people_leave_in_it() -> None:
    """300 folders: blanks, other scripts, twins in one folder, loops, a damaged file, a folder as a prototxt."""
    root = Path("a zoo")
    wanted = {}
    for number in range(300):
        folder = root / ("家族 {}", "family {}", "f/{}/deep")[number % 3].format(number // 30) / f"网络 net-{number}"
        net(folder / "deploy.prototxt", (3 + number % 7,))
        weights(folder / f"w{number}.caffemodel", (3 + number % 7,), seed=number)
        wanted[str(folder.relative_to(root) / "deploy.prototxt")] = "ok"
    twins = root / "twins"
    for name in ("one", "two"):
        net(twins / f"{name}.prototxt", (50,))
        weights(twins / f"{name}.caffemodel", (50,))
        wanted[f"twins/{name}.prototxt"] = "ok"
    for name in ("x", "y"):
        net(root / "equal" / f"{name}.prototxt", (60,))
        weights(root / "equal" / f"{name}{name}.caffemodel", (60,))
    wanted["equal/x.prototxt"] = "ambiguous"
    (twins / "loop").symlink_to(root.absolute())
    (twins / "folder.prototxt").mkdir()
    net(root / "broken" / "deploy.prototxt")
    (root / "broken" / "w.caffemodel").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    wanted["broken/deploy.prototxt"] = "failed"
    assert main(["batch", str(root), "-o", "out", "-q", "--no-verify"]) == 1
    assert {row["net"]: row["status"] for row in summary()["nets"]} == wanted
    assert [row["message"] for row in summary()["nets"] if row["status"] == "ambiguous"] == [
        "a zoo/equal: error: xx.caffemodel and yy.caffemodel fit x.prototxt and y.prototxt alike; "
        "name the pair that is meant in a manifest"
    ]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_shows_what_was_found_and_why(width: int) -> None:
    net(Path("zoo/one/<b>.prototxt"))
    weights(Path("zoo/one/one.caffemodel"))
    Path("zoo/one/solver.prototxt").write_text(SOLVER)
    net(Path("zoo/three/net.prototxt"))
    assert main(["batch", "zoo", "-o", "out", "-q", "--no-verify"]) == 1
    seen = visit(
        Path("out/summary.html").absolute(),
        """
        seen.rows = all("#nets tbody tr").map((line) => line.textContent);
        seen.statuses = all("#status button").map((button) => button.textContent);
        find("#left summary").click();
        seen.left = all("#left li").map((line) => line.textContent);
        seen.hidden = find("#left").hidden;
        """,
        width,
    )
    assert (seen["errors"], seen["wide"]) == ([], False)
    assert seen["statuses"] == ["all", "missing 1", "ok 1"]
    missing, found = seen["rows"]  # type: ignore[misc]
    assert "zoo/three/net.prototxt: error: no weight file near it fits" in missing
    assert "one/<b>.prototxt + one/one.caffemodel: the only ones in their folder" in found
    assert (seen["left"], seen["hidden"]) == (["one/solver.prototxt: a solver"], False)
