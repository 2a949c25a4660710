"""The command line: `resnet-convert [convert|verify|inspect|upgrade] …`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module

from converter.cli_options import Arguments, parse_arguments
from converter.plugins import load_plugin
from prototxt.errors import CaffeModelError, ErrorGroup, MissingDependencyError, ParityError, RequestError

DONE, MODEL_AT_FAULT, USAGE, VERIFICATION_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0 done, 1 the model is at fault, 2 usage, 3 verification failed (130 interrupted).
    """
    # A polite end by the system ends like Ctrl-C: what is half written is taken away.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    try:
        arguments = parse_arguments(list(sys.argv[1:] if argv is None else argv))
        _report_warnings()
        for plugin in arguments.plugins:
            load_plugin(plugin)
        status = _command(arguments.verb)(arguments)
        sys.stdout.flush()
        return status
    except CaffeModelError as error:
        print(error, file=sys.stderr)
        return _status(error)
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        print("error: this takes more memory than there is; try a smaller --input-shape", file=sys.stderr)
        return MODEL_AT_FAULT
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell, and Python would try once more at exit.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _interrupt() -> None:
    raise KeyboardInterrupt


def _command(verb: str) -> Callable[[Arguments], int]:
    """The verb's function; only its own module is loaded."""
    run: Callable[[Arguments], int] = import_module(f"converter.commands.{verb}").run
    return run


def _status(error: CaffeModelError) -> int:
    if isinstance(error, ErrorGroup):
        return max(map(_status, error.errors), default=MODEL_AT_FAULT)
    if isinstance(error, ParityError):
        return VERIFICATION_FAILED
    return USAGE if isinstance(error, (RequestError, MissingDependencyError)) else MODEL_AT_FAULT


def _report_warnings() -> None:
    """What the library logs goes to standard error, one line each, as errors do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for package in ("prototxt", "weights", "converter", "verify"):
        logging.getLogger(package).handlers = [handler]
        logging.getLogger(package).propagate = False


if __name__ == "__main__":
    sys.exit(main())
