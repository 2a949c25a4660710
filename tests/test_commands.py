"""Every command that a document shows, run in a folder that has the files it names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prototxt.caffe_pb2 import BlobProto
from tests.documents import ROOT, Example, environment, run

COMMAND = re.compile(r"^(?:    )?(resnet-convert .*)$", re.MULTILINE)
RUN_ELSEWHERE = {
    "porting.md": "tests/resnet_convert/test_porting_document.py",
    "classify.md": "tests/resnet_convert/classifying/test_document.py",
    "guides": "tests/test_guides.py",
}
"""Documents, or folders of them, whose examples build upon one another, and what runs them."""

NET = """name: "shown"
input: "data" input_shape { dim: 1 dim: 3 dim: 224 dim: 224 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 7 stride: 16 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc1000" type: "InnerProduct" bottom: "pool" top: "fc1000"
  inner_product_param { num_output: 1000 weight_filler { type: "xavier" } } }
"""
PROB = 'layer { name: "prob" type: "Softmax" bottom: "fc1000" top: "prob" }\n'
LOSS = """input: "label" input_shape { dim: 1 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc1000" bottom: "label" top: "loss" }
"""


def commands() -> Iterator[tuple[str, str]]:
    """The commands that stand in the documents, each with its document; a comment behind one is none of it."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if document.name not in RUN_ELSEWHERE and document.parent.name not in RUN_ELSEWHERE:
            for command in COMMAND.findall(document.read_text(encoding="utf-8")):
                yield document.name, command.split("  #")[0].strip()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a net of photos, its weights and model, photos and their classes, and the repository's examples."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("stage")
    (folder / "bin").mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "deploy.prototxt").write_text(NET + PROB, encoding="utf-8")
    for name in ("vignette.py", "net.prototxt"):
        shutil.copy(ROOT / "examples" / "plugin" / name, folder)
    drawn = "--random-weights 0 --fold none --to caffe -q"
    _run(f"resnet-convert deploy.prototxt {drawn} -o shown && mv shown/model.caffemodel .", folder)
    _run(
        f"resnet-convert net.prototxt {drawn} --plugin vignette.py -o own && mv own/model.caffemodel net.caffemodel",
        folder,
    )
    _run("resnet-convert deploy.prototxt model.caffemodel -q", folder)
    for name in ("val", "photos", "train"):
        (folder / name).mkdir()
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 255, (256, 256, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{number}.jpg"), pixels)
    (folder / "val.txt").write_text("0.jpg 1\n1.jpg 2\n2.jpg 3\n", encoding="utf-8")
    mean = BlobProto(num=1, channels=3, height=256, width=256, data=np.linspace(80, 120, 3 * 256 * 256))
    for name in ("mean.binaryproto", "ResNet_mean.binaryproto"):
        (folder / name).write_bytes(mean.SerializeToString())
    (folder / "train_val.prototxt").write_text(NET + LOSS, encoding="utf-8")
    (folder / "zoo.csv").write_text("net,weights\ndeploy.prototxt,model.caffemodel\n", encoding="utf-8")
    shutil.copytree(folder, folder / "models" / "bvlc_googlenet", ignore=lambda _, names: {*names} - {*PAIR})
    return folder


PAIR = ("deploy.prototxt", "model.caffemodel")


def _run(command: str, folder: Path) -> tuple[str, int]:
    """What a command printed, and its exit status; what it registers of a plugin is gone with it."""
    ((_, printed, status),) = run([Example("sh", command, "")], folder, environment(folder / "bin"))
    return printed, status


@pytest.mark.slow
@pytest.mark.parametrize(("document", "command"), list(commands()))
def test_a_command_of_a_document_runs(document: str, command: str, stage: Path) -> None:
    """A verdict may be that drawn weights score worse than the published ones."""
    printed, status = _run(f"XDG_STATE_HOME={stage} {command}", stage)
    assert status == 0 or (command.split()[1] == "evaluate" and status == 3), printed
