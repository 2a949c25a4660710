"""What may be asked of a conversion."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import TYPE_CHECKING

from converter.options import SUFFIXES, File, Fold, Options, Preprocessing, Target
from resnet_convert.option import option, output_option, python_only
from resnet_convert.requests.gating import GatedRequest
from resnet_convert.requests.net import FedRequest
from resnet_convert.requests.values import Mean, Order

if TYPE_CHECKING:
    from typing_extensions import Self

FOLD_HELP = (
    "bn (default) merges BatchNorm and Scale into one batch normalisation, conv folds both into the convolution "
    "before them, none keeps them apart; the numbers stay the same"
)


@dataclass(frozen=True, eq=False, repr=False)
class ConversionRequest(FedRequest, GatedRequest):
    """A conversion, and the comparison after it.

    Attributes:
        mean: values or an image may be arrays.
        verify: compare every blob with Caffe's numbers afterwards, as the command line does unless --no-verify.
        options: for Python callers who have such a record; what is stated here comes first.
        feeds: what the comparison feeds, float32, by input blob.
    """

    _: KW_ONLY
    to: Target = option("onnx", "what to write (onnx); the last four but caffe hold the weights alone")
    output: File | None = output_option("file or folder to write; by default named after NET")
    opset: int | None = option(
        None, "version of ONNX's operators (13, which every runtime reads)", metavar="N", parse=int
    )
    fold: Fold = option("bn", FOLD_HELP)
    mean: Mean | None = option(
        None, "bake in the subtraction of a mean image or of mean values", metavar="FILE|B,G,R", parse=str, file="in"
    )
    scale: float = option(1.0, "bake in a factor, after the mean", metavar="S", parse=float)
    input_order: Order = option("bgr", "rgb: the model takes RGB, the net still gets BGR")
    random_weights: int | None = option(
        None, "fill missing weights from the net's fillers, or like them", metavar="SEED", parse=int
    )
    train: bool = option(
        False, "with --to torch: a module that trains as Caffe's net did, of a train_val net with its losses"
    )
    verify: bool = option(False, "skip the comparison with Caffe's numbers", "--no-verify", inverse=True)
    explain: bool = option(False, "say what was folded, what not, and why")

    options: Options | None = python_only(None)

    @property
    def needs_weights(self) -> bool:
        """Not where the net's fillers make them."""
        return self.random_weights is None

    def settled(self) -> Self:
        """As of any net; what is made of a folder is named after the folder."""
        made = super().settled()
        if made is self or made.output is not None or made.net == self.net:
            return made
        folder = os.path.basename(os.path.abspath(self.net))
        return replace(made, output=f"{folder or 'model'}{SUFFIXES[self.to]}")

    def to_options(self) -> Options:
        """How the net is read and rewritten: what this record says, else `options`."""
        known = {entry.name for entry in fields(Options)}
        stated = {name: getattr(self, name) for name in known & self.stated()}
        if self.stated() & {"mean", "scale", "input_order"}:
            from resnet_convert.images.means import mean_of

            stated["preprocessing"] = Preprocessing(mean_of(self.mean), self.scale, self.input_order == "rgb")
        if self.train:
            stated["phase"] = "TRAIN"
        return replace(self.options or Options(), **stated)
