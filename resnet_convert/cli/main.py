"""The command line: `resnet-convert [convert|verify|inspect|upgrade] …`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from prototxt.errors import CaffeModelError, ErrorGroup, MissingDependencyError, ModelError, ParityError, RequestError
from resnet_convert.cli.garbage import put_off, take_up
from resnet_convert.cli.output import lasting_output
from resnet_convert.cli.statuses import DONE, INTERRUPTED, MODEL_AT_FAULT, USAGE, VERIFICATION_FAILED
from resnet_convert.cli.verbs import GO_ON, parse

if TYPE_CHECKING:
    from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 done, 1 the model is at fault, 2 usage, 3 verification failed (130 interrupted). Without `argv` the words are the
    process's own, and so is the process.
    """
    if argv is not None:
        return _answered(list(argv))
    with put_off():
        return _answered(sys.argv[1:])


def _answered(words: list[str]) -> int:
    # A polite end by the system ends like Ctrl-C: what is half written is taken away.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    with lasting_output() as output:
        status = _run(words)
        sys.stdout.flush()
        # Where the reader of our output went away (`| head`), the status of the work counts.
        if output.failure is not None and not isinstance(output.failure, BrokenPipeError):
            print(f"error: standard output cannot be written: {output.failure.strerror}", file=sys.stderr)
            status = status or MODEL_AT_FAULT
    return status


def _run(words: list[str]) -> int:
    written: Sequence[Path] = ()
    try:
        try:
            command = parse(words)
        except SystemExit as answered:  # --help
            return int(answered.code or DONE)
        from resnet_convert.cli.logs import reported
        from weights import noting_outputs

        if command.verb in GO_ON:
            take_up()
        with reported(), noting_outputs() as written:
            return command.run(command.parsed)
    except CaffeModelError as error:
        _fail(words, list(map(str, error.each)), [each.to_json() for each in error.each])
        return _status(error)
    except KeyboardInterrupt as interrupt:
        _fail_otherwise(words, "KeyboardInterrupt", str(interrupt) or _after_all(written))
        return INTERRUPTED
    except MemoryError:
        _fail_otherwise(
            words, "MemoryError", "error: this takes more memory than there is; try a smaller --input-shape"
        )
        return MODEL_AT_FAULT
    except SystemExit as left:
        _fail_otherwise(words, "SystemExit", f"error: code of a plugin or model ended the run: SystemExit: {left.code}")
        return MODEL_AT_FAULT


def _fail(words: list[str], lines: list[str], facts: list[dict[str, str | int | None]]) -> None:
    """Say what went wrong, as JSON too where the result would have been."""
    from resnet_convert.cli.terminal import say

    say(*lines, failed=True)
    if "--json" in words:
        import json

        print(json.dumps({"errors": facts}))


def _fail_otherwise(words: list[str], kind: str, message: str) -> None:
    facts = CaffeModelError(message.removeprefix("error: ")).to_json()
    _fail(words, [message], [{**facts, "kind": kind}])


def _after_all(written: Sequence[Path]) -> str:
    there = [str(path) for path in written if path.exists()]  # what was for the run alone is gone by now
    return f"interrupted; {', '.join(there) or 'nothing'} was written"


def _interrupt() -> None:
    raise KeyboardInterrupt


def _status(error: CaffeModelError) -> int:
    if isinstance(error, ErrorGroup):
        return max(map(_status, error.errors), default=MODEL_AT_FAULT)
    if isinstance(error, ParityError):
        return VERIFICATION_FAILED
    if isinstance(error, ModelError):
        return MODEL_AT_FAULT
    return USAGE if isinstance(error, (RequestError, MissingDependencyError)) else MODEL_AT_FAULT


if __name__ == "__main__":
    sys.exit(main())
