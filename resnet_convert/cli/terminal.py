"""What the command line prints: files' words escaped, words wrapped at the terminal's width, one progress line.

Results go to standard output, warnings, errors and what failed to standard error. Nothing is coloured. Where a stream
is no terminal, lines are as long as they are and no progress is drawn.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from prototxt.names import shown

if TYPE_CHECKING:
    from resnet_convert.option import Request

LONGEST_WORD = 160
"""Characters of a name that are shown; of a longer one the middle is left out."""

PATIENCE = 1.0
"""Seconds before a terminal is told what takes so long."""

BETWEEN = 0.2
"""Seconds between two states of the progress line."""

_LONG = rf"\S{{{LONGEST_WORD},}}|(?<!\w)'[^']{{{LONGEST_WORD},}}'(?!\w)"
_WIPE = "\r\x1b[K"


def say(*lines: str, failed: bool = False) -> None:
    """Print sentences, a line each."""
    stream = sys.stderr if failed else sys.stdout
    for line in lines:
        print(_wrapped(tidy(line), stream), file=stream)


def table(lines: Iterable[str], *, failed: bool = False) -> None:
    """Print lines whose columns stand below each other: nothing is wrapped or cut, the cells were."""
    stream = sys.stderr if failed else sys.stdout
    for line in lines:
        print(shown(line), file=stream)


def say_json(facts: Any, request: Request) -> None:
    """Print a result for other programs, and what made it of which files."""
    import json

    from resnet_convert.provenance import provenance

    print(json.dumps({**facts, "provenance": provenance(request)}))


def warn(text: str) -> None:
    """Print what the user should know though nothing fails."""
    say(f"warning: {text}", failed=True)


def tidy(line: str) -> str:
    """A line as a terminal can show it: what it would act upon as escapes, of long words the ends."""
    return re.sub(_LONG, _cut, shown(line))


def _cut(found: re.Match[str]) -> str:
    half = LONGEST_WORD // 2 - 1
    return f"{found[0][:half]}…{found[0][-half:]}"


def _wrapped(line: str, stream: TextIO) -> str:
    if not stream.isatty():
        return line
    import textwrap

    width = max(40, _columns() - 1)
    inner = len(line) - len(line.lstrip()) + 2
    pieces = textwrap.wrap(line, width, subsequent_indent=" " * inner, break_long_words=False, break_on_hyphens=False)
    return "\n".join(pieces) or line


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


class Progress:
    """The one line of progress: what is done of what, and the time that the rest takes; wiped at the end."""

    def __init__(self) -> None:
        self._text = self._doing = ""
        self._begun = self._drawn_at = 0.0
        self._due = False

    def __call__(self, doing: str, done: int = 0, total: int = 0) -> None:
        """Say what is being done, how many layers of how many if they are counted; drawn once that takes long."""
        if not total or doing != self._doing:
            self._doing, self._begun = doing, monotonic()
        rest = time_left(done, total, monotonic() - self._begun)
        counted = ", ".join(filter(None, (f"layer {done} of {total}", rest)))
        self._text = f"{counted}: {doing}" if total else f"{doing} …"
        if self._due and monotonic() - self._drawn_at > BETWEEN:
            self._draw()

    def _draw(self) -> None:
        self._due = True
        self._drawn_at = monotonic()
        width = _columns() - 1
        print(f"{_WIPE}{tidy(self._text)[:width]}", end="", file=sys.stderr, flush=True)

    def _wipe(self) -> None:
        if self._due:
            print(_WIPE, end="", file=sys.stderr, flush=True)


@contextmanager
def progress(talks: bool) -> Iterator[Progress | None]:
    """A progress line while a block runs; None where nobody would see it."""
    if not talks or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    from threading import Timer

    line = Progress()
    timer = Timer(PATIENCE, line._draw)
    timer.daemon = True
    timer.start()
    try:
        yield line
    finally:
        timer.cancel()
        line._wipe()


def time_left(done: int, total: int, seconds: float) -> str:
    """How long the rest takes if it goes on as it did for `seconds`; empty before anything is known."""
    if not done or seconds <= 0:
        return ""
    left = seconds / done * (total - done)
    if left < 90:
        return f"{left:.0f} s left"
    return f"{left / 60:.0f} min left" if left < 5400 else f"{left / 3600:.0f} h left"
