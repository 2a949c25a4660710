"""The house rules that imports must keep."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TypeGuard

import pytest

from converter.layers.base import registry
from verify.layers import find, known_types

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("prototxt", "weights", "converter", "verify", "resnet_convert")
MAY_IMPORT = {
    "prototxt": set(),
    "weights": {"prototxt"},
    "converter": {"prototxt", "weights"},
    "verify": {"prototxt", "weights"},
    "resnet_convert": {"prototxt", "weights", "converter", "verify"},
}


AT_MOST = {"converter": 14, "verify": 8, "verify/evaluation": 4, "resnet_convert": 23}
"""How many modules a folder has beside its folders, before a newcomer no longer finds the way; `__init__` apart."""

TYPES_ONLY = {("prototxt.dialects", "prototxt.net"), ("prototxt.coordinates", "prototxt.net")}
"""Modules that may know another by its types alone: a layer's dialect is asked for through the net."""

SHARED_NAMES = {
    *("Array", "Wide", "Shape", "Labels", "File", "T", "M", "F"),  # arrays, sizes, paths and type variables
    *("Window", "Labelled", "Anchors"),  # Caffe's ideas, which converter and verify read each for itself
    "Preprocessing",  # what is baked into a graph, and into a weight file: the names that their owners know
    "ResNet",  # flax's own class, whose names its weights bear
}
"""What several modules below `resnet_convert` may define by one name, since it is one idea, or a framework's."""

EVERY_LAYER_NEEDS = {"converter.layers.base", "verify.layers.registry", "verify.layers.parameters"}
"""What stands among the families and is none."""

FILES = {
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

OF_OPERATORS = {"converter.constants", "converter.targets.onnx_tidying", "resnet_convert.modules.keras_layers"}
"""What decides by the type of an ONNX operator or of Keras' layer, which may be the name of a layer's type, too."""

DECIDING = [
    module
    for module in FILES
    if not module.startswith(("prototxt", "weights")) and ".layers" not in module and module not in OF_OPERATORS
]
"""Those that work with layers of any type."""


def imported(module: str) -> set[str]:
    """The project's modules that a module imports, wherever in it, for types alone as well."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & FILES.keys() or {node.module}
    return (found & FILES.keys()) - {module}


@pytest.mark.parametrize("module", FILES)
def test_imports_go_one_way(module: str) -> None:
    package = module.split(".")[0]
    assert {name.split(".")[0] for name in imported(module)} <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("module", FILES)
def test_the_library_does_not_know_its_command_line(module: str) -> None:
    if module != "resnet_convert.__main__" and not module.startswith("resnet_convert.cli"):
        assert [name for name in imported(module) if name.startswith("resnet_convert.cli")] == []


def test_imports_form_no_circle() -> None:
    needs = {module: {name for name in imported(module) if (module, name) not in TYPES_ONLY} for module in FILES}
    while free := [module for module, names in needs.items() if not names & needs.keys()]:
        for module in free:
            del needs[module]
    assert needs == {}


NAMES_OF_OURS = {"Mean"}
"""Types that bear the name of something of ours: the mean that a preprocessing takes away."""


@pytest.mark.parametrize("module", DECIDING)
def test_no_module_outside_the_layers_decides_by_a_layers_type(module: str) -> None:
    """What a layer is stands in its own class or rule; others ask for that."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    parts = [part for node in ast.walk(tree) for part in asked_kinds(node)]
    asked = {name.id for part in parts for name in ast.walk(part) if is_name(name)}
    assert asked & classes_of_layers(tree) == set()
    types = {*registry(), *known_types()} - NAMES_OF_OURS
    stated = [text for text in stated_words(tree) if text.split()]
    assert [text for text in stated if text in types or {*text.split()} <= types] == []


def classes_of_layers(tree: ast.Module) -> set[str]:
    """Under which names a module has classes that stand with the layers."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "layers" in (node.module or "").split("."):
            held = vars(import_module(node.module or ""))
            found |= {alias.asname or alias.name for alias in node.names if isinstance(held.get(alias.name), type)}
    return found


def is_name(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def asked_kinds(node: ast.AST) -> list[ast.expr]:
    """The classes that an expression or a pattern asks whether something is."""
    if isinstance(node, ast.Call) and is_name(node.func) and node.func.id in ("isinstance", "issubclass"):
        return node.args[1:]
    if isinstance(node, ast.MatchClass):
        return [node.cls]
    return node.comparators if isinstance(node, ast.Compare) else []


def stated_words(tree: ast.Module) -> list[str]:
    """A module's strings, without docstrings, parts of messages, `__all__` and the operators of ONNX that it emits."""
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            passed |= set(node.values)
        elif isinstance(node, ast.Assign) and any(is_name(name) and name.id == "__all__" for name in node.targets):
            passed |= set(ast.walk(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("op", "multi"):
            passed |= set(node.args[:1])
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in passed)
    return [node.value for node in constants if isinstance(node.value, str)]


def test_a_name_of_a_type_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for module, path in FILES.items():
        if module.startswith("resnet_convert"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            name = node.name if isinstance(node, ast.ClassDef) else getattr(target, "id", "")
            if name[:1].isupper() and not (name.isupper() and len(name) > 1):
                places.setdefault(name, []).append(module)
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES} == {}


@pytest.mark.parametrize(("folder", "most"), AT_MOST.items())
def test_a_folder_can_be_taken_in_at_a_glance(folder: str, most: int) -> None:
    assert len([path for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]) <= most


def family(module: str) -> str:
    """Where a module stands below its package's `layers`."""
    return module.partition(".layers.")[2]


def checked_in() -> dict[str, str]:
    """Layer type -> the interpreter's module for it."""
    return {kind: rule.module for kind in known_types() if (rule := find(kind))}


def test_a_layer_type_stands_in_one_family_on_both_sides() -> None:
    converted = {kind: family(cls.__module__) for kind, cls in registry().items()}
    checked = {kind: family(module) for kind, module in checked_in().items()}
    assert {kind: (converted.get(kind), at) for kind, at in checked.items() if converted.get(kind) != at} == {}


@pytest.mark.parametrize("package", ["converter", "verify"])
def test_every_file_among_the_families_is_one(package: str) -> None:
    registered = {cls.__module__ for cls in registry().values()} | set(checked_in().values())
    beside = {f"{package}.layers.{path.stem}" for path in (ROOT / package / "layers").glob("[!_]*.py")}
    assert beside - registered - EVERY_LAYER_NEEDS == set()


@pytest.mark.parametrize("module", [module for module in FILES if ".layers.shared" in module])
def test_what_only_helps_layers_is_none(module: str) -> None:
    assert module not in {cls.__module__ for cls in registry().values()} | set(checked_in().values())


@pytest.mark.parametrize("module", ["resnet_convert", "resnet_convert.cli.main", "prototxt", "weights", "verify"])
def test_importing_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'onnx', 'h5py', 'onnxruntime', 'cv2'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def by_need() -> dict[str, ast.Call]:
    """The packages whose names are loaded when they are asked for, and where they say which."""
    calls = {}
    for module, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__getattr__":
                assert isinstance(node.value, ast.Call)
                calls[module] = node.value
    return calls


@pytest.mark.parametrize("package", by_need())
def test_names_by_need_are_those_that_a_type_checker_sees(package: str) -> None:
    table = {(module, name) for module, names in ast.literal_eval(by_need()[package].args[1]).items() for name in names}
    tree = ast.parse(FILES[package].read_text(encoding="utf-8"))
    checking = next(
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {(n.module, alias.name) for n in checking.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert table == seen
    held = import_module(package)
    assert {name for _, name in table} | {name for name in held.__all__ if name == "__version__"} == set(held.__all__)
    assert all(getattr(held, name) is getattr(import_module(module), name) for module, name in table)


@pytest.mark.parametrize("package", by_need())
def test_no_name_by_need_is_a_modules_as_well(package: str) -> None:
    """The import of the module would put it in the name's place."""
    assert [name for name in import_module(package).__all__ if f"{package}.{name}" in FILES] == []


def test_weights_folder_is_not_ignored_by_git() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any("weights" in line for line in lines)
