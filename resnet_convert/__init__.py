"""Caffe networks in ONNX and PyTorch, proven.

    import resnet_convert

    resnet_convert.convert("deploy.prototxt", "model.caffemodel", to="onnx")       # deploy.onnx
    model = resnet_convert.load("deploy.prototxt", "model.caffemodel")             # a torch.nn.Module
    report = resnet_convert.verify("deploy.prototxt", "model.caffemodel", "deploy.onnx")
    assert report.ok, report.first_bad
    found = resnet_convert.evaluate("deploy.prototxt", "model.caffemodel", "val", labels="val.txt", expect="resnet-50")
    assert found.verdict.outcome == "pass", found.verdict.reasons

Everything raised on purpose is a `CaffeModelError`; its docstring in `prototxt.errors` shows the tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_convert.neighbours import check_neighbours

check_neighbours()

from prototxt.by_need import names_by_need  # noqa: E402 (only once nothing hides it)
from prototxt.version import VERSION  # noqa: E402 (only once nothing hides it)

if TYPE_CHECKING:
    from converter.options import Options, Preprocessing, Target
    from converter.plugins import load_plugin
    from converter.training.module import Trainable, trainable
    from converter.training.solver import Solver
    from prototxt import CaffeModelError, Net, NetLayer, load_net, resnet
    from resnet_convert.batches.summary import Summary, batch
    from resnet_convert.checking import check
    from resnet_convert.classification import classify
    from resnet_convert.classifying.records import Classification
    from resnet_convert.conversion import Conversion, convert
    from resnet_convert.evaluation import evaluate
    from resnet_convert.inspection import Inspection, inspect
    from resnet_convert.layer_types import LayerType, layers
    from resnet_convert.loading import load
    from resnet_convert.modules.back import PortedFrom, port_from
    from resnet_convert.modules.into import PortedInto, port_into
    from resnet_convert.porting import diff, port
    from resnet_convert.published_models import models
    from resnet_convert.recalibration import Recalibration, recalibrate
    from resnet_convert.upgrading import Upgraded, upgrade
    from resnet_convert.verification import verify
    from resnet_convert.viewing.writing import View, view
    from verify import Report
    from verify.evaluation.published.figure import Published
    from verify.evaluation.records import Evaluation
    from weights import Weights, load_mean, open_weights
    from weights.layouts.compare import Comparison
    from weights.layouts.port import Ported

__version__ = VERSION

__all__ = [
    "CaffeModelError",
    "Classification",
    "Comparison",
    "Conversion",
    "Evaluation",
    "Inspection",
    "LayerType",
    "Net",
    "NetLayer",
    "Options",
    "Ported",
    "PortedFrom",
    "PortedInto",
    "Preprocessing",
    "Published",
    "Recalibration",
    "Report",
    "Solver",
    "Summary",
    "Target",
    "Trainable",
    "Upgraded",
    "View",
    "Weights",
    "__version__",
    "batch",
    "check",
    "classify",
    "convert",
    "diff",
    "evaluate",
    "inspect",
    "layers",
    "load",
    "load_mean",
    "load_net",
    "load_plugin",
    "models",
    "open_weights",
    "port",
    "port_from",
    "port_into",
    "recalibrate",
    "resnet",
    "trainable",
    "upgrade",
    "verify",
    "view",
]

__getattr__ = names_by_need(
    __name__,
    {
        "converter.options": ("Options", "Preprocessing", "Target"),
        "converter.plugins": ("load_plugin",),
        "converter.training.module": ("Trainable", "trainable"),
        "converter.training.solver": ("Solver",),
        "prototxt": ("CaffeModelError", "Net", "NetLayer", "load_net", "resnet"),
        "resnet_convert.batches.summary": ("Summary", "batch"),
        "resnet_convert.checking": ("check",),
        "resnet_convert.classification": ("classify",),
        "resnet_convert.classifying.records": ("Classification",),
        "resnet_convert.conversion": ("Conversion", "convert"),
        "resnet_convert.evaluation": ("evaluate",),
        "resnet_convert.inspection": ("Inspection", "inspect"),
        "resnet_convert.layer_types": ("LayerType", "layers"),
        "resnet_convert.loading": ("load",),
        "resnet_convert.modules.back": ("PortedFrom", "port_from"),
        "resnet_convert.modules.into": ("PortedInto", "port_into"),
        "resnet_convert.porting": ("diff", "port"),
        "resnet_convert.published_models": ("models",),
        "resnet_convert.recalibration": ("Recalibration", "recalibrate"),
        "resnet_convert.upgrading": ("Upgraded", "upgrade"),
        "resnet_convert.verification": ("verify",),
        "resnet_convert.viewing.writing": ("View", "view"),
        "verify": ("Report",),
        "verify.evaluation.published.figure": ("Published",),
        "verify.evaluation.records": ("Evaluation",),
        "weights": ("Weights", "load_mean", "open_weights"),
        "weights.layouts.compare": ("Comparison",),
        "weights.layouts.port": ("Ported",),
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
