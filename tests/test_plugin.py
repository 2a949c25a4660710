"""A layer that only its owner has: registered by a plugin on both sides, converted and verified like a built-in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from converter.plugins import load_plugin
from prototxt import parse_net
from prototxt.errors import CaffeModelError, RequestError
from prototxt.sections import declare_section

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugin"


def convert(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own: what a plugin registers stays registered."""
    command = [sys.executable, "-m", "resnet_convert.cli.main", *map(str, words), "--random-weights", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_plugins_layer_is_converted_and_verified(to: str, tmp_path: Path) -> None:
    done = convert(EXAMPLE / "net.prototxt", "--to", to, "-o", tmp_path / "m", "--plugin", EXAMPLE / "vignette.py")
    assert done.returncode == 0, done.stderr
    assert "parity: 2 of 2 blobs within bound" in done.stdout


def test_a_plugins_section_goes_back_to_caffe_as_it_stood(tmp_path: Path) -> None:
    """Behind the fields that the schema has; its defaults are left out as they were."""
    words = ["--to", "caffe", "--plugin", EXAMPLE / "vignette.py"]
    done = convert(EXAMPLE / "net.prototxt", *words, "-o", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "m" / "deploy.prototxt").read_text()
    assert '  top: "dark"\n  vignette_param {\n    strength: 0.7\n    falloff: SQUARE\n  }\n}\n' in written
    again = convert(tmp_path / "m" / "deploy.prototxt", *words, "-o", tmp_path / "n")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "n" / "deploy.prototxt").read_text() == written
    alone = convert(tmp_path / "m" / "model.caffemodel", *words, "-o", tmp_path / "o")
    assert alone.returncode != 0  # which would be the net with the plugin's defaults
    assert "give the net's .prototxt as well" in alone.stderr


def test_its_numbers_are_those_of_its_formula(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    done = convert(EXAMPLE / "net.prototxt", "-o", model, "--plugin", EXAMPLE / "vignette.py", "--outputs", "dark")
    assert done.returncode == 0, done.stderr
    x = np.ones((1, 3, 9, 12), np.float32)
    (y,) = onnxruntime.InferenceSession(model).run(None, {"data": x})
    assert y[0, :, 0, 0] == pytest.approx(0.3 * y[0, :, 4].max(axis=1), rel=0.02)  # 1 - 0.7 in the corner
    assert y[0, 0, 0] == pytest.approx(y[0, 0, -1])


def test_nothing_is_loaded_unless_it_is_named() -> None:
    done = convert(EXAMPLE / "net.prototxt")
    assert done.returncode == 1
    wanted = (
        "net.prototxt:10:3: error: layer 'dark' (Vignette): unknown layer type 'Vignette'; --plugin FILE.py supplies it"
    )
    assert wanted in done.stderr


def test_a_section_of_a_plugin_is_held_to_its_fields(tmp_path: Path) -> None:
    text = (EXAMPLE / "net.prototxt").read_text()
    net = tmp_path / "net.prototxt"
    net.write_text(text.replace("strength: 0.7", "strenght: 0.7").replace("SQUARE", "ROUND"))
    done = convert(net, "--plugin", EXAMPLE / "vignette.py")
    assert done.returncode == 1
    assert f"{net}:13:20: error: unknown field 'strenght' in vignette_param; did you mean 'strength'?" in done.stderr
    assert f"{net}:13:43: error: unknown value 'ROUND' for vignette_param.falloff; expected LINEAR or SQUARE" in (
        done.stderr
    )


FAILING = {
    "x = 1\nraise ValueError('no such thing')\n": "bad.py:2: error: the plugin fails: ValueError: no such thing",
    "x = = 1\n": "bad.py:1:5: error: the plugin fails: SyntaxError: invalid syntax",
    "from converter.layers.base import Layer, register\n\n\n@register\nclass A(Layer):\n    types = ('ReLU',)\n": (
        "bad.py:4: error: the plugin fails: ValueError: layer type 'ReLU' is registered by ReLU already"
    ),
}


@pytest.mark.parametrize("text", FAILING)
def test_a_plugin_that_fails_says_where(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.py").write_text(text)
    with pytest.raises(RequestError) as caught:
        load_plugin("bad.py")
    assert str(caught.value) == FAILING[text]


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such plugin"):
        load_plugin(tmp_path / "none.py")


def test_a_python_layer_is_named_by_module_and_class() -> None:
    text = "layer { name: 'p' type: 'Python' top: 'y' python_param { module: 'a.b' layer: 'C' } }"
    assert parse_net(text).layers[0].kind == "Python a.b.C"


PYTHON_NET = """\
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 5 } } }
layer { name: "p" type: "Python" bottom: "x" top: "y"
  python_param { module: "mine" layer: "Twice" param_str: "3" } }
"""
PYTHON_PLUGIN = """\
from dataclasses import dataclass
from converter.layers.base import Layer, register
from verify.layers import registry


@register
@dataclass(frozen=True)
class Times(Layer):
    types = ("Python mine.Twice",)
    factor: float = 2.0

    @classmethod
    def read(cls, source):
        return cls(float(source.param.python_param.param_str))

    def onnx(self, g, node, *x):
        return g.op("Mul", x[0], g.scalar(self.factor))

    def torch(self, t, node, *x):
        return f"{x[0]} * {self.factor!r}"


@registry.register("Python mine.Twice")
def times(call):
    return [call.x * registry.np.float32(float(call.param.python_param.param_str))]
"""


def test_a_python_layer_needs_its_owners_code_and_takes_it(tmp_path: Path) -> None:
    net, plugin = tmp_path / "net.prototxt", tmp_path / "mine.py"
    net.write_text(PYTHON_NET)
    plugin.write_text(PYTHON_PLUGIN)
    refused = convert(net, "-o", tmp_path / "m.onnx")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"{net}:3:3: error: layer 'p' (Python): the Python layer mine.Twice is code that only its owner has; "
        "--plugin FILE.py supplies it\n"
    )
    done = convert(net, "-o", tmp_path / "m.onnx", "--plugin", plugin)
    assert done.returncode == 0, done.stderr
    assert "parity: 1 of 1 blobs within bound" in done.stdout


def test_a_section_can_be_declared_once_only() -> None:
    declare_section("test_plugin_param", {"a": 1})
    declare_section("test_plugin_param", {"a": 1})
    with pytest.raises(ValueError, match="declared already"):
        declare_section("test_plugin_param", {"a": 2})
    with pytest.raises(ValueError, match="in the schema"):
        declare_section("relu_param", {"a": 1})
    with pytest.raises(ValueError, match="tells no type"):
        declare_section("other_plugin_param", {"a": None})  # type: ignore[dict-item]


def test_declared_fields_of_every_sort() -> None:
    fields = {"on": True, "count": 3, "size": 1.5, "word": "x", "sizes": [0.0], "kind": ("A", "B"), "in": {"deep": 7}}
    declare_section("every_plugin_param", fields)  # type: ignore[arg-type]
    text = (
        "layer { name: 'a' type: 'T' every_plugin_param { on: false sizes: 1 sizes: [2, 3] kind: B } }\n"
        "layer { name: 'b' type: 'T' }"
    )
    first, second = (layer.section("every_plugin_param") for layer in parse_net(text).layers)
    assert (first.on, first.count, list(first.sizes), first.kind) == (False, 3, [1, 2, 3], 1)
    assert (second.on, second.size, second.word, second.kind, list(second.sizes)) == (True, 1.5, "x", 0, [])
    assert getattr(second, "in").deep == 7
    with pytest.raises(CaffeModelError, match="given twice"):
        parse_net("layer { name: 'a' type: 'T' every_plugin_param { } every_plugin_param { } }")


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    assert f"```python\n{(EXAMPLE / 'vignette.py').read_text(encoding='utf-8')}```\n" in page


def test_the_door_for_plugins_keeps_its_names() -> None:
    import resnet_convert.plugin as door

    names = (
        "Array Call Layer NetLayer Node OnnxOps Parameter Sensitivity Shape TorchOps canonical_axis check elementwise "
        "fault is_free jumps narrow register require shortest unsupported wide"
    )
    assert door.__all__ == names.split()
    assert all(hasattr(door, name) for name in door.__all__)
