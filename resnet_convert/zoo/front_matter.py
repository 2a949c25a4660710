"""The readme.md of a folder of BVLC's model zoo, and of the gists that it links to.

    ---
    name: BVLC GoogleNet Model
    caffemodel: bvlc_googlenet.caffemodel
    caffemodel_url: http://…/bvlc_googlenet.caffemodel
    license: unrestricted
    sha1: 405fc5…
    ---

Caffe's download_model_binary.py reads what stands between the first two lines `---` as YAML. The gists of the VGG nets
have a title above it, or no such lines at all, blank lines between, and in the name a colon, which is no YAML: what
holds for all of them is a field a line, up to the next heading.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import urlsplit

from prototxt.errors import Position
from resnet_convert.zoo.card import Card, Digest, StatedFile, inside, text_of

log = logging.getLogger(__name__)

FIELD = re.compile(r"\s*(\w+):(?:\s+(.*?))?\s*")
SHA1 = re.compile("[0-9a-f]{40}")
SUFFIXES = (".caffemodel", ".caffemodel.h5")


def read_front_matter(path: Path) -> Card | None:
    """What a readme states; None for one that names no weight file, as those of other things do.

    Raises:
        WeightsError: it cannot be read.
        RequestError: it names a file outside its folder.
    """
    fields = _fields(text_of(path))
    line, name = fields.get("caffemodel", (0, ""))
    url = fields.get("caffemodel_url", (0, ""))[1]
    if not name:
        return None
    stated = _on_disk(path.parent, inside(name, Position(str(path), line)), url)
    weights = StatedFile(stated, _digest(path, stated, *fields.get("sha1", (0, ""))), None, url)
    return Card(path, fields.get("name", (0, ""))[1], fields.get("license", (0, ""))[1], weights)


def _fields(text: str) -> dict[str, tuple[int, str]]:
    """By name, each with its line; of several the first."""
    lines = [line.strip() for line in text.splitlines()]
    fences = [number for number, line in enumerate(lines) if line == "---"]
    if len(fences) > 1:
        start, stop = fences[0] + 1, fences[1]
    else:
        headings = [number for number, line in enumerate(lines) if line.startswith("#")]
        start = headings[0] + 1 if headings and not any(lines[: headings[0]]) else 0
        stop = next((number for number in headings if number >= start), len(lines))
    found: dict[str, tuple[int, str]] = {}
    for number in range(start, stop):
        field = FIELD.fullmatch(lines[number])
        if field:
            found.setdefault(field[1], (number + 1, _unquoted(field[2] or "")))
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted and value[0] not in value[1:-1] else value


def _on_disk(folder: Path, name: str, url: str) -> str:
    """The file that is meant: VGG's readmes leave the suffix out, others name what the address ends in otherwise."""
    whole = name if name.endswith(SUFFIXES) else f"{name}.caffemodel"
    published = urlsplit(url).path.rpartition("/")[2]
    known = [each for each in (name, whole, published) if each.endswith(SUFFIXES)]
    return next((each for each in known if (folder / each).is_file()), whole)


def _digest(path: Path, weights: str, line: int, value: str) -> Digest | None:
    where = Position(str(path), line)
    if SHA1.fullmatch(value.lower()):
        return Digest("sha1", value.lower(), where)
    if value:
        log.warning("%s: warning: sha1 %r is no SHA-1; %s is not held against it", where, value, weights)
    return None
