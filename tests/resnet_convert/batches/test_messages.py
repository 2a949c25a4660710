"""What a conversion printed, shortened to what a summary has room for."""

from __future__ import annotations

import pytest

from prototxt.errors import Position
from resnet_convert.batches.messages import MOST_LINES, messages_of
from resnet_convert.batches.process import Ended

LINE = Position("zoo.csv", 7)


def told(status: int | None, *lines: str) -> tuple[str, str, tuple[str, ...]]:
    return messages_of(Ended(status, "", "\n".join(lines)), LINE, 90.0)


def test_all_is_well_but_for_warnings() -> None:
    lines = ("warning: one", "net.prototxt:3:1: warning: unknown field 'error: x' is left out", "odd chatter")
    assert told(0, *lines) == ("ok", "", ("one", lines[1]))


def test_errors_are_told_and_warnings_apart() -> None:
    lines = (
        "a.prototxt:2:1: warning: b",
        "a.prototxt:3:1: error: layer 'warning: x' is odd",
        "a.prototxt:4:1: error: d",
    )
    assert told(1, *lines) == ("failed", "\n".join(lines[1:]), (lines[0],))


def test_the_first_of_many_errors_are_told() -> None:
    status, message, _ = told(1, *(f"net.prototxt:{n}:1: error: no" for n in range(1, 31)))
    *first, last = message.splitlines()
    assert (status, len(first), first[0]) == ("failed", MOST_LINES, "net.prototxt:1:1: error: no")
    assert last == f"… and {30 - MOST_LINES} more lines in its log"


def test_an_error_without_a_place_gets_the_manifests_line() -> None:
    assert told(2, "error: argument --fold: no") == ("failed", "zoo.csv:7: error: argument --fold: no", ())
    assert told(2, "m.binaryproto: error: no such file")[1] == "m.binaryproto: error: no such file"
    assert told(1, "error: this takes more memory than there is")[1] == "error: this takes more memory than there is"


def test_of_a_comparison_the_verdict_is_told() -> None:
    table = ("     blob  max abs", "BAD  y     1.4", "parity: FAILED: 0 of 1 blobs; first out of bounds: y")
    assert told(3, *table) == ("differs", "0 of 1 blobs; first out of bounds: y", ())
    assert told(3, "parity: NOTHING COMPARED in onnxruntime")[:2] == (
        "differs",
        "parity: NOTHING COMPARED in onnxruntime",
    )


def test_a_crash_is_told_by_its_last_line() -> None:
    lines = ("Traceback (most recent call last):", '  File "x.py", line 1', "ValueError: so it is")
    assert told(1, *lines)[:2] == ("failed", "crashed: ValueError: so it is")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (9, "ended by SIGKILL, as the system does when memory runs out: fewer --jobs need less"),
        (11, "ended by SIGSEGV\nlast words"),
        (50, "ended by signal 50\nlast words"),
    ],
)
def test_a_signal_is_named(number: int, message: str) -> None:
    assert told(-number, *message.splitlines()[1:])[:2] == ("failed", message)


def test_time_that_ran_out_and_silence_are_told() -> None:
    assert told(None, "interrupted; nothing was written") == ("timed out", "stopped after 90 s", ())
    assert told(5) == ("failed", "ended with status 5", ())


def test_lines_without_end_are_cut() -> None:
    _, message, _ = told(1, "x" * 100_000)
    assert len(message) == 400
    assert "x…x" in message
