"""The table of layer types against the files that have them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import converter.layers
import verify.layers
from converter.layers.base import registry
from prototxt.families import FAMILY_OF, NOT_CHECKED
from verify.layers import find, known_types

ROOT = Path(__file__).resolve().parents[1]


def lines(found: dict[str, str]) -> list[str]:
    """As they stand in `prototxt/families.py`."""
    return [f'    "{kind}": "{family}",' for kind, family in sorted(found.items())]


def registered(package: str) -> dict[str, str]:
    """Layer type -> family, of all files below a package's `layers`, whatever the table says."""
    code = (
        "import sys; from importlib import import_module; from pkgutil import walk_packages\n"
        f"package = import_module({package!r})\n"
        "for found in walk_packages(package.__path__, package.__name__ + '.'): import_module(found.name)\n"
        "if package.__name__.startswith('converter'):\n"
        "    from converter.layers.base import _REGISTRY as known\n"
        "    known = {kind: cls.__module__ for kind, cls in known.items()}\n"
        "else:\n"
        "    from verify.layers.registry import _rules as known\n"
        "    known = {kind: rule.module for kind, rule in known.items()}\n"
        "print(*(f'{kind}|{module}' for kind, module in known.items()), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    pairs = (line.split("|") for line in done.stdout.splitlines())
    return {kind: module.partition(".layers.")[2] for kind, module in pairs}


def test_every_layer_has_its_line() -> None:
    found, table = lines(registered("converter.layers")), lines(dict(FAMILY_OF))
    assert [line for line in found if line not in table] == [], "prototxt/families.py lacks these lines"
    assert [line for line in table if line not in found] == [], "prototxt/families.py has lines without a layer"
    assert list(FAMILY_OF) == sorted(FAMILY_OF), "sorted, each is found where it is looked for"


def test_every_rule_stands_where_the_table_has_its_layer() -> None:
    checked = {kind: family for kind, family in FAMILY_OF.items() if family not in NOT_CHECKED}
    assert lines(registered("verify.layers")) == lines(checked)


def test_what_is_not_checked_has_no_file() -> None:
    families = {
        module.name.partition(".layers.")[2] for module in walk_packages(verify.layers.__path__, "verify.layers.")
    }
    ours = {
        module.name.partition(".layers.")[2] for module in walk_packages(converter.layers.__path__, "converter.layers.")
    }
    assert ours >= NOT_CHECKED
    assert families & NOT_CHECKED == set()


def test_both_registries_list_all_types_and_give_each() -> None:
    assert set(registry()) >= set(FAMILY_OF)
    assert len(registry()) == len(list(registry()))
    assert all(kind in registry()[kind].types for kind in FAMILY_OF)
    assert all(kind in (find(kind) or pytest.fail(kind)).types for kind in known_types())
    assert "Nothing of the sort" not in registry()
    assert registry().get("Nothing of the sort") is None
    assert find("EvalDetection") is find("Nothing of the sort") is None


def test_a_type_is_looked_up_without_its_neighbours() -> None:
    code = (
        "import sys; from converter.layers.base import registry\n"
        "list(registry()), 'LRN' in registry(), registry()['Pooling']\n"
        "print(sorted(n for n in sys.modules if n.startswith('converter.layers.') and '.shared' not in n))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['converter.layers.base', 'converter.layers.pooling']\n"


TAKEN = """
import sys
from {register} import register
try:
    {use}
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("register", "use", "message"),
    [
        (
            "converter.layers.base",
            "register(type('Mine', (), {'types': ('LRN',), 'sections': {}}))",
            "layer type 'LRN' is registered by LRN already",
        ),
        ("verify.layers.registry", "register('LRN')(print)", "two layers want the type 'LRN'"),
    ],
)
def test_a_plugin_cannot_take_a_type_of_ours_before_it_is_loaded(register: str, use: str, message: str) -> None:
    code = TAKEN.format(register=register, use=use)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{message}\n"


def test_every_family_can_be_loaded_alone() -> None:
    """Whatever a file of layers needs, it imports itself."""
    code = "import sys; from importlib import import_module; import_module(sys.argv[1])"
    family = "converter.layers.detection.yolo_training"
    assert import_module(family)
    subprocess.run([sys.executable, "-c", code, family], cwd=ROOT, check=True)
