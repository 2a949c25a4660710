"""The list of nets that `batch` converts: a CSV file with a head line.

net             path of the .prototxt (or of a .caffemodel, whose own net counts), beside the manifest's folder
weights         path of the weight file; may be empty or absent
name            what the net's folder is called; by default made from the paths
anything else   an option of a conversion by its name: to, fold, opset, input_shape, mean, scale, input_order,
                outputs, dialect, plugin, random_weights, allow_unknown, phase. Several values of one that may be
                repeated are separated by `;`; allow_unknown wants true or false
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prototxt.errors import CaffeModelError, Position, RequestError, raise_all

OPTIONS = (
    "to fold opset input_shape mean scale input_order outputs dialect plugin random_weights allow_unknown "
    "phase stage level"
).split()
REPEATED = frozenset(("input_shape", "dialect", "plugin", "stage"))
FILES = frozenset(("mean", "plugin"))
"""Options that may name a file, which lies beside the manifest."""
TARGETS = ("onnx", "torch", "caffe", "safetensors", "npz", "hdf5")


@dataclass(frozen=True)
class Entry:
    """One net of a manifest.

    Attributes:
        name: of its folder.
        net, weights: paths; weights are None where there are none.
        options: by name, as on the command line without dashes.
        position: its line.
    """

    name: str
    net: Path
    weights: Path | None
    options: Mapping[str, tuple[str, ...]]
    position: Position


def read_manifest(path: str) -> list[Entry]:
    """The nets of a manifest, in its order.

    Raises:
        RequestError: a file that cannot be read, has no `net` column, unknown columns, empty or repeated names; all
            faults of the lines at once (ErrorGroup).
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"cannot be read: {error.strerror}", position=Position(path)) from error
    except UnicodeDecodeError as error:
        raise RequestError("is no text in UTF-8; a manifest is a CSV file", position=Position(path)) from error
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    entries: list[Entry] = []
    errors: list[CaffeModelError] = []
    try:
        columns = _columns(next(reader, []), path)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                try:
                    entries.append(_entry(columns, cells, Position(path, reader.line_num), entries))
                except RequestError as error:
                    errors.append(error)
    except csv.Error as error:
        raise RequestError(f"is no CSV: {error}", position=Position(path, reader.line_num)) from error
    raise_all(errors)
    if not entries:
        raise RequestError("lists no nets", position=Position(path))
    return entries


def _columns(head: list[str], path: str) -> list[str]:
    columns = [cell.strip().lower().replace("-", "_") for cell in head]
    where = Position(path, 1)
    if "net" not in columns:
        raise RequestError(f"has no column 'net'; its first line is {', '.join(columns) or 'empty'}", position=where)
    for column in columns:
        if column not in ("name", "net", "weights", *OPTIONS):
            known = ", ".join(("name", "net", "weights", *OPTIONS))
            raise RequestError(f"unknown column {column!r}; expected {known}", position=where)
        if columns.count(column) > 1:
            raise RequestError(f"column {column!r} occurs twice", position=where)
    return columns


def _entry(columns: list[str], cells: list[str], where: Position, before: list[Entry]) -> Entry:
    if len(cells) > len(columns):
        raise RequestError(f"has {len(cells)} cells for {len(columns)} columns", position=where)
    row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
    if "net" not in row:
        raise RequestError("names no net", position=where)
    if row.get("to", "onnx") not in TARGETS:
        raise RequestError(f"to {row['to']!r}; expected {', '.join(TARGETS)}", position=where)
    folder = Path(where.path).parent
    net = folder / row["net"]
    weights = folder / row["weights"] if "weights" in row else None
    name = _name(row.get("name"), net, {entry.name for entry in before}, where)
    options = {column: _values(column, row[column], folder) for column in OPTIONS if column in row}
    return Entry(name, net, weights, options, where)


def _values(column: str, text: str, folder: Path) -> tuple[str, ...]:
    values = [part.strip() for part in text.split(";")] if column in REPEATED else [text]
    if column in FILES:
        values = [str(folder / value) if (folder / value).is_file() else value for value in values]
    return tuple(values)


def _name(given: str | None, net: Path, taken: set[str], where: Position) -> str:
    """A name that can be a folder's; two nets cannot share one."""
    if given is not None:
        if not _is_folder_name(given):
            raise RequestError(f"name {given!r} cannot be a folder's", position=where)
        if given in taken:
            raise RequestError(f"name {given!r} occurs twice", position=where)
        return given
    stem = net.name.removesuffix(".prototxt").removesuffix(".caffemodel")
    for words in ([stem], [net.parent.name, stem]):
        name = re.sub(r"[^\w.+-]+", "_", "-".join(filter(None, words))).strip("._") or "net"
        if name not in taken:
            return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)


def _is_folder_name(text: str) -> bool:
    return text.isprintable() and not text.startswith(".") and not set(text) & set('/\\:*?"<>|') and len(text) < 200
