"""torchvision and timm beside a PyTorch that they were not built for.

torchvision declares its compiled operators when its library is loaded. Where that library is for another build of torch
and fails to load, `import torchvision` fails at the first operator that `_meta_registrations.py` names. Its classifiers
use none of them, so it is enough that they are declared.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prototxt.optional import need_torch

_KEPT: list[Any] = []
"""A library's declarations last as long as it does."""


def declare_operators() -> bool:
    """Declare torchvision's operators where its own library cannot; whether torchvision is installed.

    To be called before torchvision, or timm, is imported.
    """
    found = None if "torchvision" in sys.modules else find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return "torchvision" in sys.modules
    folder = Path(found.submodule_search_locations[0])
    named = folder / "_meta_registrations.py"
    if not _KEPT and named.is_file() and not _loads(folder):
        _KEPT.append(_declared(named.read_text(encoding="utf-8")))
    return True


def _loads(folder: Path) -> bool:
    torch = need_torch("loading torchvision")
    libraries = [file for file in folder.glob("_C*") if file.suffix in (".so", ".pyd", ".dylib")]
    try:
        for file in libraries:
            torch.ops.load_library(str(file))
    except OSError:
        return False
    return bool(libraries)


def _declared(text: str) -> Any:
    torch = need_torch("declaring torchvision's operators")
    names = re.findall(r'register_meta\("(\w+)"', text) + re.findall(r'register_fake\("torchvision::(\w+)"', text)
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in dict.fromkeys(names):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}() -> ()")
    return library
