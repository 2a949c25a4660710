"""One pass through a PyTorch module, followed in the first way that does it.

    torch.export    everything that a pass computes, and what it leaves alone
    torch.fx        where export fails: symbolic tracing, then a run of what it gave (`converter.matching.watching`)
    hooks           where that fails too: a run of the module itself, with forward hooks

The module is left as it was: both kinds of tracing run its code on stand-ins for tensors, which it may keep.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from traceback import extract_tb
from typing import Any, Literal

from prototxt import Position
from prototxt.errors import UnsupportedError
from prototxt.optional import need_torch
from prototxt.words import first_line

Way = Literal["torch.export", "torch.fx", "hooks"]


@dataclass(frozen=True)
class Followed:
    """A pass that was followed.

    Attributes:
        program: its steps, as `torch.export` gives them.
        way: how it was followed.
        failed: why not in the ways before, in words; empty for the first.
    """

    program: Any
    way: Way = "torch.export"
    failed: str = ""


def follow(module: Any, shapes: Sequence[tuple[int, ...]]) -> Followed:
    """Follow a pass through a module in eval mode.

    Raises:
        UnsupportedError: a module that fails on such inputs, or of which no two passes are alike.
    """
    torch = need_torch("matching a module")
    failed = []
    try:
        with _quiet(), _kept(module):
            return Followed(torch.export.export(module, tuple(torch.zeros(shape) for shape in shapes)))
    except Exception as error:  # noqa: BLE001 (whatever the module's code raises, or torch on its way through it)
        failed.append(f"torch.export: {_said(error)}")
    from converter.matching.watching import HangsOnNumbersError, by_fx, by_hooks

    random = torch.Generator().manual_seed(0)
    feeds = [torch.randn(shape, generator=random) for shape in shapes]
    ways: dict[Way, Callable[[Any, Sequence[Any]], Any]] = {"torch.fx": by_fx, "hooks": by_hooks}
    for way, watch in ways.items():
        try:
            with _kept(module):
                return Followed(watch(module, feeds), way, "; ".join(failed))
        except HangsOnNumbersError as error:
            what = f"what {type(module).__name__} does hangs on the numbers that it is fed, at {error}"
            raise UnsupportedError(f"{what} ({'; '.join(failed)})") from error
        except Exception as error:  # noqa: BLE001 (as above)
            failed.append(f"{way}: {_said(error)}")
            last = error
    raise UnsupportedError(
        f"{type(module).__name__} fails on an input of {_listed(shapes)}: {_said(last)}", position=_place(module, last)
    ) from last


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in shapes)


def _place(module: Any, error: BaseException) -> Position | None:
    """The line of the user's own code at which an error came up."""
    names = {type(each).__module__ for each in module.modules()}
    own = {getattr(sys.modules.get(name), "__file__", None) for name in names if name.partition(".")[0] != "torch"}
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in own]
    return Position(os.path.relpath(frames[-1].filename), frames[-1].lineno or 0) if frames else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Have torch say nothing: of what it cannot follow it gives accounts of its own, and here that is no end."""
    known = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "torch"]
    were = [(logger, logger.disabled) for logger in map(logging.getLogger, known)]
    for logger, _ in were:
        logger.disabled = True
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in were:
            logger.disabled = was


@contextmanager
def _kept(module: Any) -> Iterator[None]:
    """Leave a module's attributes as they were."""
    were = [(own, dict(own)) for each in module.modules() for own in (vars(each), *_dicts(vars(each)))]
    try:
        yield
    finally:
        for own, was in were:
            own.clear()
            own.update(was)


def _dicts(attributes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("_parameters", "_buffers", "_modules"):
        if isinstance(attributes.get(name), dict):
            yield attributes[name]
