"""Checks that a converted model gives Caffe's numbers; shares no code with what it checks."""

from verify.interpreter import Step, Trace, run
from verify.layers import known_types

__all__ = ["Step", "Trace", "known_types", "run"]
