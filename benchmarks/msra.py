#!/usr/bin/env python3
"""Assemble full-size cases of MSRA's ResNets: their deploy nets, seeded weights, and the original Caffe's answers.

    python -m benchmarks.msra OUT [50 101 152] [--shared ../shared]

Writes OUT/ResNet-50/ with net.prototxt, weights.caffemodel (102 MB; 241 MB for 152) and golden.npz. The weights are
those that the answers were computed with: their checksum says so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
DEPTHS = (50, 101, 152)
NETS = "prototxt/KaimingHe+deep-residual-networks/prototxt/ResNet-{}-deploy.prototxt"


def make_cases(out: Path, depths: Sequence[int] = DEPTHS, shared: Path = SHARED) -> list[Path]:
    """The folders of the cases; FileNotFoundError where the reference data is absent, ValueError for other weights."""
    folders = []
    with tarfile.open(shared / "corpus" / "prototxt.tar.xz") as corpus:
        wanted = {NETS.format(depth): depth for depth in depths}
        # One pass in the archive's order: seeking back would unpack it from the start.
        for member in corpus:
            if member.name in wanted:
                file = corpus.extractfile(member)
                assert file is not None
                folders.append(_make_case(out, wanted.pop(member.name), file.read(), shared))
    if wanted:
        raise FileNotFoundError(f"{shared / 'corpus'}: has no {', '.join(wanted)}")
    return sorted(folders, key=lambda folder: int(folder.name.partition("-")[2]))


def _make_case(out: Path, depth: int, net: bytes, shared: Path) -> Path:
    golden = shared / "golden" / "msra" / f"ResNet-{depth}"
    recipe = json.loads((golden / "weights.json").read_text(encoding="utf-8"))
    folder = out / golden.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.prototxt").write_bytes(net)
    weights = folder / "weights.caffemodel"
    # "bin/make_resnet_weights.py NET OUT --scale-factor 1": the words after the two names are what we need.
    options = recipe["make"].split()[3:]
    script = shared / "bin" / "make_resnet_weights.py"
    subprocess.run([sys.executable, script, folder / "net.prototxt", weights, *options], check=True)
    digest = _sha256(weights)
    if digest != recipe["sha256"]:
        raise ValueError(f"{weights}: sha256 is {digest}, but Caffe's answers are for {recipe['sha256']}")
    shutil.copyfile(golden / "golden.npz", folder / "golden.npz")
    return folder


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("depths", type=int, nargs="*", default=DEPTHS, metavar="DEPTH")
    parser.add_argument("--shared", type=Path, default=SHARED)
    arguments = parser.parse_args()
    for folder in make_cases(arguments.out, arguments.depths, arguments.shared):
        print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
