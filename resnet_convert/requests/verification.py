"""What may be asked of the comparison of a converted model with the Caffe net."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from converter.options import File
from resnet_convert import text_forms
from resnet_convert.option import by_place, option
from resnet_convert.requests.gating import GatedRequest
from resnet_convert.requests.net import FedRequest
from resnet_convert.requests.values import Mean


@dataclass(frozen=True, eq=False, repr=False)
class VerificationRequest(FedRequest, GatedRequest):
    """A comparison of a converted model with an independent run of the Caffe net.

    Attributes:
        model: an .onnx file, or a folder that `--to torch` wrote: its model.py is executed.
        mean: the mean image that was baked in, if one was; may be an array.
        feeds: what to feed, by input blob, float32; seeded numbers by default.
    """

    model: File = field(default="", metadata=by_place("in"))
    _: KW_ONLY
    mean: Mean | None = option(
        None, "the mean that was baked in, if it is an image", metavar="FILE|B,G,R", parse=str, file="in"
    )
    timeout: float | None = option(
        None,
        "seconds that a model may take to load, and then to run (by default minutes, and more for a slow net)",
        metavar="S",
        parse=text_forms.seconds,
    )
