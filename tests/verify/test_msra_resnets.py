"""MSRA's ResNets at full size: the original Caffe's answer at every layer, within the time and memory promised."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from prototxt import load_net
from tests.verify.caffe_answers import answers
from verify import run
from weights import open_weights

MEMBER = "KaimingHe+deep-residual-networks/prototxt/ResNet-{}-deploy.prototxt"


def deploy_net(shared: Path, depth: int, folder: Path) -> Path:
    """MSRA's own file out of the corpus."""
    with tarfile.open(shared / "corpus" / "prototxt.tar.xz") as corpus:
        member = next(m for m in corpus if m.name.endswith(MEMBER.format(depth)))
        stream = corpus.extractfile(member)
        assert stream is not None
        path = folder / "deploy.prototxt"
        path.write_bytes(stream.read())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50])
def test_an_msra_resnet_gives_caffes_numbers_at_every_layer(depth: int, shared: Path, tmp_path: Path) -> None:
    text = deploy_net(shared, depth, tmp_path)
    learned = tmp_path / "model.caffemodel"
    maker = [sys.executable, shared / "bin" / "make_resnet_weights.py", text, learned, "--scale-factor", "1"]
    subprocess.run(maker, check=True, capture_output=True)
    with np.load(shared / "golden" / "msra" / f"ResNet-{depth}" / "golden.npz") as file:
        arrays = dict(file)
    with open_weights(learned) as weights:
        trace = run(load_net(text), weights, {"data": arrays["in:data"]})
    errors = {a.key: a.error(trace.tops[a.key]) for a in answers(arrays)}
    assert len(errors) > 200
    assert max(errors.values()) < 1e-5, max(errors, key=lambda k: errors[k])
