"""The errors that were published for Caffe nets, from `published.toml`, whose head says what each field means.

    share       percent / 100
    variation   what the authors say that their errors vary by, and half of the last digit that they print: 24.7 with
                0.1 is right for anything from 24.55 to 24.85

`reading.py` reads the file.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prototxt.errors import Position, RequestError
from prototxt.words import listed, shortened, unreadable
from verify.evaluation.published.figure import DIGESTS, Published, letters

PUBLISHED: Final = Path(__file__).with_name("published.toml")


_SPELT: Final = {"sha256": "SHA-256", "sha384": "SHA-384", "sha1": "SHA-1", "md5": "MD5"}
_OTHER: Final = "other weights, or the same in another form"


@lru_cache(maxsize=1)
def published() -> Mapping[str, Published]:
    """Everything that `--expect` knows, by name, in the order of the file. Read once."""
    from verify.evaluation.published.reading import load_published

    return MappingProxyType(load_published(PUBLISHED))


def find(name: str) -> Published:
    """The errors that go by a name; case does not count, nor hyphens and underscores: `ResNet50` is `resnet-50`.

    Raises:
        RequestError: there are none; names those that come near and how to list all.
    """
    known = published()
    by_letters = {letters(each): each for each in known}
    found = by_letters.get(letters(name))
    if found is not None:
        return known[found]
    said = shortened(name)
    near = [by_letters[each] for each in difflib.get_close_matches(letters(said), by_letters, n=4, cutoff=0.6)]
    hint = f"; did you mean {listed(near, 'or')}?" if near else ""
    raise RequestError(f"no published errors go by the name {said!r}{hint} ('--expect list' lists all {len(known)})")


def weights_note(entry: Published, path: str | os.PathLike[str]) -> str | None:
    """A sentence if a weight file is not the one that the errors were published for; None if it is, or may be.

    The digest of the file is computed only where one is known and the size does not decide already.

    Raises:
        RequestError: the file cannot be read.
    """
    known = entry.weights
    kind = next((each for each in DIGESTS if each in known.digests), None)
    name, published_name = os.path.basename(os.fspath(path)), known.file or "file"
    try:
        size = os.stat(path).st_size
        if known.size and size != known.size:
            return f"{name} has {size:,} bytes, the published {published_name} {known.size:,}: {_OTHER}"
        if kind is None or _digest(path, kind) == known.digests[kind]:
            return None
    except (OSError, ValueError) as fault:
        raise RequestError(unreadable(fault), position=Position(os.fspath(path))) from fault
    return f"{name} has another {_SPELT[kind]} than the published {published_name}: {_OTHER}"


def _digest(path: str | os.PathLike[str], kind: str) -> str:
    made = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            made.update(part)
    return made.hexdigest()
