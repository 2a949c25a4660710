"""The interpreter of Caffe nets: the reference that every converted model is compared with.

runs      a net on what it is fed
lanes     several runs side by side, layer by layer
steps     what they leave behind
wiring    which blob each layer reads, and which layers run
memory    which blobs share memory
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prototxt.by_need import names_by_need

if TYPE_CHECKING:
    from verify.interpreter.runs import run

__all__ = ["run"]

__getattr__ = names_by_need(__name__, {"verify.interpreter.runs": ("run",)})
