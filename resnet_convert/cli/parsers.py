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
        itself: options of the request that stand among the arguments.
    """

    request: str
    description: str
    usage: str
    arguments: Mapping[str, Mapping[str, Any]]
    verbose: str = ""
    besides: str = ""
    itself: tuple[str, ...] = ()


HEADS: Final[Mapping[str, Head]] = {
    "convert": Head(
        "ConversionRequest",
        "Convert a Caffe network; afterwards every blob is compared with what Caffe computes.",
        "[convert] NET [WEIGHTS] --to FORM [-o OUT] [options]",
        {
            "net": {
                "help": "the .prototxt, of any age; or a .caffemodel, whose own net then counts; or a model zoo's "
                "folder with both files"
            },
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
    "classify": Head(
        "ClassificationRequest",
        "Name the best classes of images, or find a detector's boxes in them and draw these.",
        "classify NET [WEIGHTS] IMAGE... [--labels FILE] [--expect NAME] [-o OUT] [options]",
        {
            "net": {
                "nargs": "?",
                "help": "the .prototxt, or a .caffemodel whose own net counts, or a model zoo's folder with both files",
            },
            "weights": {"nargs": "?", "help": "the .caffemodel or .caffemodel.h5"},
            "images": {
                "metavar": "IMAGE",
                "nargs": "*",
                "help": "an image, a folder or archive of images, or a pattern in quotes: 'photos/*.jpg'",
            },
        },
    ),
    "batch": Head(
        "BatchRequest",
        "Convert and verify every net of a list or of a folder; one failure stops none of the others.",
        "batch MANIFEST.csv|DIR -o OUT [options]",
        {
            "manifest": {
                "metavar": "MANIFEST.csv|DIR",
                "help": "a net a row, under a head line: net and weights (paths from the manifest's folder), name, and "
                "options of a conversion by their names: to, fold, opset, input_shape, outputs, mean, plugin (which is "
                "executed) …; or a folder, in which the pairs of prototxt and weights are found",
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
        "any net's weights into a PyTorch module, or a module's into a net, matched by structure and proven by running "
        "both.",
        "port WEIGHTS --layout NAME [-o OUT] | port FILE --from NAME [-o OUT.caffemodel] | "
        "port NET WEIGHTS --into MODULE [-o OUT] | port --from MODULE [STATE] --net NET [-o OUT.caffemodel]",
        {
            "weights": {
                "nargs": "?",
                "help": "a .caffemodel or .caffemodel.h5 with MSRA's layer names; with --from a .safetensors, .npz, "
                ".pth, .pkl, .msgpack or .weights.h5; with --into first the .prototxt",
            },
            "stored": {"metavar": "WEIGHTS", "nargs": "?", "help": "with --into: the .caffemodel or .caffemodel.h5"},
            "--from": {
                "dest": "source",
                "metavar": "NAME|MODULE",
                "help": "whose names and layout WEIGHTS has (Caffe's): torchvision, timm, keras, detectron2, mmdet, "
                "flax, caffe; without --layout the port goes back to Caffe. Or the module that WEIGHTS are of: "
                "torchvision:NAME, timm:NAME, or FILE.py:NAME, a file that is executed and may have weights of its own",
            },
            "--net": {
                "metavar": "NET",
                "help": "the net that the weights are for: with --from MODULE its .prototxt; with --from NAME msra "
                "(default), or own, the framework's, with its strides and its padded first pooling",
            },
        },
        besides="PortIntoRequest",
        itself=("source", "net"),
    ),
    "diff": Head(
        "DiffRequest",
        "Compare two weight files, whatever their formats.",
        "diff A B [--tolerance T]",
        {
            "first": {
                "metavar": "A",
                "help": "a weight file: .caffemodel, .h5 of Caffe or Keras, .safetensors, .npz, .pth, .pkl, .msgpack, "
                "of any layout; nothing that a file says is run",
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
    "layers": Head(
        "LayersRequest",
        "List the layer types with what is supported of each, or say all of one.",
        "layers [TYPE] [options]",
        {"type": {"nargs": "?", "help": "a layer type: Pooling, INNER_PRODUCT …"}},
    ),
    "models": Head(
        "ModelsRequest",
        "List the models whose errors were published, which --expect takes, or say all of one.",
        "models [NAME] [options]",
        {"name": {"nargs": "?", "help": "a published model: resnet-50 …"}},
    ),
    "view": Head(
        "ViewRequest",
        "Draw a net: a page to look around in, with the sizes and costs of every layer.",
        "view NET [WEIGHTS] [-o FILE.html|FILE.svg|FILE.dot] [options]",
        {
            "net": {"help": "the .prototxt, of any age; or a .caffemodel, whose own net then counts"},
            "weights": {"nargs": "?", "help": "with it, the page shows histograms and a first convolution's filters"},
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
    parser.add_request(getattr(requests, head.request), without=head.itself)
    if head.besides:
        parser.add_request(getattr(requests, head.besides), without=tuple(getattr(requests, head.request).names()))
    parser.add_shown(verbose=head.verbose)
    return parser
