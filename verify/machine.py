"""What this machine has to run on."""

from __future__ import annotations

import os

from weights.machine import physical_memory

__all__ = ["physical_memory", "processors", "room_for"]

_AT_ONCE = 4  # a model's run, the interpreter's, the one with rounding errors, and each layer alone
_BYTES = 4
_SURELY_THERE = 1 << 26  # of memory; what a machine has is read from the kernel's files, which takes 0.1 ms each time


def processors() -> int:
    """Those that this process may use; onnxruntime would count the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room_for(values: int) -> bool:
    """Whether blobs of so many values can be compared within half of the machine's memory."""
    needed = _AT_ONCE * _BYTES * values
    return needed <= _SURELY_THERE or needed <= physical_memory() // 2
