"""What may be asked of the verbs that read images: which, what is done to them, and what is measured or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from converter.options import File, Fold, Target
from resnet_convert import text_forms
from resnet_convert.option import option, output_option
from resnet_convert.requests.gating import GatedRequest
from resnet_convert.requests.net import NetRequest
from resnet_convert.requests.values import Bytes, Engine, Float32, Integers, Interpolation, Mean, Order, Runner

EXPECTED, SCORED, WRITTEN = "what is expected", "how it is scored", "what is written"


@dataclass(frozen=True, eq=False, repr=False)
class PreparedRequest(NetRequest):
    """What is done to images before the net; what is not given comes from the published protocol.

    Attributes:
        mean: values or an image may be arrays.
    """

    _: KW_ONLY
    resize: int | tuple[int, ...] | None = option(
        None,
        "before the crop: the shorter side to S, or warp to H×W as convert_imageset does",
        metavar="S|HxW|none",
        parse=text_forms.resize,
        group="images",
    )
    interpolation: Interpolation = option("linear", "of the resizing (linear)", group="images")
    crop: tuple[int, int] | None = option(
        None, "size that the net sees (its input's)", metavar="S|HxW", parse=text_forms.size, group="images"
    )
    mean: Mean | None = option(
        None, "mean image or mean values to subtract", metavar="FILE|B,G,R", parse=str, group="images", file="in"
    )
    scale: float | None = option(None, "factor, after the mean", metavar="S", parse=float, group="images")
    input_order: Order | None = option(None, "order of channels that the net takes (bgr)", group="images")
    ignore_orientation: bool = option(
        False, "leave images as their EXIF orientation finds them, as OpenCV 2.4 did", group="images"
    )
    batch_size: int | None = option(None, "images in a batch", metavar="N", parse=text_forms.count, group="images")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where the model runs (auto)", group="images")
    fold: Fold = option("bn", "as in a conversion (bn)")

    @property
    def needs_weights(self) -> bool:
        """Scores hang on them."""
        return True


@dataclass(frozen=True, eq=False, repr=False)
class ScoredRequest(PreparedRequest):
    """What runs the net, and on how many pictures of each image."""

    _: KW_ONLY
    crops: Literal[1, 10] | None = option(None, "centre, or ten averaged (1)", parse=int, group=SCORED)
    mirror: bool = option(False, "the mirror image as well, averaged", group=SCORED)
    engine: Engine = option("onnx", "what runs the net (onnx, which is onnxruntime)", group=SCORED)
    model: File | None = option(
        None,
        "a converted model, instead of converting; a folder's model.py is executed",
        metavar="MODEL",
        parse=str,
        group=SCORED,
        file="in",
    )
    compile: bool = option(False, "torch.compile", group=SCORED)
    channels_last: bool = option(False, "torch's memory format", group=SCORED)
    threads: int = option(0, "of the model (all cores)", metavar="N", parse=text_forms.count, group=SCORED)


@dataclass(frozen=True, eq=False, repr=False)
class DataRequest(NetRequest):
    """A data set.

    Attributes:
        data: images in any form that --data takes; or an array N×H×W×C of uint8, its channels B, G, R.
        labels: the labels' file; or N class numbers, with images in an array.
    """

    data: File | Bytes = option(
        "",
        "images or class folders, in a folder, .tar or .zip; an LMDB of convert_imageset; CIFAR binaries",
        metavar="DATA",
        parse=str,
        group="images",
        file="in",
    )
    _: KW_ONLY
    labels: File | Sequence[int] | Integers | None = option(
        None,
        "Caffe's val.txt, ILSVRC's ground-truth file, or a folder of XML annotations",
        metavar="FILE",
        parse=str,
        group="images",
        file="in",
    )
    synsets: File | None = option(
        None, "order of the classes: synsets.txt, meta.mat", metavar="FILE", parse=str, group="images", file="in"
    )
    limit: int | None = option(None, "a random sample of N images", metavar="N", parse=text_forms.count, group="images")
    seed: int = option(0, "of that sample (0)", metavar="N", parse=int, group="images")


@dataclass(frozen=True, eq=False, repr=False)
class ImageRequest(PreparedRequest, DataRequest):
    """Which images of a data set, and what is done to them before the net."""


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationRequest(ScoredRequest, ImageRequest, GatedRequest):
    """What is measured, how, and against what.

    Attributes:
        caffe_scores: may be an array N×K.
        progress: told now and then how far it is.
    """

    _: KW_ONLY
    expect: str | None = option(
        None, "a published model: resnet-50 … ('list' shows all)", metavar="NAME", parse=str, group=EXPECTED
    )
    expect_top1: float | None = option(None, "top-1 error, in %", metavar="E", parse=text_forms.percent, group=EXPECTED)
    expect_top5: float | None = option(None, "top-5 error, in %", metavar="E", parse=text_forms.percent, group=EXPECTED)
    strict: bool = option(
        False, "too few images to tell, or none that can be compared, is a failure (exit status 3)", group=EXPECTED
    )
    agree: int | None = option(
        None,
        "also compare the scores of N images (all without N) with a run of the Caffe files themselves",
        metavar="N",
        parse=text_forms.count,
        constant=0,
        group=EXPECTED,
    )
    judge: Literal["interpreter", "opencv", "caffe"] = option(
        "interpreter", "what runs them (interpreter)", group=EXPECTED
    )
    caffe_scores: File | Float32 | None = option(
        None,
        "scores that the original Caffe gave for the data set, N×K, to compare with",
        metavar="FILE.npy",
        parse=str,
        group=EXPECTED,
        file="in",
    )
    multi_scale: Sequence[int] = option(
        (),
        "fully convolutional, at these lengths of the shorter side, averaged: 224,256,384,480,640",
        metavar="S,S",
        parse=text_forms.counts,
        group=SCORED,
    )
    runner: Runner = option("local", "ray: on Ray Data, on this machine or on the cluster of RAY_ADDRESS", group=SCORED)
    resume: bool = option(False, "go on with an interrupted run", group=SCORED)
    journal: File | None = option(
        None, "where it keeps results as they come", metavar="FILE", parse=str, group=SCORED, file="out"
    )
    report: File | None = option(
        None, "a page with chart and images", metavar="FILE.html", parse=str, group=WRITTEN, file="out"
    )
    scores: File | None = option(None, "every score, N×K", metavar="FILE.npy", parse=str, group=WRITTEN, file="out")


@dataclass(frozen=True, eq=False, repr=False)
class RecalibrationRequest(ImageRequest):
    """BatchNorm's statistics as plain averages over images, and the net written with them."""

    _: KW_ONLY
    to: Target | Literal["caffemodel"] = option(
        "caffemodel", "what to write; caffemodel: the weights alone, in Caffe's form (default)"
    )
    output: File | None = output_option("file or folder to write; by default named after NET")
    precision: Literal["float32", "float64"] = option(
        "float64", "of the passes: float64 (default) gives the same numbers for any batch size, float32 is faster"
    )
    cache: float | None = option(
        None,
        "memory for what would else be computed again from the images (a quarter of the machine's)",
        metavar="MB",
        parse=float,
    )
