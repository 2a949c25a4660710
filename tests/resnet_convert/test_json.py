"""All JSON that is written is as docs/schemas describes it, field by field."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from prototxt.version import VERSION
from resnet_convert.cli.main import main
from tests.resnet_convert.batches.zoo import make_zoo, manifest
from tests.resnet_convert.classifying.colors import quarters, write_detector
from tests.weights.layouts.porting_nets import seeded_arrays, weights_of
from weights import LayerWeights, blob_from_array, open_weights, write_caffemodel

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "docs" / "schemas").iterdir()}
RESOURCES: list[tuple[str, Resource[Any]]] = [
    (f"{name}.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()
]
DIGITS = ROOT / "examples" / "digits"
NET, WEIGHTS = str(DIGITS / "deploy.prototxt"), str(DIGITS / "digits_resnet.caffemodel")
DATA = ["--data", str(DIGITS / "val"), "--limit", "40"]
LABELS = ["--labels", str(DIGITS / "val.txt")]
MEAN = ["--mean", str(DIGITS / "mean.binaryproto")]
FREE_NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 7 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
"""


def check(name: str, made: Any) -> None:
    """Raises ValidationError for what the schema does not describe."""
    registry: Registry[Any] = Registry().with_resources(RESOURCES)
    Draft202012Validator(SCHEMAS[name], registry=registry).validate(made)


def strictly(text: str) -> Any:
    """JSON, without the numbers that it does not have."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command line prints with `--json`, checked against its verb's schema."""

    def run(*words: str, status: int = 0) -> Any:
        assert main([*words, "--json"]) == status
        made = strictly(capsys.readouterr().out)
        check(words[0], made)
        return made

    return run


def changed_weights(path: Path, layer: str, change: Callable[[list[np.ndarray]], None]) -> str:
    """The digits' weights with one layer's blobs changed."""
    with open_weights(WEIGHTS) as weights:
        layers = []
        for stored in weights.layers:
            blobs = [np.array(blob.array()) for blob in stored.blobs]
            if stored.name == layer:
                change(blobs)
            layers.append(LayerWeights(stored.name, stored.type, tuple(map(blob_from_array, blobs))))
        write_caffemodel(path, "changed", layers)
    return str(path)


def test_a_conversion_and_its_comparison_are_described(printed: Callable[..., Any]) -> None:
    made = printed("convert", NET, WEIGHTS, "-o", "digits.onnx")
    assert made["verification"]["rows"]
    assert printed("convert", NET, WEIGHTS, "--to", "npz", "-o", "digits.npz")["verification"] is None
    Path("free.prototxt").write_text(FREE_NET)
    free = printed("convert", "free.prototxt", "--random-weights", "1", "--input-shape", "x=N,3,H,7", "-o", "free.onnx")
    assert free["inputs"] == {"x": ["N", 3, "H", 7]}


def test_reports_of_models_good_and_bad_are_described(printed: Callable[..., Any]) -> None:
    assert main(["convert", NET, WEIGHTS, "-o", "digits.onnx", "--no-verify", "-q"]) == 0
    good = printed("verify", NET, WEIGHTS, "digits.onnx", "--judge", "opencv")
    assert [report["ok"] for report in good] == [True, True]

    def spoil(blobs: list[np.ndarray]) -> None:
        blobs[1][:2] = np.nan, 3.0

    bad = printed("verify", NET, changed_weights(Path("bad.caffemodel"), "fc10", spoil), "digits.onnx", status=3)
    assert bad[0]["first_bad"] == ["fc10", "fc10"]
    assert any(row["max_abs"] is None for row in bad[0]["rows"])


def test_an_evaluation_is_described(printed: Callable[..., Any]) -> None:
    whole = ["evaluate", NET, WEIGHTS, "--data", str(DIGITS / "val"), *LABELS, "--expect", "digits-resnet"]
    made = printed(*whole, "--report", "page.html", "--agree", "9")
    assert made["expected"]["name"] == "digits-resnet"
    assert made["agreement"]["ok"]
    assert made["misjudged"][0]["thumbnail"].startswith("data:")


def test_an_evaluation_that_goes_wrong_is_described(printed: Callable[..., Any]) -> None:
    Path("val").mkdir()
    for name in ("a.png", "b.png"):
        Path("val", name).write_bytes(next((DIGITS / "val").rglob("*.png")).read_bytes())
    Path("val", "c.png").write_bytes(b"no image")
    unlabelled = printed("evaluate", NET, WEIGHTS, "--data", "val")
    assert (unlabelled["top1"], unlabelled["labelled"]) == (None, False)
    assert unlabelled["skipped"][0][0] == "c.png"
    Path("val.txt").write_text("a.png 12\nb.png 3\n")
    beyond = printed("evaluate", NET, WEIGHTS, "--data", "val", "--labels", "val.txt", "--report", "page.html")
    assert [image["own_score"] is None for image in beyond["misjudged"] if image["label"] == 12] == [True]
    nothing = changed_weights(Path("nan.caffemodel"), "fc10", lambda blobs: blobs[1].fill(np.nan))
    made = printed("evaluate", NET, nothing, *DATA, *LABELS, *MEAN, "--agree", "5", status=3)
    assert made["agreement"]["largest_difference"] is None


def test_a_batch_its_summary_and_its_results_are_described(printed: Callable[..., Any], tmp_path: Path) -> None:
    make_zoo(tmp_path)
    rows = [("relu.prototxt", "right", ""), ("twice.prototxt", "wrong", "triples.py"), ("unknown.prototxt", "bad", "")]
    made = printed("batch", manifest(*rows), "-o", "out", status=3)
    assert made["counts"] == {"ok": 1, "failed": 1, "differs": 1}
    assert strictly(Path("out", "summary.json").read_text()) == made
    for name in ("right", "wrong", "bad"):
        check("batch_result", strictly(Path("out", name, "result.json").read_text()))


def test_classes_and_boxes_are_described(printed: Callable[..., Any], tmp_path: Path) -> None:
    images = [str(DIGITS / "val" / f"digits_val_0000000{number}.png") for number in (1, 2)]
    made = printed("classify", NET, WEIGHTS, *images, *MEAN, "--labels", str(DIGITS / "synset_words.txt"))
    assert [seen["classes"][0]["name"] for seen in made["images"]] == ["eight", "seven"]
    assert [file["file"] for file in made["provenance"]["files"]][-2:] == images
    Path("bad.png").write_text("nothing")
    assert printed("classify", NET, WEIGHTS, "bad.png", status=1)["images"][0]["problem"]
    cv2.imwrite("a.png", quarters(40, 60, blue="ne"))
    made = printed("classify", *write_detector(tmp_path), "a.png", "-o", "out.png")
    assert [box["label"] for box in made["images"][0]["boxes"]] == [1]


def test_what_is_known_of_layers_and_models_is_described(printed: Callable[..., Any]) -> None:
    assert len(printed("layers")["types"]) > 150
    assert [each["name"] for each in printed("layers", "relu")["types"]] == ["ReLU"]
    assert printed("layers", "nothing", status=2)["errors"]
    assert len(printed("models")["models"]) > 50
    assert [each["weights"]["size"] for each in printed("models", "resnet-50")["models"]] == [102462397]


@pytest.mark.parametrize("factor", [1.0, float("nan")])
def test_a_recalibration_is_described(factor: float, printed: Callable[..., Any]) -> None:
    def spoil(blobs: list[np.ndarray]) -> None:
        blobs[0] *= np.float32(factor)

    given = changed_weights(Path("given.caffemodel"), "bn_conv1", spoil)
    made = printed("recalibrate", NET, given, *DATA, *MEAN, "--device", "cpu", "-o", "new.caffemodel")
    assert made["images"] == 40
    unknown = [moved["layer"] for moved in made["layers"] if moved["mean"] is None]
    assert unknown == ([] if factor == 1 else ["bn_conv1"])


def test_a_port_is_described(printed: Callable[..., Any]) -> None:
    write_caffemodel("r18.caffemodel", "", weights_of(seeded_arrays(18, 7, factor=1.0)).layers)
    assert printed("port", "r18.caffemodel", "--layout", "torchvision", "-o", "r18.safetensors")["depth"] == 18


def test_a_comparison_of_weight_files_is_described(printed: Callable[..., Any]) -> None:
    assert printed("diff", WEIGHTS, WEIGHTS)["different"] == []

    def wider(blobs: list[np.ndarray]) -> None:
        blobs[0] = np.ones((3, 5), np.float32)
        blobs[1][0] = np.inf

    other = changed_weights(Path("other.caffemodel"), "fc10", wider)
    assert len(printed("diff", WEIGHTS, other, status=3)["different"]) == 2


def test_the_layers_of_a_net_are_described(printed: Callable[..., Any]) -> None:
    assert printed("inspect", NET, WEIGHTS)["layers"]
    Path("free.prototxt").write_text(FREE_NET)
    free = printed("inspect", "free.prototxt", "--input-shape", "x=N,3,H,7")
    assert free["layers"][1]["shapes"] == ["N×4×H-2×5"]


FAILURE = {
    "errors": [
        {
            "kind": "NetError",
            "message": "what is wrong",
            "file": "net.prototxt",
            "line": 3,
            "column": 1,
            "layer": "conv1",
            "type": "Convolution",
        }
    ],
}


@pytest.mark.parametrize("name", sorted(SCHEMAS.keys() - {"common", "batch_result"}))
def test_every_verb_may_print_errors_in_place_of_a_result(name: str) -> None:
    check(name, FAILURE)
    check(name, {"errors": [{**FAILURE["errors"][0], "file": None, "line": None, "column": None}]})
    with pytest.raises(ValidationError):
        check(name, {**FAILURE, "errors": []})


def test_a_port_into_a_module_is_described(printed: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    Path("net.prototxt").write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 6 } } }\n'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n"
        'layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 2 } }'
    )
    Path("mine.py").write_text(
        "from torch import nn\ndef net():\n    convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)\n"
        "    return nn.Sequential(convolution, nn.BatchNorm2d(4), nn.AvgPool2d(2, 1))\n"
    )
    assert main(["net.prototxt", "--random-weights", "1", "--to", "caffe", "--no-verify", "-q", "-o", "made"]) == 0
    words = ["port", "net.prototxt", "made/model.caffemodel", "--into", "mine.py:net"]
    made = printed(*words, status=3)
    assert made["pairs"] == [{"layers": ["c"], "place": "net.prototxt:2", "modules": ["0", "1"], "by_order": False}]
    assert made["leaves_at"] == {"layer": "c", "module": "0"}
    assert [each["advice"] for each in made["differences"]] == ["model.0.padding = (0, 0)", ""]
    assert printed(*words, "--no-verify")["verification"] is None
    Path("mine.py").write_text("from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, 1))\n")
    (error,) = printed(*words, status=1)["errors"]
    assert (error["file"], error["line"], error["layer"]) == ("net.prototxt", 2, "c")


def test_a_port_from_a_module_is_described(printed: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    Path("net.prototxt").write_text(FREE_NET)
    code = "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 4, WINDOW))\n"
    Path("mine.py").write_text(code.replace("WINDOW", "3, padding=1"))
    words = ["port", "--from", "mine.py:net", "--net", "net.prototxt", "-o", "o.caffemodel"]
    made = printed(*words, status=3)
    assert made["pairs"] == [{"layers": ["c"], "place": "net.prototxt:3", "modules": ["0"], "by_order": False}]
    assert made["blobs"] == [{"layer": "c", "shapes": [[4, 3, 3, 3], [4]]}]
    assert made["leaves_at"] == {"layer": "c", "module": "0"}
    assert printed(*words, "--no-verify")["verification"] is None
    Path("mine.py").write_text(code.replace("WINDOW", "1"))
    (error,) = printed(*words, status=1)["errors"]
    assert (error["file"], error["line"], error["layer"]) == ("net.prototxt", 3, "c")


def test_what_no_schema_describes_is_refused_at_every_depth(printed: Callable[..., Any]) -> None:
    made = printed("evaluate", NET, WEIGHTS, *DATA, *LABELS, "--expect", "digits-resnet", "--agree", "5")
    for path in [(), ("top1",), ("verdict",), ("expected",), ("agreement",), ("curve", 0, "top1"), ("by_class", 0)]:
        spoiled = copy.deepcopy(made)
        inner = spoiled
        for key in path:
            inner = inner[key]
        inner["new"] = 1
        with pytest.raises(ValidationError):
            check("evaluate", spoiled)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object in a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_are_valid_closed_and_describe_every_field(name: str) -> None:
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"{name}.json"
    resolver = Registry().with_resources(RESOURCES).resolver(f"{name}.json")  # type: ignore[var-annotated]
    for each in objects(schema):
        assert each.get("description")
        fields = each.get("properties", {})
        assert each["additionalProperties"] is False or not fields
        for field, inner in fields.items():
            found = inner if "description" in inner else resolver.lookup(inner["$ref"]).contents
            assert found.get("description"), field


def test_the_page_names_every_schema() -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    for name in SCHEMAS:
        assert f"(schemas/{name}.json)" in page


def test_an_upgrade_is_described(printed: Callable[..., Any]) -> None:
    Path("old.prototxt").write_text('input: "x"\ninput_dim: 1\ninput_dim: 2\ninput_dim: 3\ninput_dim: 4\n')
    assert "input_param" in printed("upgrade", "old.prototxt")["text"]
    assert printed("upgrade", "old.prototxt", "-o", "new.prototxt")["file"] == "new.prototxt"


def test_errors_are_described_with_their_places(printed: Callable[..., Any]) -> None:
    Path("bad.prototxt").write_text(
        'layer { name: "a" type: "Nope" top: "a" }\nlayer { name: "b" type: "Nix" top: "b" }'
    )
    errors = printed("convert", "bad.prototxt", status=1)["errors"]
    assert [(error["file"], error["line"], error["layer"], error["type"]) for error in errors] == [
        ("bad.prototxt", 1, "a", "Nope"),
        ("bad.prototxt", 2, "b", "Nix"),
    ]
    assert printed("diff", NET, WEIGHTS, status=1)["errors"]
    assert printed("evaluate", NET, WEIGHTS, "--data", "nowhere", status=2)["errors"][0]["kind"] == "RequestError"
    assert printed("verify", NET, WEIGHTS, "nowhere.onnx", "--sed", "3", status=2)["errors"][0]["file"] is None


def test_a_result_says_of_which_files_it_is(printed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made = printed("convert", NET, WEIGHTS, "--no-verify", "-o", "digits.onnx")["provenance"]
    assert (made["tool"], made["version"], made["date"]) == ("resnet-convert", VERSION, "1970-01-02T00:00:00+00:00")
    assert [(file["file"], file["bytes"], file["sha256"]) for file in made["files"]] == [
        (path, Path(path).stat().st_size, hashlib.sha256(Path(path).read_bytes()).hexdigest())
        for path in (NET, WEIGHTS)
    ]


def test_a_picture_is_described(printed: Callable[..., Any]) -> None:
    made = printed("view", NET, "-o", "net.dot")
    assert made["file"] == "net.dot"
    assert Path("net.dot").read_text(encoding="utf-8").count(" [label=") >= made["layers"] // 2
