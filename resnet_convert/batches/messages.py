"""What a conversion in a process of its own says when it ends, in words for a summary: status, message, warnings."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Literal

from prototxt.errors import Position
from prototxt.words import cut
from resnet_convert.batches.process import Ended

Told = Literal["ok", "failed", "differs", "timed out"]
USAGE, DIFFERS = 2, 3
VERDICT = "parity: FAILED: "
MOST_LINES = 10
LONGEST_LINE = 400
KIND = re.compile(r"^(.*?\b)??(warning|error): ")
"""`warning: …`, `net.prototxt:3:1: error: …`: whichever of the two words comes first."""


def messages_of(ended: Ended, where: Position, timeout: float) -> tuple[Told, str, tuple[str, ...]]:
    """How it went, why not well, and what was warned of.

    Args:
        ended: the process.
        where: the manifest's line.
        timeout: the time that it had, in seconds.
    """
    lines = [cut(line, LONGEST_LINE) for line in ended.errors.splitlines() if line.strip()]
    warnings = tuple(line.removeprefix("warning: ") for line in lines if _is_warning(line))[:MOST_LINES]
    errors = [line for line in lines if not _is_warning(line)]
    if ended.status is None:
        return "timed out", f"stopped after {timeout:g} s", warnings
    if ended.status == 0:
        return "ok", "", warnings
    if ended.status == DIFFERS:
        verdicts = [line.removeprefix(VERDICT) for line in errors if line.startswith(VERDICT)]
        return "differs", verdicts[-1] if verdicts else _shortened(errors), warnings
    if ended.status < 0:
        return "failed", _killed(-ended.status, errors), warnings
    if any(line.startswith("Traceback ") for line in errors):  # a fault of ours, or of a plugin
        return "failed", f"crashed: {errors[-1]}", warnings
    if ended.status == USAGE and errors and errors[0].startswith("error: "):
        errors[0] = f"{where}: {errors[0]}"
    return "failed", _shortened(errors) or f"ended with status {ended.status}", warnings


def _is_warning(line: str) -> bool:
    found = KIND.match(line)
    return found is not None and found[2] == "warning"


def _killed(number: int, errors: Sequence[str]) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    why = ", as the system does when memory runs out: fewer --jobs need less" if name == "SIGKILL" else ""
    return "\n".join([f"ended by {name}{why}", *errors[-MOST_LINES:]])


def _shortened(lines: Sequence[str]) -> str:
    """The first lines: errors come in the order of the file."""
    more = len(lines) - MOST_LINES
    return "\n".join([*lines[:MOST_LINES], *([f"… and {more} more lines in its log"] if more > 0 else [])])
