"""What may be asked of the net about single images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from converter.options import File
from resnet_convert import text_forms
from resnet_convert.option import by_place, option, output_option
from resnet_convert.requests.images import ScoredRequest
from resnet_convert.requests.values import Bytes

SHOWN = "what is shown"


@dataclass(frozen=True, eq=False, repr=False)
class ClassificationRequest(ScoredRequest):
    """The best classes of images, or a detector's boxes on them.

    Attributes:
        images: files, folders, archives or patterns (`*.jpg`), one or several; or an array H×W×C or N×H×W×C of uint8,
            its channels B, G, R, or several of them.
        labels: a file with the names of the classes; or the names, that of class 0 first.
    """

    images: File | Bytes | Sequence[File | Bytes] = field(default=(), metadata=by_place("in"))
    output: File | None = output_option(
        "of a detector: the image with its boxes; a folder for several images", metavar="OUT"
    )
    _: KW_ONLY
    labels: File | Sequence[str] | None = option(
        None,
        "names of the classes: synset_words.txt, a name a line, a labelmap.prototxt",
        metavar="FILE",
        parse=str,
        group=SHOWN,
        file="in",
    )
    top: int | None = option(
        None,
        "the N best classes (5), or the N best boxes of a detector (all)",
        metavar="N",
        parse=text_forms.count,
        group=SHOWN,
    )
    threshold: float | None = option(
        None, "least score of a detector's box, 0 to 1 (0.5)", metavar="T", parse=text_forms.probability, group=SHOWN
    )
    expect: str | None = option(
        None,
        "prepare images as for a published model: resnet-50 … ('list' shows all)",
        metavar="NAME",
        parse=str,
        group="images",
    )
