"""The list of nets that `batch` converts: a CSV file with a head line.

net             path of the .prototxt (or of a .caffemodel, whose own net counts), from the manifest's folder
weights         path of the weight file; may be empty or absent
name            what the net's folder is called; by default made from the path
anything else   an option of a conversion by its name, see OPTIONS; several values of one that may be repeated are
                separated by `;`; allow_unknown wants true or false

Commas, semicolons or tabs separate the cells, as spreadsheets write them: the one that gives the head line a `net`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import Literal, TypeAlias, get_args

from converter.options import Target
from prototxt.errors import CaffeModelError, ErrorGroup, Position, RequestError, raise_all
from prototxt.words import unreadable

Trouble: TypeAlias = Literal["", "ambiguous", "missing", "failed"]

OPTIONS = (
    "to fold opset input_shape outputs mean scale input_order random_weights dialect plugin allow_unknown "
    "phase stage level"
).split()
REPEATED = frozenset(("input_shape", "dialect", "plugin", "stage"))
SWITCHES = frozenset(("allow_unknown",))
TRUTHS = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
SEPARATORS = ",;\t"
COMMON_NAMES = frozenset("deploy net model train_val trainval train test".split())
"""What many nets' files are called; the folder's name tells such nets apart."""
RESERVED = ("summary.html", "summary.json")
"""What lies in OUT beside the nets' folders."""
LONGEST_NAME = 200
"""Bytes of a folder's name; file systems end at 255."""


@dataclass(frozen=True)
class Entry:
    """One net of a manifest.

    Attributes:
        name: of its folder.
        folder: the manifest's, absolute; paths start there.
        net, weights: paths as the manifest has them; weights are None where there are none.
        options: by name, as on the command line without dashes and with `_` for `-`.
        position: its line; of a net that was found in a tree the file.
        why: how the pair was found.
        stated_in: the readme.md or model.yml of a zoo's folder that names the two: NET is that folder then.
        trouble: why the net cannot be converted; empty for one that can be tried.
        message: the same, in a sentence.
    """

    name: str
    folder: Path
    net: str
    weights: str | None
    options: Mapping[str, tuple[str, ...]]
    position: Position
    why: str = ""
    stated_in: str = ""
    trouble: Trouble = ""
    message: str = ""


def read_manifest(path: str) -> list[Entry]:
    """The nets of a manifest, in its order.

    Whether a net's files exist and its options make sense is not looked at.

    Raises:
        RequestError: a file that cannot be read, has no `net` column or an unknown one; rows that are no rows of it,
            names that cannot be folders' or occur twice: all faults of the rows at once (ErrorGroup).
    """
    rows = _rows(_text(path), path)
    where, head = next(rows, (Position(path, 1), []))
    columns = _columns(head, where)
    found: list[tuple[Position, dict[str, str]]] = []
    errors: list[CaffeModelError] = []
    while True:
        try:
            where, cells = next(rows)
            found.append((where, _cells(columns, cells, where)))
        except StopIteration:
            break
        except RequestError as error:
            errors.append(error)
    try:
        names = _names(found)
    except ErrorGroup as group:
        errors += group.errors
    raise_all(sorted(errors, key=_line))
    if not found:
        raise RequestError("lists no nets", position=Position(path))
    folder = Path(path).absolute().parent
    return [_entry(name, folder, row, where) for name, (where, row) in zip(names, found, strict=True)]


def _text(path: str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RequestError(unreadable(error), position=Position(path)) from error
    except UnicodeDecodeError as error:
        raise RequestError("is no text in UTF-8; a manifest is a CSV file", position=Position(path)) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RequestError("holds a NUL byte; a manifest is a CSV file", position=Position(path, line))
    return text


def _rows(text: str, path: str) -> Iterator[tuple[Position, list[str]]]:
    """Rows that are not empty, with their first lines; what is no CSV is raised in its turn and ends them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), skipinitialspace=True, strict=True)
    while True:
        where = Position(path, reader.line_num + 1)
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            hint = "a quote is never closed" if "end of data" in str(error) else str(error)
            raise RequestError(f"is no CSV: {hint}", position=where) from error
        if any(cells):
            yield where, cells


def _separator(text: str) -> str:
    """The one that gives the first line that says something a column `net`; a comma where none does."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    return next((s for s in SEPARATORS if "net" in [c.strip(' \t"').lower() for c in head.split(s)]), ",")


def _columns(head: Sequence[str], where: Position) -> list[str]:
    columns = [cell.lower().replace("-", "_") for cell in head]
    known = ("name", "net", "weights", *OPTIONS)
    if "net" not in columns:
        raise RequestError(f"has no column 'net'; its head line is {', '.join(head) or 'empty'}", position=where)
    for column in filter(None, columns):
        if column not in known:
            raise RequestError(f"unknown column {column!r}; expected {', '.join(known)}", position=where)
        if columns.count(column) > 1:
            raise RequestError(f"column {column!r} occurs twice", position=where)
    return columns


def _cells(columns: Sequence[str], cells: Sequence[str], where: Position) -> dict[str, str]:
    """The cells of a row that are not empty, by column."""
    while len(cells) > len(columns) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) > len(columns):
        hint = '; a value that holds the separator wants quotes, as in "104,117,123"'
        raise RequestError(f"has {len(cells)} cells for {len(columns)} columns{hint}", position=where)
    row = {column: cell for column, cell in zip(columns, cells, strict=False) if cell}
    if "" in row:
        raise RequestError(f"has {row['']!r} in a column without a name", position=where)
    if "net" not in row:
        raise RequestError("names no net", position=where)
    if row.get("to", "onnx") not in get_args(Target):
        raise RequestError(f"to {row['to']!r}; expected {', '.join(get_args(Target))}", position=where)
    for switch in SWITCHES & row.keys():
        if row[switch].lower() not in TRUTHS:
            raise RequestError(f"{switch} {row[switch]!r}; expected true or false", position=where)
        row[switch] = TRUTHS[row[switch].lower()]
    return row


def _entry(name: str, folder: Path, row: Mapping[str, str], where: Position) -> Entry:
    options = {option: _values(option, row[option]) for option in OPTIONS if option in row}
    return Entry(name, folder, row["net"], row.get("weights"), options, where)


def _values(option: str, text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(";")))) if option in REPEATED else (text,)


def _names(rows: Sequence[tuple[Position, Mapping[str, str]]]) -> list[str]:
    """A folder's name for each row; those that the manifest gives come first, so that no made one is in their way.

    Names that differ in case alone count as the same: on some file systems they are.

    Raises:
        ErrorGroup: given names that cannot be.
    """
    taken, errors = dict.fromkeys(RESERVED, 0), []
    for where, row in rows:
        name = row.get("name")
        if name is None:
            continue
        if not _is_folder_name(name):
            errors.append(RequestError(f"name {name!r} cannot be a folder's", position=where))
        elif name.casefold() in taken:
            line = taken[name.casefold()]
            why = f"is also that of line {line}" if line else "is that of the summary's file"
            errors.append(RequestError(f"name {name!r} {why}", position=where))
        taken.setdefault(name.casefold(), where.line)
    if errors:
        raise ErrorGroup(errors)
    return names_for([(row["net"], row.get("name")) for _, row in rows], set(taken))


def names_for(nets: Iterable[tuple[str, str | None]], taken: Collection[str] = RESERVED) -> list[str]:
    """A folder's name for each net.

    Args:
        nets: paths, each with the name that it shall have, where it shall have one.
        taken: names in lower case that none of the others can have.
    """
    names: list[str] = []
    seen: set[str] = set()
    taken = set(taken)
    for net, given in nets:
        wishes = _wishes(net, again=net in seen)
        name = given or next(wish for wish in wishes if wish.casefold() not in taken)
        seen.add(net)
        taken.add(name.casefold())
        names.append(name)
    return names


def _is_folder_name(text: str) -> bool:
    fits = len(text.encode()) <= LONGEST_NAME
    return fits and text.isprintable() and not text.startswith(".") and not set(text) & set('/\\:*?"<>|')


def _wishes(net: str, *, again: bool) -> Iterator[str]:
    """Names for a net, the shortest first: `resnet/deploy.prototxt` is resnet, then resnet-deploy, then resnet-2 …

    What a net is called depends on the rows before it only, so that a manifest can grow between two runs.

    Args:
        net: its path.
        again: a row before has the same path: its folders tell the two not apart.
    """
    path = PurePath(net)
    stem = path.name.removesuffix(".prototxt").removesuffix(".h5").removesuffix(".caffemodel")
    folders = [part for part in path.parts[:-1] if part not in ("/", "..")]
    first = _cleaned(folders[-1] if folders and stem.lower() in COMMON_NAMES else stem)
    yield first
    for depth in range(1, 1 if again else len(folders) + 1):
        yield _cleaned("-".join([*folders[-depth:], stem]))
    yield from (f"{first}-{number}" for number in count(2))


def _cleaned(text: str) -> str:
    name = re.sub(r"[^\w.+-]+", "_", text).encode()[: LONGEST_NAME - 10].decode(errors="ignore").strip("._-")
    return name or "net"


def _line(error: CaffeModelError) -> int:
    return error.position.line if error.position else 0
