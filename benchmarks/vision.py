"""torchvision and timm beside a PyTorch that they were not built for.

torchvision declares its compiled operators when its library is loaded. Where that library is for another build of torch
and fails to load, `import torchvision` fails at the first operator that `_meta_registrations.py` names. Its classifiers
use none of them, so it is enough that they are declared.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_KEPT: list[Any] = []
"""A library's declarations last as long as it does."""


def declare_operators() -> bool:
    """Declare torchvision's operators where they are not; whether torchvision is installed."""
    found = find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return False
    import torch

    text = Path(found.submodule_search_locations[0], "_meta_registrations.py").read_text(encoding="utf-8")
    names = re.findall(r'register_meta\("(\w+)"', text) + re.findall(r'register_fake\("torchvision::(\w+)"', text)
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in dict.fromkeys(names):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}() -> ()")
    _KEPT.append(library)
    return True
