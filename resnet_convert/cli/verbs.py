"""Which verb a command line names, and its parsed options."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from prototxt.errors import RequestError
from prototxt.names import shown
from prototxt.version import VERSION
from resnet_convert.cli.statuses import STATUSES

if TYPE_CHECKING:
    from argparse import Namespace

VERBS = (
    "convert",
    "verify",
    "evaluate",
    "classify",
    "batch",
    "recalibrate",
    "port",
    "diff",
    "inspect",
    "view",
    "layers",
    "models",
    "upgrade",
)

GO_ON = ("verify", "evaluate", "classify", "batch", "recalibrate")
"""Those that work through blobs, images or nets, one after another."""

READ_A_NET = ("convert", "verify", "classify", "inspect", "view")
"""Those that begin with the files of a net: where one is missing, nothing else is loaded."""

MEANT = {
    **dict.fromkeys(("list", "show", "info", "summary", "print"), "inspect"),
    **dict.fromkeys(("draw", "picture", "graph", "plot", "see", "visualize"), "view"),
    **dict.fromkeys(("compare", "check", "parity"), "verify"),
    **dict.fromkeys(("test", "eval", "accuracy", "score"), "evaluate"),
    **dict.fromkeys(("predict", "detect", "infer", "recognize", "recognise"), "classify"),
    **dict.fromkeys(("export", "onnx", "torch"), "convert"),
    **dict.fromkeys(("zoo", "all"), "batch"),
    **dict.fromkeys(("types", "operators", "ops", "supported"), "layers"),
    **dict.fromkeys(("published", "known"), "models"),
    "calibrate": "recalibrate",
    "update": "upgrade",
}
"""What people write who mean a verb that is spelt otherwise."""

OVERVIEW = """\
resnet-convert NET [WEIGHTS] --to onnx|torch|safetensors|npz|hdf5|caffe [-o OUT]

Convert a Caffe network and prove that nothing changed.

  resnet-convert deploy.prototxt model.caffemodel --to onnx      one .onnx file, verified blob by blob
  resnet-convert deploy.prototxt model.caffemodel --to torch     a folder with model.py and model.safetensors
  resnet-convert model.caffemodel --to onnx                      the net inside the caffemodel, without a prototxt
  resnet-convert verify deploy.prototxt model.caffemodel deploy.onnx --report parity.html
  resnet-convert evaluate deploy.prototxt model.caffemodel --data val --labels val.txt --expect resnet-50
                                                                 top-1 and top-5 errors beside the published ones
  resnet-convert classify deploy.prototxt model.caffemodel cat.jpg --labels synset_words.txt
                                                                 the best classes, or a detector's boxes
  resnet-convert batch zoo.csv|DIR -o out                        converts and verifies a whole zoo
  resnet-convert recalibrate deploy.prototxt model.caffemodel --data train --to caffe
                                                                 BatchNorm's statistics, computed anew
  resnet-convert port ResNet-50.caffemodel --layout torchvision -o resnet50.safetensors
                                                                 another framework's names, and back
  resnet-convert port deploy.prototxt model.caffemodel --into torchvision:vgg16 -o vgg16.pth
                                                                 weights in any PyTorch module, proven
  resnet-convert port --from my_models.py:Net net.pth --net deploy.prototxt -o model.caffemodel
                                                                 and a module's weights in a Caffe net
  resnet-convert diff A.caffemodel B.safetensors                 which layers of two weight files differ
  resnet-convert inspect deploy.prototxt                         layers, shapes, parameters, operations
  resnet-convert layers Pooling                                  what is supported of a layer type
  resnet-convert models resnet-50                                errors, protocol and weights as published
  resnet-convert view deploy.prototxt                            the net as a page to look around in
  resnet-convert upgrade old.prototxt -o new.prototxt            V0 and V1 files in today's form

'resnet-convert VERB --help' explains each; 'convert' is the verb when none is given."""


class Command(NamedTuple):
    """A parsed command line.

    Attributes:
        verb: one of `VERBS`.
        parsed: what was given for it; what was not is absent.
        run: does it; returns the exit status.
    """

    verb: str
    parsed: Namespace
    run: Callable[[Namespace], int]


def parse(argv: Sequence[str]) -> Command:
    """The command that some words are; only its own module is loaded, and only once they make sense.

    Raises:
        RequestError: a verb or an option that doesn't exist, or a value that makes no sense.
        PrototxtError, WeightsError: a net or weights that are not there.
        SystemExit: after --help or --version.
    """
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"{OVERVIEW}\n\n{STATUSES}")
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"resnet-convert {VERSION}")
        raise SystemExit(0)
    verb = words.pop(0) if words[0] in VERBS and not _is_only_a_file(words) else "convert"
    if verb == "convert" and words:
        _refuse_unknown_verb(words[0])
    from resnet_convert.cli.parsers import parser_of

    parsed = parser_of(verb).parse_args(words)
    if verb in READ_A_NET and not {"junit", "summary", "check"} & {*vars(parsed)}:  # these are told of every fault
        from resnet_convert.cli.missing import refuse_missing

        other = verb in ("verify", "classify")  # a model or an image may stand in its place
        weights = None if other else getattr(parsed, "weights", None)
        refuse_missing(getattr(parsed, "net", ""), weights)
    return Command(verb, parsed, import_module(f"resnet_convert.cli.{verb}").run)


def _is_only_a_file(words: Sequence[str]) -> bool:
    """Whether a verb's name stands alone and is that of a file."""
    return len(words) == 1 and os.path.isfile(words[0])


def _refuse_unknown_verb(word: str) -> None:
    """Raise RequestError for a word that is neither an option nor a file nor looks like the name of one."""
    if word.startswith("-") or not word.isidentifier() or os.path.exists(word):
        return
    from prototxt.words import nearest

    near = nearest(word.lower(), VERBS)
    meant = MEANT.get(word.lower()) or (near[0] if near else "")
    hint = f"did you mean {meant!r}?" if meant else f"expected {', '.join(VERBS)}, or the path of a prototxt"
    raise RequestError(f"unknown verb {shown(word)!r}, and no file of that name; {hint}")
