"""What each verb takes on the command line; the work of a verb is in the module of its name, which is loaded to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from resnet_convert import requests
from resnet_convert.cli.arguments import Parser


class Head(NamedTuple):
    """A verb's help, and what it takes beside the options of its request.

    Attributes:
        request: the record's name in `resnet_convert.requests`.
        description: what the verb does.
        usage: how it is called.
        arguments: by their names or flags, what argparse is told of those that the verb names itself.
        verbose: the help of --verbose, empty for a verb without.
        besides: another record whose options the verb has too.
    """

    request: str
    description: str
    usage: str
    arguments: Mapping[str, Mapping[str, Any]]
    verbose: str = ""
    besides: str = ""


HEADS: Final[Mapping[str, Head]] = {
    "convert": Head(
        "ConversionRequest",
        "Convert a Caffe network; afterwards every blob is compared with what Caffe computes.",
        "[convert] NET [WEIGHTS] --to FORM [-o OUT] [options]",
        {
            "net": {"help": "the .prototxt, of any age; or a .caffemodel, whose own net then counts"},
            "weights": {"nargs": "?", "help": "the .caffemodel or .caffemodel.h5"},
        },
    ),
    "verify": Head(
        "VerificationRequest",
        "Compare converted models, blob by blob, with an independent run of the Caffe net. A folder's model.py is "
        "executed, in a process of its own.",
        "verify NET [WEIGHTS] MODEL... [options]",
        {
            "net": {"help": "the .prototxt that was converted, or a .caffemodel"},
            "weights": {"nargs": "?", "help": "its .caffemodel or .caffemodel.h5"},
            "models": {
                "metavar": "MODEL",
                "nargs": "+",
                "help": "an .onnx file or a folder that --to torch wrote, whose model.py is executed",
            },
            "--judge": {"choices": ["opencv", "caffe"], "help": "also compare with OpenCV 4 or the original Caffe"},
        },
        verbose="a row for every blob, not only the worst",
    ),
    "evaluate": Head(
        "EvaluationRequest",
        "Convert a net, score a data set with it as Caffe would, and hold the errors against the published ones.",
        "evaluate NET WEIGHTS --data DATA [--labels FILE] [--expect NAME] [options]",
        {
            "net": {"nargs": "?", "help": "the .prototxt, or a .caffemodel whose own net counts"},
            "weights": {"nargs": "?", "help": "the .caffemodel or .caffemodel.h5"},
        },
    ),
    "batch": Head(
        "BatchRequest",
        "Convert and verify every net of a list; one failure stops none of the others.",
        "batch MANIFEST.csv -o OUT [options]",
        {
            "manifest": {
                "metavar": "MANIFEST.csv",
                "help": "a net a row, under a head line: net and weights (paths from the manifest's folder), name, and "
                "options of a conversion by their names: to, fold, opset, input_shape, outputs, mean, plugin (which is "
                "executed) …",
            },
            "-o --output": {
                "dest": "output",
                "required": True,
                "metavar": "OUT",
                "help": "folder for summary.html, summary.json and OUT/NAME with the model, its comparison and its log",
            },
        },
    ),
    "recalibrate": Head(
        "RecalibrationRequest",
        "Compute BatchNorm's means and variances anew, as plain averages over images, and write the net.",
        "recalibrate NET WEIGHTS --data DATA --to FORM [-o OUT] [options]",
        {"net": {"help": "the .prototxt"}, "weights": {"help": "the .caffemodel or .caffemodel.h5"}},
    ),
    "port": Head(
        "PortRequest",
        "Write a ResNet's weights under another framework's names, in its layout, or bring them back to Caffe; or put "
        "any net's weights into a PyTorch module, matched by structure and proven by running both.",
        "port WEIGHTS --layout NAME [-o OUT] | port FILE --from NAME [-o OUT.caffemodel] | "
        "port NET WEIGHTS --into MODULE [-o OUT]",
        {
            "weights": {
                "help": "a .caffemodel or .caffemodel.h5 with MSRA's layer names; with --from a .safetensors, .npz or "
                ".weights.h5; with --into first the .prototxt"
            },
            "stored": {"metavar": "WEIGHTS", "nargs": "?", "help": "with --into: the .caffemodel or .caffemodel.h5"},
        },
        besides="PortIntoRequest",
    ),
    "diff": Head(
        "DiffRequest",
        "Compare two weight files, whatever their formats.",
        "diff A B [--tolerance T]",
        {
            "first": {
                "metavar": "A",
                "help": "a weight file: .caffemodel, .h5 of Caffe or Keras, .safetensors, .npz, of any layout",
            },
            "second": {"metavar": "B", "help": "another"},
        },
    ),
    "inspect": Head(
        "NetRequest",
        "List a net's layers with shapes, parameters, multiply-adds and memory; or only say what is wrong with some.",
        "inspect NET [WEIGHTS] [options] | inspect --check NET... [options]",
        {
            "net": {"help": "the .prototxt"},
            "weights": {"nargs": "?", "help": "with it, the stored weights are checked as well"},
            "more": {"metavar": "NET", "nargs": "*", "help": "with --check: further prototxts"},
            "--check": {
                "action": "store_true",
                "help": "print the faults of prototxts, solvers among them, and nothing where there are none; what "
                "hangs on the shape of an input that only its data would tell is left unchecked",
            },
        },
    ),
    "upgrade": Head(
        "UpgradeRequest",
        "Bring an old prototxt, solver or caffemodel to today's form (V2); the kind is told by the content.",
        "upgrade OLD [-o NEW]",
        {"old": {"help": "a .prototxt, solver.prototxt or .caffemodel"}},
    ),
}


def parser_of(verb: str) -> Parser:
    """What parses the words behind a verb."""
    head = HEADS[verb]
    parser = Parser(verb, head.description, head.usage)
    for name, how in head.arguments.items():
        shown = {} if name.startswith("-") else {"metavar": name.upper()}
        parser.add_argument(*name.split(), **{**shown, **how})
    parser.add_request(getattr(requests, head.request))
    if head.besides:
        parser.add_request(getattr(requests, head.besides), without=("output",))
    parser.add_shown(verbose=head.verbose)
    return parser
