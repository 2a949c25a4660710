"""How a command ends, as its exit status says."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
MODEL_AT_FAULT: Final = 1
USAGE: Final = 2
VERIFICATION_FAILED: Final = 3
INTERRUPTED: Final = 130

STATUSES: Final = "exit status: 0 done, 1 the model is at fault, 2 usage, 3 verification failed"
