"""Write every case into tests/data/golden/forks: `python -m tests.naive`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import tests.naive  # noqa: F401 (registers the cases)
from tests.drawn.base import Drawn, net_text
from tests.naive.base import Naive, cases
from weights import ArrayWeights, write_caffemodel

FORKS = Path(__file__).resolve().parents[1] / "data" / "golden" / "forks"


def write(made: Naive, folder: Path) -> None:
    """One case as net.prototxt, golden.npz and, with learned blobs, weights.caffemodel."""
    folder.mkdir(parents=True)
    (folder / "net.prototxt").write_text(net_text(Drawn(made.text, made.feeds)), encoding="utf-8")
    arrays = {f"in:{name}": feed for name, feed in made.feeds.items()}
    arrays |= {f"out:{layer}:{top}": np.asarray(y, np.float32) for (layer, top), y in made.answers.items()}
    np.savez(folder / "golden.npz", **arrays)  # type: ignore[arg-type]
    if made.blobs:
        write_caffemodel(folder / "weights.caffemodel", "", ArrayWeights(made.blobs).layers)


if __name__ == "__main__":
    shutil.rmtree(FORKS, ignore_errors=True)
    for name, make in cases().items():
        write(make(), FORKS / name)
