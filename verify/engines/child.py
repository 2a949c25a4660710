"""The process that runs somebody's model: opens it, says what it is, and runs it on what it is fed.

It leads a process group of its own, and ends itself with all that the model's code has started when its parent is
gone. What that code prints goes to standard error: standard output is for the answers.
"""

from __future__ import annotations

import os
import signal
import sys
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

from prototxt.errors import CaffeModelError
from verify.engines.engine import Engine
from verify.engines.messages import Message, read_message, write_message
from verify.engines.opening import open_model


def main() -> None:
    """Serve the process at the other end of standard input and output."""
    # model.py is somebody's code, and standard output anybody's: only this descriptor is ours.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: SimpleQueue[Message] = SimpleQueue()
    Thread(target=_listen, args=(os.fdopen(os.dup(0), "rb"), requests), daemon=True).start()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        engine = open_model(sys.argv[-1])
        write_message(answers, _facts(engine))
        while True:
            request = requests.get()
            feeds = dict(zip(request.fields["names"], request.arrays, strict=True))
            told = engine.give(feeds, lambda keys, array: write_message(answers, {"tops": list(keys)}, [array]))
            del feeds, request
            write_message(answers, {"outputs": list(told.outputs), "notes": told.notes}, list(told.outputs.values()))
    except CaffeModelError as error:
        write_message(answers, _fault(error))


def _listen(stream: BinaryIO, requests: SimpleQueue[Message]) -> None:
    while (message := read_message(stream)) is not None:
        requests.put(message)
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _facts(engine: Engine) -> dict[str, Any]:
    return {
        "name": engine.name,
        "inputs": [[entry.name, entry.shape] for entry in engine.inputs],
        "metadata": dict(engine.metadata),
        "blobs": engine.blobs,
        "outputs": engine.outputs,
    }


def _fault(error: CaffeModelError) -> dict[str, Any]:
    return {"fault": type(error).__name__, "message": error.message, "position": error.position}
