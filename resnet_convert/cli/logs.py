"""What the library logs, as the command line shows it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prototxt.names import shown_lines


class _Shown(logging.Formatter):
    """Names in messages as a terminal can show them."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))


@contextmanager
def reported() -> Iterator[None]:
    """In the block, what the library logs goes to standard error, one line each, as errors do, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Shown("%(message)s"))
    loggers = [logging.getLogger(name) for name in ("prototxt", "weights", "converter", "verify", "resnet_convert")]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
