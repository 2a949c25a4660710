"""What the command line accepts, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from converter.cli_evaluation import (
    BatchArguments,
    EvaluationArguments,
    ImageArguments,
    RecalibrationArguments,
    batch_options,
    evaluation_options,
    image_options,
    recalibration_options,
)
from converter.cli_port import DiffArguments, PortArguments, diff_options, port_options
from prototxt.errors import RequestError

VERBS = ("convert", "verify", "evaluate", "batch", "recalibrate", "port", "diff", "inspect", "upgrade")

OVERVIEW = """\
resnet-convert NET [WEIGHTS] --to onnx|torch|safetensors|npz|hdf5|caffe [-o OUT]

Convert a Caffe network and prove that nothing changed.

  resnet-convert deploy.prototxt model.caffemodel --to onnx      one .onnx file, verified blob by blob
  resnet-convert deploy.prototxt model.caffemodel --to torch     a folder with model.py and model.safetensors
  resnet-convert model.caffemodel --to onnx                      the net inside the caffemodel, without a prototxt
  resnet-convert verify deploy.prototxt model.caffemodel deploy.onnx --report parity.html
  resnet-convert evaluate deploy.prototxt model.caffemodel --data val --labels val.txt --expect resnet-50
                                                                 top-1 and top-5 errors beside the published ones
  resnet-convert batch zoo.csv -o out                            converts and verifies a whole zoo
  resnet-convert recalibrate deploy.prototxt model.caffemodel --data train --to caffe
                                                                 BatchNorm's statistics, computed anew
  resnet-convert port ResNet-50.caffemodel --layout torchvision -o resnet50.safetensors
                                                                 another framework's names, and back
  resnet-convert diff A.caffemodel B.safetensors                 which layers of two weight files differ
  resnet-convert inspect deploy.prototxt                         layers, shapes, parameters, operations
  resnet-convert upgrade old.prototxt -o new.prototxt            V0 and V1 files in today's form

'resnet-convert VERB --help' explains each; 'convert' is the verb when none is given."""

STATUSES = "exit status: 0 done, 1 the model is at fault, 2 usage, 3 verification failed"


@dataclass
class Arguments:
    """A parsed command line; what a verb does not know keeps its default."""

    verb: str
    net: str = ""
    weights: str | None = None
    models: list[str] = field(default_factory=list)
    to: str = "onnx"
    output: str | None = None
    opset: int | None = None
    fold: str = "bn"
    outputs: list[str] = field(default_factory=list)
    input_shapes: dict[str, tuple[int | str, ...]] = field(default_factory=dict)
    random_weights: int | None = None
    mean: str | None = None
    scale: float = 1.0
    input_order: str = "bgr"
    phase: str = "TEST"
    level: int = 0
    stages: list[str] = field(default_factory=list)
    allow_unknown: bool = False
    dialects: dict[str, str] = field(default_factory=dict)
    plugins: list[str] = field(default_factory=list)
    no_verify: bool = False
    train: bool = False
    seed: int = 0
    image: str | None = None
    report: str | None = None
    judge: str | None = None
    explain: bool = False
    quiet: bool = False
    json: bool = False
    verbose: bool = False
    images: ImageArguments = field(default_factory=ImageArguments)
    evaluation: EvaluationArguments = field(default_factory=EvaluationArguments)
    recalibration: RecalibrationArguments = field(default_factory=RecalibrationArguments)
    port: PortArguments = field(default_factory=PortArguments)
    diff: DiffArguments = field(default_factory=DiffArguments)
    batch: BatchArguments = field(default_factory=BatchArguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; '{self.prog} --help' explains the options")


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """The command line as fields.

    Raises:
        RequestError: an option that doesn't exist or a value that makes no sense.
        SystemExit: after --help or --version.
    """
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"{OVERVIEW}\n\n{STATUSES}")
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"resnet-convert {version('resnet-convert')}")
        raise SystemExit(0)
    verb = words.pop(0) if words[0] in VERBS else "convert"
    parsed = _parsers()[verb].parse_args(words)
    arguments = Arguments(verb)
    for name, value in vars(parsed).items():
        if value is not None:
            group, _, option = name.rpartition(".")
            setattr(getattr(arguments, group) if group else arguments, option, value)
    for name in ("input_shapes", "dialects"):
        if isinstance(getattr(arguments, name), list):
            setattr(arguments, name, dict(getattr(arguments, name)))
    return arguments


def _parsers() -> dict[str, argparse.ArgumentParser]:
    return {
        "convert": _convert(),
        "verify": _verify(),
        "evaluate": _evaluate(),
        "batch": _batch(),
        "recalibrate": _recalibrate(),
        "port": _port(),
        "diff": _diff(),
        "inspect": _inspect(),
        "upgrade": _upgrade(),
    }


def _new(verb: str, description: str, usage: str) -> _Parser:
    return _Parser(
        prog=f"resnet-convert {verb}",
        usage=f"resnet-convert {usage}",
        description=description,
        epilog=STATUSES,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=100),
        allow_abbrev=False,
    )


def _convert() -> argparse.ArgumentParser:
    p = _new(
        "convert",
        "Convert a Caffe network; afterwards every blob is compared with what Caffe computes.",
        "[convert] NET [WEIGHTS] --to FORM [-o OUT] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt, of any age; or a .caffemodel, whose own net then counts")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="the .caffemodel or .caffemodel.h5")
    forms = ["onnx", "torch", "safetensors", "npz", "hdf5", "caffe"]
    p.add_argument("--to", choices=forms, help="what to write (onnx); the last four but caffe hold the weights alone")
    p.add_argument("-o", dest="output", metavar="OUT", help="file or folder to write; by default named after NET")
    p.add_argument("--opset", type=int, metavar="N", help="version of ONNX's operators (13, which every runtime reads)")
    p.add_argument(
        "--fold",
        choices=["none", "bn", "conv"],
        help="bn (default) merges BatchNorm and Scale into one batch normalisation, conv folds both into the "
        "convolution before them, none keeps them apart; the numbers stay the same",
    )
    p.add_argument("--mean", metavar="FILE|B,G,R", help="bake in the subtraction of a mean image or of mean values")
    p.add_argument("--scale", type=float, metavar="S", help="bake in a factor, after the mean")
    p.add_argument("--input-order", choices=["bgr", "rgb"], help="rgb: the model takes RGB, the net still gets BGR")
    p.add_argument(
        "--random-weights", type=int, metavar="SEED", help="fill missing weights from the net's fillers, or like them"
    )
    p.add_argument(
        "--train",
        action="store_true",
        help="with --to torch: a module that trains as Caffe's net did, of a train_val net with its losses",
    )
    p.add_argument("--explain", action="store_true", help="say what was folded, what not, and why")
    p.add_argument("--no-verify", action="store_true", help="skip the comparison with Caffe's numbers")
    _net_options(p)
    _verification_options(p)
    _output_options(p)
    return p


def _verify() -> argparse.ArgumentParser:
    p = _new(
        "verify",
        "Compare converted models, blob by blob, with an independent run of the Caffe net.",
        "verify NET WEIGHTS MODEL... [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt that was converted")
    p.add_argument("weights", metavar="WEIGHTS", help="its .caffemodel or .caffemodel.h5")
    p.add_argument("models", metavar="MODEL", nargs="+", help="an .onnx file or a folder that --to torch wrote")
    p.add_argument("--mean", metavar="FILE|B,G,R", help="the mean that was baked in, if it is an image")
    p.add_argument("--judge", choices=["opencv", "caffe"], help="also compare with OpenCV 4 or the original Caffe")
    p.add_argument("-v", "--verbose", action="store_true", help="a row for every blob, not only the worst")
    _net_options(p)
    _verification_options(p)
    _output_options(p)
    return p


def _evaluate() -> argparse.ArgumentParser:
    p = _new(
        "evaluate",
        "Convert a net, score a data set with it as Caffe would, and hold the errors against the published ones.",
        "evaluate NET WEIGHTS --data DATA [--labels FILE] [--expect NAME] [options]",
    )
    p.add_argument("net", metavar="NET", nargs="?", help="the .prototxt, or a .caffemodel whose own net counts")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="the .caffemodel or .caffemodel.h5")
    evaluation_options(p)
    image_options(p)
    p.add_argument("--fold", choices=["none", "bn", "conv"], help="as in a conversion (bn)")
    _net_options(p)
    _output_options(p)
    return p


def _batch() -> argparse.ArgumentParser:
    p = _new(
        "batch",
        "Convert and verify every net of a list; one failure stops none of the others.",
        "batch MANIFEST.csv -o OUT [options]",
    )
    batch_options(p)
    _output_options(p)
    return p


def _recalibrate() -> argparse.ArgumentParser:
    p = _new(
        "recalibrate",
        "Compute BatchNorm's means and variances anew, as plain averages over images, and write the net.",
        "recalibrate NET WEIGHTS --data DATA --to FORM [-o OUT] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt")
    p.add_argument("weights", metavar="WEIGHTS", help="the .caffemodel or .caffemodel.h5")
    forms = ["caffemodel", "onnx", "torch", "safetensors", "npz", "hdf5", "caffe"]
    what = "what to write; caffemodel: the weights alone, in Caffe's form (default)"
    p.add_argument("--to", choices=forms, default="caffemodel", help=what)
    p.add_argument("-o", dest="output", metavar="OUT", help="file or folder to write; by default named after NET")
    p.add_argument("--fold", choices=["none", "bn", "conv"], help="as in a conversion (bn)")
    recalibration_options(p)
    image_options(p)
    _net_options(p)
    _output_options(p)
    return p


def _port() -> argparse.ArgumentParser:
    p = _new(
        "port",
        "Write a ResNet's weights under another framework's names, in its layout, or bring them back to Caffe.",
        "port WEIGHTS --layout NAME [-o OUT] | port FILE --from NAME [-o OUT.caffemodel]",
    )
    port_options(p)
    _output_options(p)
    return p


def _diff() -> argparse.ArgumentParser:
    p = _new("diff", "Compare two weight files, whatever their formats.", "diff A B [--tolerance T]")
    diff_options(p)
    _output_options(p)
    return p


def _inspect() -> argparse.ArgumentParser:
    p = _new(
        "inspect",
        "List a net's layers with shapes, parameters, multiply-adds and memory.",
        "inspect NET [WEIGHTS] [options]",
    )
    p.add_argument("net", metavar="NET", help="the .prototxt")
    p.add_argument("weights", metavar="WEIGHTS", nargs="?", help="with it, the stored weights are checked as well")
    _net_options(p)
    _output_options(p)
    return p


def _upgrade() -> argparse.ArgumentParser:
    p = _new(
        "upgrade",
        "Bring an old prototxt, solver or caffemodel to today's form (V2); the kind is told by the content.",
        "upgrade OLD [-o NEW]",
    )
    p.add_argument("net", metavar="OLD", help="a .prototxt, solver.prototxt or .caffemodel")
    p.add_argument("-o", dest="output", metavar="NEW", help="file to write; a text goes to standard output without it")
    p.add_argument("--allow-unknown", action="store_true", help="drop fields that no known Caffe has")
    _output_options(p)
    return p


def _net_options(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("the net")
    g.add_argument(
        "--outputs", type=_names, metavar="A,B", help="blobs to give, in this order (default: those no layer reads)"
    )
    g.add_argument(
        "--input-shape",
        dest="input_shapes",
        type=_shape,
        action="append",
        metavar="BLOB=N,C,H,W",
        help="size of an input; a letter leaves an axis free: data=N,3,224,224",
    )
    g.add_argument("--phase", type=str.upper, choices=["TEST", "TRAIN"], help="which layers count (TEST)")
    g.add_argument("--stage", dest="stages", action="append", metavar="S", help="a stage of Caffe's net state")
    g.add_argument("--level", type=int, metavar="L", help="the level of Caffe's net state")
    g.add_argument(
        "--allow-unknown",
        action="store_true",
        help="go on without fields that no known Caffe has, and without placeholders",
    )
    g.add_argument(
        "--dialect",
        dest="dialects",
        type=_dialect,
        action="append",
        metavar="[TYPE=]FORK",
        help="whose meaning of a layer type holds where forks differ (default: what the file shows): Interp=openvino",
    )
    g.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        metavar="FILE.py",
        help="Python code that registers layers of your own; it is executed",
    )


def _verification_options(p: argparse.ArgumentParser) -> None:
    g = p.add_argument_group("verification")
    g.add_argument("--report", metavar="FILE.html", help="write the comparison as a page")
    g.add_argument("--seed", type=int, metavar="N", help="seed of the random input (0)")
    g.add_argument("--image", metavar="FILE", help="compare on this image instead of random input")


def _output_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    p.add_argument("--json", action="store_true", help="print the result as JSON")


def _dialect(text: str) -> tuple[str, str]:
    kind, _, name = text.rpartition("=")
    return kind, name


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return names


def _shape(text: str) -> tuple[str, tuple[int | str, ...]]:
    name, equals, dims = text.rpartition("=")
    parts = [d.strip() for d in dims.split(",")] if dims.strip() else []
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; expected BLOB=N,C,H,W")
    values: list[int | str] = []
    for part in parts:
        if part.isdigit() and 0 < int(part) < 1 << 31:
            values.append(int(part))
        elif part.isidentifier():
            values.append(part)
        else:
            raise argparse.ArgumentTypeError(f"{part!r} in {text!r} is neither a size above 0 nor a letter")
    return name, tuple(values)
