"""What the conversion of a whole zoo gave, net by net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["ok", "failed", "differs", "skipped", "timed out", "ambiguous", "missing"]
"""`failed`: no model was made; `differs`: one was, and its numbers leave their bounds; `skipped`: not reached yet;
`ambiguous`: several files are as good a pair; `missing`: a file is not there. The last two are said before any work."""


@dataclass(frozen=True)
class Outcome:
    """What became of one net of a batch.

    Attributes:
        name: what the manifest calls it.
        net, weights: paths; `weights` is empty where the net's were random.
        target: what it was converted to: `onnx`, `torch` …
        status: how it went.
        message: why it did not go well, or what else there is to say; one or more sentences.
        seconds: what the whole process took.
        megabytes: size of what was written, in units of 10⁶ bytes.
        layers: of the net.
        blobs_compared: of these, how many blobs were compared with Caffe's numbers.
        worst_share: the largest error as a share of its bound, inf where it has no size; None where nothing was
            compared.
        output: the model: a path relative to the summary page; empty without one.
        report: the net's own parity page, likewise.
        log: what the conversion printed, likewise.
        fingerprint: of the files, the options and this version.
        warnings: of the conversion, and why there was no comparison.
        why: how net and weights were found to be a pair, where no manifest names them.
    """

    name: str
    net: str
    weights: str
    target: str
    status: Status
    message: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    layers: int = 0
    blobs_compared: int = 0
    worst_share: float | None = None
    output: str = ""
    report: str = ""
    log: str = ""
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    why: str = ""
