"""The original Caffe's answers (see ../shared/golden/README.md), and nets written in a test's own text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from prototxt import load_net, parse_net
from verify import Trace, run
from weights import ArrayWeights, open_weights

TESTS = Path(__file__).resolve().parents[1]
ROOTS = (TESTS / "data" / "golden", TESTS.parents[1] / "shared" / "golden")


def cases(kind: str) -> list[Any]:
    """One test parameter for each folder of `golden/<kind>`; a skipped one where there are none."""
    for root in ROOTS:
        found = sorted(p.parent for p in (root / kind).glob("*/net.prototxt"))
        if found:
            return [pytest.param(folder, id=folder.name) for folder in found]
    return [
        pytest.param(None, id=kind, marks=pytest.mark.skip(f"golden/{kind} is neither in tests/data nor ../shared"))
    ]


@dataclass(frozen=True)
class Answer:
    """What Caffe left in one top: `values` at flat positions `where` (None: everywhere) of a blob of `shape`."""

    key: tuple[str, str]
    shape: tuple[int, ...]
    where: npt.NDArray[np.int64] | None
    values: npt.NDArray[np.float32]

    def error(self, got: npt.NDArray[np.float32]) -> float:
        """Largest difference as a share of Caffe's largest value; infinite where shapes or infinities differ."""
        if got.shape != self.shape or got.dtype != np.float32:
            return np.inf
        flat = got.ravel() if self.where is None else got.ravel()[self.where]
        finite = np.isfinite(self.values)
        if not np.array_equal(flat[~finite], self.values[~finite], equal_nan=True):
            return np.inf
        scale = np.abs(self.values[finite]).max(initial=1e-30)
        return float(np.abs(flat[finite].astype(np.float64) - self.values[finite]).max(initial=0) / scale)


def answers(arrays: Mapping[str, Any]) -> Iterator[Answer]:
    """Every top that Caffe was asked for; those of its automatic Split layers are left out."""
    for name in arrays:
        kind, _, rest = name.partition(":")
        layer, _, top = rest.rpartition(":")
        if layer.endswith("_split") and top.startswith(layer):
            continue
        if kind == "out":
            yield Answer((layer, top), arrays[name].shape, None, arrays[name].ravel())
        elif kind == "val":
            where = arrays.get(f"idx:{rest}")
            yield Answer((layer, top), tuple(arrays[f"shape:{rest}"]), where, arrays[name])


def run_case(
    folder: Path, *, phase: str = "TEST", feeds: Mapping[str, npt.ArrayLike] | None = None
) -> tuple[Trace, dict[str, Any]]:
    """Run a golden case on what Caffe was fed, or on `feeds`; gives the trace and the stored arrays."""
    stored = next(p for p in (folder / "golden.npz", folder / "io.npz") if p.exists())
    with np.load(stored) as file:
        arrays = dict(file)
    feeds = feeds or {
        name[3:]: value for name, value in arrays.items() if name.startswith("in:") and name.count(":") == 1
    }
    learned = next(iter(sorted(folder.glob("weights.caffemodel*"))), None)
    net = load_net(folder / "net.prototxt", phase=phase)
    if learned is None:
        return run(net, None, feeds, train=phase == "TRAIN"), arrays
    with open_weights(learned) as weights:
        return run(net, weights, feeds, train=phase == "TRAIN"), arrays


def run_text(
    text: str,
    feeds: Mapping[str, npt.ArrayLike],
    weights: Mapping[str, Sequence[npt.ArrayLike]] | None = None,
    **options: Any,
) -> Trace:
    """Run a net of the given layers, with an Input layer of each feed put before them."""
    inputs = "".join(f'layer {{ name: "{name}" type: "Input" top: "{name}" }}\n' for name in feeds)
    return run(parse_net(inputs + text, "net.prototxt"), ArrayWeights(weights or {}), feeds, **options)


def run_layer(
    settings: str,
    *bottoms: npt.ArrayLike,
    blobs: Sequence[npt.ArrayLike] | None = None,
    tops: int = 1,
    train: bool = False,
) -> list[npt.NDArray[np.float32]]:
    """The tops of one layer, given everything inside its braces but name, bottoms and tops."""
    names = [f"b{i}" for i in range(len(bottoms))]
    wires = "".join(f' bottom: "{n}"' for n in names) + "".join(f' top: "t{i}"' for i in range(tops))
    text = f'layer {{ name: "it" {settings}{wires} }}'
    learned = {} if blobs is None else {"it": blobs}
    trace = run_text(text, dict(zip(names, bottoms, strict=True)), learned, train=train)
    return [trace.blobs[f"t{i}"] for i in range(tops)]
