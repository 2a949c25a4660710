"""What may be asked of the verbs that read whole files or zoos: port, diff, batch and upgrade."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from converter.options import File, Target
from resnet_convert import text_forms
from resnet_convert.option import Request, by_place, option, output_option
from resnet_convert.requests.folding import FoldingRequest
from resnet_convert.requests.gating import GatedRequest
from resnet_convert.requests.values import Layout, Runner

if TYPE_CHECKING:
    from typing_extensions import Self

BACK = "back to Caffe"


@dataclass(frozen=True, eq=False, repr=False)
class PortRequest(FoldingRequest):
    """A ResNet's weights under another framework's names, in its layout, or back in Caffe's.

    Attributes:
        weights: Caffe's weight file; with `source` one of another framework.
        output: the file to write; None names it after `weights` and the layout.
        mean: values may be an array.
    """

    weights: File = field(metadata=by_place("in"))
    output: File | None = output_option(
        "its ending says the form: .safetensors or .npz; for torchvision, timm, mmdet and detectron2 also .pth, for "
        "detectron2 .pkl, for flax .msgpack, for keras .weights.h5; for Caffe .caffemodel or .caffemodel.h5; by "
        "default named after WEIGHTS and the layout; with --into .safetensors, .pth or, for Keras, .weights.h5, named "
        "after the module, as is the .caffemodel with --from MODULE"
    )
    _: KW_ONLY
    to: Layout | None = option(None, "whose names and layout to write", "--layout", metavar="NAME")
    source: Layout | None = option(
        None,
        "whose names and layout WEIGHTS has (Caffe's); without --layout the port goes back to Caffe",
        "--from",
        metavar="NAME",
    )
    net: Literal["msra", "own"] | None = option(
        None,
        "the net that the weights are for: msra (default), or the framework's own, with its strides and its padded "
        "first pooling",
        group=BACK,
    )
    prototxt: File | None = option(None, "write that net as well", metavar="FILE", parse=str, group=BACK, file="out")

    def settled(self) -> Self:
        """The same with the weight file of a zoo's folder; errors as of `NetRequest.settled`."""
        if not self.weights or not os.path.isdir(self.weights):
            return self
        from pathlib import Path

        from resnet_convert.zoo.opening import checked, net_of

        found = checked(net_of(Path(self.weights)))
        return replace(self, weights=found.weights or found.net)


@dataclass(frozen=True, eq=False, repr=False)
class DiffRequest(Request):
    """Two weight files: .caffemodel, .h5 of Caffe or Keras, .safetensors, .npz, .pth, .pkl, .msgpack, of any layout."""

    first: File = field(metadata=by_place("in"))
    second: File = field(metadata=by_place("in"))
    _: KW_ONLY
    tolerance: float = option(
        0.0, "values count as equal up to T times the largest of their arrays (0)", metavar="T", parse=text_forms.share
    )


@dataclass(frozen=True, eq=False, repr=False)
class BatchRequest(GatedRequest):
    """A whole zoo.

    Attributes:
        manifest: a CSV file: a net a row, under a head line (`resnet_convert.batches.manifest`); or a folder, in which
            nets are found (`resnet_convert.zoo.tree`).
        output: folder for the summary, and a folder for each net.
    """

    manifest: File = field(metadata=by_place("in"))
    output: File = field(metadata=by_place("out"))
    _: KW_ONLY
    to: Target = option("onnx", "what to write where a row does not say (onnx)")
    jobs: int = option(
        0, "nets at a time (one for every two cores)", "-j", "--jobs", metavar="N", parse=text_forms.count
    )
    timeout: float = option(
        3600.0, "seconds after which a net is given up (3600)", metavar="S", parse=text_forms.seconds
    )
    runner: Runner = option("local", "ray: on Ray, on this machine or on the cluster of RAY_ADDRESS (local)")
    again: bool = option(False, "convert anew what an earlier run into OUT did and has not changed since")
    verify: bool = option(True, "skip the comparisons", "--no-verify", inverse=True)


@dataclass(frozen=True, eq=False, repr=False)
class UpgradeRequest(Request):
    """A .prototxt, solver.prototxt or .caffemodel of any age; the kind is told by the content.

    Attributes:
        output: file to write; None writes nothing.
    """

    old: File = field(metadata=by_place("in"))
    output: File | None = output_option("file to write; a text goes to standard output without it", metavar="NEW")
    _: KW_ONLY
    allow_unknown: bool = option(False, "drop fields that no known Caffe has")
