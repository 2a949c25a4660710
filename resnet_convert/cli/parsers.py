"""What each verb takes on the command line; the work of a verb is in the module of its name, which is loaded to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from resnet_convert.cli.arguments import Parser


def _convert() -> Parser:
    from resnet_convert.requests import ConversionRequest

    p = Parser(
        "convert",
        "Convert a Caffe network; afterwards every blob is compared with what Caffe computes.",
        "[convert] NET [WEIGHTS] --to FORM [-o OUT] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt, of any age; or a .caffemodel, whose own net then counts")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="the .caffemodel or .caffemodel.h5")
    p.add_request(ConversionRequest)
    p.add_shown()
    return p


def _verify() -> Parser:
    from resnet_convert.requests import VerificationRequest

    p = Parser(
        "verify",
        "Compare converted models, blob by blob, with an independent run of the Caffe net. A folder's model.py is "
        "executed, in a process of its own.",
        "verify NET [WEIGHTS] MODEL... [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt that was converted, or a .caffemodel")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="its .caffemodel or .caffemodel.h5")
    p.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="an .onnx file or a folder that --to torch wrote, whose model.py is executed",
    )
    p.add_argument("--judge", choices=["opencv", "caffe"], help="also compare with OpenCV 4 or the original Caffe")
    p.add_request(VerificationRequest)
    p.add_shown(verbose="a row for every blob, not only the worst")
    return p


def _evaluate() -> Parser:
    from resnet_convert.requests import EvaluationRequest

    p = Parser(
        "evaluate",
        "Convert a net, score a data set with it as Caffe would, and hold the errors against the published ones.",
        "evaluate NET WEIGHTS --data DATA [--labels FILE] [--expect NAME] [options]",
    )
    p.add_argument("net", metavar="NET", nargs="?", help="the .prototxt, or a .caffemodel whose own net counts")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="the .caffemodel or .caffemodel.h5")
    p.add_request(EvaluationRequest)
    p.add_shown()
    return p


def _batch() -> Parser:
    from resnet_convert.requests import BatchRequest

    p = Parser(
        "batch",
        "Convert and verify every net of a list; one failure stops none of the others.",
        "batch MANIFEST.csv -o OUT [options]",
    )
    p.add_argument(
        "manifest",
        metavar="MANIFEST.csv",
        help="a net a row, under a head line: net and weights (paths from the manifest's folder), name, and options "
        "of a conversion by their names: to, fold, opset, input_shape, outputs, mean, plugin (which is executed) …",
    )
    p.add_argument(
        "-o",
        "--output",
        dest="output",
        required=True,
        metavar="OUT",
        help="folder for summary.html, summary.json and OUT/NAME with the model, its comparison and its log",
    )
    p.add_request(BatchRequest)
    p.add_shown()
    return p


def _recalibrate() -> Parser:
    from resnet_convert.requests import RecalibrationRequest

    p = Parser(
        "recalibrate",
        "Compute BatchNorm's means and variances anew, as plain averages over images, and write the net.",
        "recalibrate NET WEIGHTS --data DATA --to FORM [-o OUT] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt")
    p.add_argument("weights", metavar="WEIGHTS", help="the .caffemodel or .caffemodel.h5")
    p.add_request(RecalibrationRequest)
    p.add_shown()
    return p


def _port() -> Parser:
    from resnet_convert.requests import PortRequest

    p = Parser(
        "port",
        "Write a ResNet's weights under another framework's names, in its layout, or bring them back to Caffe.",
        "port WEIGHTS --layout NAME [-o OUT] | port FILE --from NAME [-o OUT.caffemodel]",
    )
    p.add_argument(
        "weights",
        metavar="WEIGHTS",
        help="a .caffemodel or .caffemodel.h5 with MSRA's layer names; with --from a .safetensors, .npz or .weights.h5",
    )
    p.add_request(PortRequest)
    p.add_shown()
    return p


def _diff() -> Parser:
    from resnet_convert.requests import DiffRequest

    p = Parser("diff", "Compare two weight files, whatever their formats.", "diff A B [--tolerance T]")
    kinds = "a weight file: .caffemodel, .h5 of Caffe or Keras, .safetensors, .npz, of any layout"
    p.add_argument("first", metavar="A", help=kinds)
    p.add_argument("second", metavar="B", help="another")
    p.add_request(DiffRequest)
    p.add_shown()
    return p


def _inspect() -> Parser:
    from resnet_convert.requests import NetRequest

    p = Parser(
        "inspect",
        "List a net's layers with shapes, parameters, multiply-adds and memory.",
        "inspect NET [WEIGHTS] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="with it, the stored weights are checked as well")
    p.add_request(NetRequest)
    p.add_shown()
    return p


def _upgrade() -> Parser:
    from resnet_convert.requests import UpgradeRequest

    p = Parser(
        "upgrade",
        "Bring an old prototxt, solver or caffemodel to today's form (V2); the kind is told by the content.",
        "upgrade OLD [-o NEW]",
    )
    p.add_argument("old", metavar="OLD", help="a .prototxt, solver.prototxt or .caffemodel")
    p.add_request(UpgradeRequest)
    p.add_shown()
    return p


PARSERS: Final[Mapping[str, Callable[[], Parser]]] = {
    "convert": _convert,
    "verify": _verify,
    "evaluate": _evaluate,
    "batch": _batch,
    "recalibrate": _recalibrate,
    "port": _port,
    "diff": _diff,
    "inspect": _inspect,
    "upgrade": _upgrade,
}
