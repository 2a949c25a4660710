"""What may be asked of the preprocessing of images: that it becomes part of a net's weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from prototxt.errors import RequestError
from resnet_convert.option import Request, option
from resnet_convert.requests.values import Mean, Order

if TYPE_CHECKING:
    from weights.layouts.port import Preprocessing

PREPROCESSING = "preprocessing"


@dataclass(frozen=True, eq=False, repr=False)
class FoldingRequest(Request):
    """What is folded into the first convolution; `mean` may be an array."""

    _: KW_ONLY
    fold_preprocessing: bool = option(
        False,
        "fold what follows into the first convolution: exact but for its border, which Caffe pads with the mean "
        "and the new model with black",
        group=PREPROCESSING,
    )
    input_order: Order | None = option(None, "rgb: the model takes RGB instead of BGR", group=PREPROCESSING)
    mean: Mean | None = option(
        None,
        "what is subtracted, in the net's own order",
        metavar="B,G,R|FILE",
        parse=str,
        group=PREPROCESSING,
        file="in",
    )
    scale: float | None = option(None, "factor, after the mean", metavar="S", parse=float, group=PREPROCESSING)

    def to_preprocessing(self) -> Preprocessing | None:
        """What is to be folded; None for nothing.

        Raises:
            RequestError: half of it, or a mean that is none.
        """
        given = self.input_order is not None or self.mean is not None or self.scale is not None
        if given != self.fold_preprocessing:
            raise RequestError(
                "--fold-preprocessing and what to fold (--input-order, --mean, --scale) go together; "
                "without it the model takes what the Caffe net takes"
            )
        if not given:
            return None
        from resnet_convert.images.means import mean_of
        from weights.layouts.port import Preprocessing

        scale = 1.0 if self.scale is None else self.scale
        return Preprocessing(self.input_order or "bgr", mean_of(self.mean), scale)
