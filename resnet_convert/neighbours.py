"""Whether the packages that lie beside this one are the ones that Python finds.

Their names are ordinary words: a `weights.py` beside a user's script, or in the folder that Python was started in,
comes first on the path and would be imported in their place.
"""

from __future__ import annotations

import os.path
import sys
from importlib.util import find_spec

NAMES = ("prototxt", "weights", "converter", "verify")


def check_neighbours() -> None:
    """Make sure that nothing hides one of our packages.

    Raises:
        ImportError: something does; names its file, and how to go on.
    """
    home = _home(__file__)
    for name in NAMES:
        found = _origin(name)
        if found is None or _home(found) != home:
            place = f"{found} hides" if found else "there is no such package beside"
            raise ImportError(
                f"{place} resnet-convert's own package {name!r} ({os.path.join(home, name)}): rename it, or start "
                "Python from another folder (python -P leaves the script's folder out of the path)",
                name=name,
                path=found,
            )


def _home(file: str) -> str:
    """Where the package lies whose file this is."""
    return os.path.dirname(os.path.dirname(os.path.realpath(file)))


def _origin(name: str) -> str | None:
    """The file that is, or would be, imported under a name."""
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    spec = find_spec(name)
    return None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
