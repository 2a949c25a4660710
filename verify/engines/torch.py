"""Generated PyTorch modules: `DIR/model.py` run with every assigned blob recorded.

model.py is executed, as importing it would. Its syntax tree gets one call behind each assignment of `Model.forward`,
so the statements that run are the file's own, and neither a debugger nor a coverage tool is in the way.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from reprlib import repr as shortened
from traceback import extract_tb
from types import ModuleType
from typing import Any

import numpy as np

from prototxt import Position
from prototxt.errors import ModelError, RequestError
from prototxt.json_text import read_json
from prototxt.optional import need, need_torch
from prototxt.words import first_line, unreadable
from verify.engines.engine import Answers, Array, AtOnce, File, ModelInput, Take, assign_feeds, described_tops, fault
from verify.keys import Key

RECORD = "_record_for_verification"
LARGEST_HEADER = 100_000_000  # safetensors' own limit


class TorchModel(AtOnce):
    """A folder with model.py and model.safetensors, on the CPU.

    Raises:
        RequestError: files that are missing or broken, or a model.py without `load`.
        ModelError: a model.py that fails.
        MissingDependencyError: torch or safetensors is not installed.
    """

    def __init__(self, folder: File) -> None:
        self.path = Path(folder) / "model.py"
        self._torch: Any = need_torch(f"running {self.path}")
        need("safetensors", "safetensors", f"running {self.path}")
        self.name = f"PyTorch {self._torch.__version__}"
        self.metadata: Mapping[str, str] = safetensors_metadata(Path(folder) / "model.safetensors")
        self._tree = _parsed(self.path)
        self.assigned = record_assignments(self._tree)
        self._keys, self._notes = self._read_keys()
        self.blobs = tuple(self._keys.values())
        self.outputs: tuple[str, ...] = ()
        self._take: Take = lambda keys, array: None
        self._model = self._load()
        self.inputs = tuple(ModelInput(name) for name in _parameters(self._tree))

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run the module once; its outputs are the same pass's."""
        tops: dict[Key, Array] = {}

        def keep(keys: Sequence[Key], array: Array) -> None:
            tops.update((key, array.copy()) for key in keys)  # a later statement may work in place

        return replace(self.give(feeds, keep), tops=tops)

    def give(self, feeds: Mapping[str, Array], take: Take) -> Answers:
        """What `run` does; each blob is told before the statement behind it runs, which may work in place."""
        given = assign_feeds(self.inputs, feeds, self.path)
        torch, self._take = self._torch, take
        with torch.no_grad(), as_fault(self.path, "fails to run:"):
            made = self._model(*(torch.from_numpy(np.asarray(array, order="C")) for array in given.values()))
            outputs = returned_arrays(made)
        if list(outputs) == [""]:
            outputs = {_returned_name(self._tree, self.assigned, self._keys) or "output": outputs[""]}
        return Answers({}, outputs, self._notes)

    def _read_keys(self) -> tuple[dict[int, Key], tuple[str, ...]]:
        """The top that each recorded statement computes, and a note when that is not known."""
        entries = described_tops(self.metadata, self.path)
        if not entries:
            return {}, ("the model does not say which blobs it holds: only its outputs are compared",)
        if len(entries) != len(self.assigned):
            counts = f"{len(self.assigned)} assignments, {len(entries)} expected"
            return {}, (f"model.py was changed since its conversion ({counts}): only its outputs are compared",)
        keys: dict[int, Key] = {}
        for place, entry in enumerate(entries):
            if isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry):
                keys[place] = (entry[0], entry[1])
            elif entry is not None:
                raise fault(self.path, f"its metadata names a blob by {shortened(entry)}; expected [layer, top]")
        return keys, ()

    def _load(self) -> Any:
        return _executed(self._tree, self.path, {RECORD: self._record})

    def _record(self, place: int, value: Any) -> None:
        if place in self._keys and isinstance(value, self._torch.Tensor):
            self._take((self._keys[place],), value.detach().cpu().numpy())


def load_module(path: Path) -> Any:
    """What `load()` of a model.py gives, as it is shipped. The file is executed.

    Raises:
        RequestError: a file that is missing or broken, or without `load`.
        ModelError: a file that fails.
    """
    return _executed(_parsed(path), path, {})


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise fault(path, unreadable(error)) from error
    except (SyntaxError, ValueError) as error:
        raise fault(path, f"is no Python source: {first_line(error)}") from error


def _executed(tree: ast.Module, path: Path, names: Mapping[str, Any]) -> Any:
    module = ModuleType("_resnet_convert_model")
    module.__file__ = str(path.resolve())
    vars(module).update(names)
    with as_fault(path, "fails to load:"):
        exec(compile(tree, str(path), "exec"), vars(module))
        if not callable(getattr(module, "load", None)):
            raise fault(path, "has no function load()")
        return module.load()


@contextmanager
def as_fault(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a user's file raises, SystemExit too, into a ModelError with the line at fault."""
    try:
        yield
    except RequestError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # model.py may raise anything
        where = Position(str(path), line_in(error, path))
        raise ModelError(f"{what} {type(error).__name__}: {first_line(error)}", position=where) from error


def line_in(error: BaseException, path: Path) -> int:
    """The line of a file at which an error came up, or where it does not parse; 0 if it is none of that file's."""
    own = os.path.abspath(path)
    if isinstance(error, SyntaxError) and error.filename and os.path.abspath(error.filename) == own:
        return error.lineno or 0
    frames = [frame for frame in extract_tb(error.__traceback__) if os.path.abspath(frame.filename) == own]
    return (frames[-1].lineno or 0) if frames else 0


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The `__metadata__` of a .safetensors file's header; the tensors are not read.

    Raises:
        RequestError: not such a file.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = read_json(file.read(size)) if size <= LARGEST_HEADER else None
    except OSError as error:
        raise fault(path, unreadable(error)) from error
    except ValueError as error:
        raise fault(path, "is no safetensors file: its header is not JSON") from error
    if not isinstance(header, dict):
        raise fault(path, "is no safetensors file: its header is not a JSON object")
    entries = header.get("__metadata__") or {}
    return {str(key): str(value) for key, value in entries.items()}


def returned_arrays(made: Any) -> dict[str, Array]:
    """What `forward` gave, as arrays by name: a dict's own names, "" for a lone tensor, numbers for a sequence."""
    if isinstance(made, Mapping):
        named = {str(name): value for name, value in made.items()}
    elif isinstance(made, (tuple, list)):
        named = {f"output {place}": value for place, value in enumerate(made, 1)}
    else:
        named = {"": made}
    return {name: value.detach().cpu().numpy() for name, value in named.items()}


def _forward(tree: ast.Module) -> ast.FunctionDef | None:
    """`Model.forward`, if the file has it."""
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == "Model":
            for inner in statement.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "forward":
                    return inner
    return None


def _parameters(tree: ast.Module) -> list[str]:
    forward = _forward(tree)
    return [argument.arg for argument in forward.args.args[1:]] if forward else []


def record_assignments(tree: ast.Module) -> list[str | None]:
    """Put `RECORD(place, variable)` behind each assignment of `Model.forward`; returns the variables in order.

    An assignment to several names or to an attribute counts, as None, and is not recorded.
    """
    forward = _forward(tree)
    if forward is None:
        return []
    variables: list[str | None] = []
    body: list[ast.stmt] = []
    for statement in forward.body:
        body.append(statement)
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            variable = _target(statement)
            if variable is not None:
                body.append(_record_call(len(variables), variable, statement))
            variables.append(variable)
    forward.body = body
    return variables


def _target(statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> str | None:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def _record_call(place: int, variable: str, beside: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name(RECORD, ast.Load()), [ast.Constant(place), ast.Name(variable, ast.Load())], keywords=[])
    return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), beside))


def _returned_name(tree: ast.Module, assigned: list[str | None], keys: Mapping[int, Key]) -> str | None:
    """The blob that `return variable` gives: the top of the variable's last assignment."""
    forward = _forward(tree)
    last = forward.body[-1] if forward and forward.body else None
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Name)):
        return None
    places = [place for place, name in enumerate(assigned) if name == last.value.id]
    return keys[places[-1]][1] if places and places[-1] in keys else None
