"""Layer types that mean different things in different forks, and what in a file tells them apart.

    DIALECTS["Interp"]    the readings of a type, the one to take without evidence first
    layer.dialect         the reading of one layer: as asked for (`--dialect Interp=openvino`), else by the evidence

Both the converter and the interpreter ask the layer, and each has rules of its own for what a dialect means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from prototxt.caffe_pb2 import ConvolutionParameter, LayerParameter
from prototxt.errors import RequestError
from prototxt.recording import is_repeated

if TYPE_CHECKING:
    from prototxt.net import NetLayer

Evidence = Callable[["NetLayer"], str]


class Dialect(NamedTuple):
    """One reading of a layer type.

    Attributes:
        name: of the fork, as `--dialect` takes it.
        meaning: what it does otherwise than the others, in words.
        evidence: says what in a layer shows that it is this one's, in words; empty for nothing.
        usual: whether it goes without saying for a layer, where nothing shows another's.
    """

    name: str
    meaning: str
    evidence: Evidence = lambda layer: ""
    usual: Callable[[NetLayer], bool] = lambda layer: False


def _fields(section: str, *names: str) -> Evidence:
    """Evidence: one of these fields is written in the layer's section."""

    def found(layer: NetLayer) -> str:
        message = getattr(layer.param, section)
        known = message.DESCRIPTOR.fields_by_name
        for name in names:
            if getattr(message, name) if is_repeated(known[name]) else message.HasField(name):
                return f"{name} is given"
        return ""

    return found


def _one_bottom(layer: NetLayer) -> str:
    return "it reads one bottom" if len(layer.bottoms) == 1 else ""


def _grid_is_averaged(layer: NetLayer) -> str:
    """Cascade R-CNN's ROIAlign samples the corners of its bins, of which a Pooling then takes each four's mean."""
    name = layer.neighbours.once(_averages).get(layer.tops)
    return "" if name is None else f"{name} takes means of 2×2 of it"


def _averages(layers: Sequence[LayerParameter]) -> dict[tuple[str, ...], str]:
    """Bottoms -> the first Pooling that takes means of 2×2 of them."""
    found: dict[tuple[str, ...], str] = {}
    for other in layers:
        p = other.pooling_param
        if other.type == "Pooling" and p.pool == p.AVE and (p.kernel_size, p.stride, p.pad) == (2, 1, 0):
            found.setdefault(tuple(other.bottom), other.name)
    return found


def _input_of_whole_steps(layer: NetLayer) -> str:
    """DeepLab's zoom_factor gives odd sizes only, and undoes the shrinking of such: its nets take images of 8 n + 1."""
    p = layer.param.interp_param
    if not p.HasField("zoom_factor") or p.HasField("shrink_factor"):
        return ""
    size = layer.neighbours.once(_whole_steps)
    return f"zoom_factor in a net whose input is {size}, multiples of 32" if size else ""


def _whole_steps(layers: Sequence[LayerParameter]) -> str:
    """The first size of an Input in multiples of 32."""
    shapes = (list(shape.dim) for other in layers if other.type == "Input" for shape in other.input_param.shape)
    return next((f"{d[2]}×{d[3]}" for d in shapes if len(d) == 4 and not any(size % 32 for size in d[2:])), "")


def _frames_of_c3d(layer: NetLayer) -> str:
    p = layer.param.pooling3d_param
    given = [name for name in ("kernel_depth", "temporal_stride") if p.HasField(name)]
    return f"{given[0]} is given" if given else ""


def _frames_of_p3d(layer: NetLayer) -> str:
    p = layer.param.pooling3d_param
    given = [name for name in ("kernel_l", "stride_l", "pad_l", "pad_h", "pad_w") if p.HasField(name)]
    return f"{given[0]} is given" if given else ""


def _vectors_of_happynear(layer: NetLayer) -> str:
    if layer.param.HasField("normalize_param"):
        return "normalize_param is given"
    two = len(layer.tops) == 2 and not layer.param.HasField("norm_param")
    return "it has a second top, the norms" if two else ""


def _items_of_tsn(layer: NetLayer) -> str:
    """It has no field of its own; Cysu's fork, which has the same, trains it with a layer that no other has."""
    if len(layer.tops) > 1 or layer.param.HasField("norm_param") or layer.param.HasField("normalize_param"):
        return ""
    name = layer.neighbours.once(_matching)
    return f"{name} is a LabeledMatching, which Cysu's fork has beside it" if name else ""


def _matching(layers: Sequence[LayerParameter]) -> str:
    return next((other.name for other in layers if other.type == "LabeledMatching"), "")


def _boxes_of_faceboxes(layer: NetLayer) -> str:
    """FaceBoxes has no field of its own: its first squares tell it, which stand closer the smaller they are."""
    if layer.neighbours.once(_have_faceboxes_squares):
        return "a PriorBox of the net has min_size 32, 64 and 128"
    return "faceboxes is given" if layer.param.prior_box_param.faceboxes else ""


def _have_faceboxes_squares(layers: Sequence[LayerParameter]) -> bool:
    return any(list(other.prior_box_param.min_size) == [32, 64, 128] for other in layers if other.type == "PriorBox")


def _pools_of_darknet(layer: NetLayer) -> str:
    return layer.neighbours.once(_pools_to_the_same_size)


def _pools_to_the_same_size(layers: Sequence[LayerParameter]) -> str:
    """YOLOv3-tiny's maximum of 2×2 at every place, under the name that the script gives it, and that script's Upsample.

    Without a further window its two branches do not meet.
    """
    if not any(other.type == "Upsample" and other.upsample_param.HasField("scale") for other in layers):
        return ""
    for other in layers:
        p = other.pooling_param
        named = other.type == "Pooling" and other.name.endswith("-maxpool")
        if named and (p.pool, p.kernel_size, p.stride, p.pad) == (p.MAX, 2, 1, 0):
            return f"{other.name} takes the maximum of 2×2 at stride 1 in a net with darknet2caffe's Upsample"
    return ""


def _lines_up(layer: NetLayer) -> str:
    from prototxt.coordinates import read_crops, states_no_cut  # and fractions, which no other layer needs

    return layer.neighbours.once(read_crops).evidence if states_no_cut(layer.param) else ""


def _cuts_as_elsewhere(layer: NetLayer) -> bool:
    from prototxt.coordinates import read_crops, states_no_cut

    return not states_no_cut(layer.param) or not layer.neighbours.once(read_crops).would_differ


def _statistics_of_the_batch(layer: NetLayer) -> str:
    """SegNet's and DeconvNet's fork name two fields otherwise than PSPNet's, and DeconvNet's has more tops."""
    found = _fields("bn_param", "bn_mode", "scale_filler", "shift_filler")(layer)
    return found or ("it has tops for mean and variance" if len(layer.tops) > 1 else "")


def _class_beside_a_vector(layer: NetLayer) -> str:
    """An ArgMax over an axis leaves items × 1, and what Caffe makes of it has three axes, an InnerProduct's top two."""
    name = layer.neighbours.once(_classes_beside_vectors).get(layer.tops)
    return "" if name is None else f"{name} joins it to an InnerProduct's top, which has two axes"


def _classes_beside_vectors(layers: Sequence[LayerParameter]) -> dict[tuple[str, ...], str]:
    """Tops of an Embed of classes -> the Concat that joins them to the top of an InnerProduct."""
    made = {top: other for other in layers for top in other.top if list(other.bottom) != list(other.top)}

    def is_vector(blob: str) -> bool:
        maker = made.get(blob)
        return maker is not None and maker.type == "InnerProduct" and maker.inner_product_param.axis == 1

    def is_class(blob: str) -> bool:
        maker = made.get(blob)
        return (
            maker is not None
            and maker.type == "ArgMax"
            and maker.argmax_param.HasField("axis")
            and maker.argmax_param.top_k == 1
            and any(map(is_vector, maker.bottom))
        )

    found = {}
    for concat in layers:
        if concat.type != "Concat" or concat.concat_param.axis != 1 or not any(map(is_vector, concat.bottom)):
            continue
        for blob in concat.bottom:
            embed = made.get(blob)
            if embed is not None and embed.type == "Embed" and any(map(is_class, embed.bottom)):
                found[tuple(embed.top)] = concat.name
    return found


def _whole_sizes(layer: NetLayer) -> bool:
    p = layer.param.prior_box_param
    keeps_fractions = len(p.width) or len(p.height) or len(p.offset_h) or len(p.offset_w)  # OpenCV's form
    return bool(keeps_fractions) or all(size == int(size) for size in (*p.min_size, *p.max_size) if isfinite(size))


def _boxes_of_textboxes(layer: NetLayer) -> str:
    """TextBoxes has no field of its own: its heads have offsets and scores for twice the boxes that SSD makes."""
    name = layer.neighbours.once(_heads_of_twice_the_boxes).get(layer.tops)
    return "" if name is None else f"{name} has offsets for twice SSD's boxes"


def _detections_of_textboxes(layer: NetLayer) -> str:
    name = next(iter(layer.neighbours.once(_heads_of_twice_the_boxes).values()), None)
    return "" if name is None else f"the net's PriorBox is TextBoxes': {name} has offsets for twice SSD's boxes"


def _heads_of_twice_the_boxes(layers: Sequence[LayerParameter]) -> dict[tuple[str, ...], str]:
    """Tops of a PriorBox -> the Convolution beside it that has offsets for twice the boxes, as another has scores."""
    classes = {other.detection_output_param.num_classes for other in layers if other.type == "DetectionOutput"}
    heads: dict[str, dict[int, str]] = {}
    for other in layers:
        if other.type == "Convolution" and len(other.bottom) == 1:
            heads.setdefault(other.bottom[0], {}).setdefault(other.convolution_param.num_output, other.name)
    found = {}
    for other in layers:
        p = other.prior_box_param
        others = p.denser_prior_boxes or p.faceboxes or len(p.offset_h) or len(p.width) or len(p.box_width)
        if other.type != "PriorBox" or len(other.bottom) != 2 or len(classes) != 1 or others:
            continue
        boxes, beside = _plain_boxes(other), heads.get(other.bottom[0], {})
        pairs = {times: (4 * boxes * times, boxes * times * min(classes)) for times in (1, 2)}
        if set(pairs[2]) <= beside.keys() and not set(pairs[1]) <= beside.keys():
            found[tuple(other.top)] = beside[pairs[2][0]]
    return found


def _plain_boxes(layer: LayerParameter) -> int:
    """How many boxes SSD has at each place for one min_size, as far as min_size and what goes with it say."""
    p = layer.prior_box_param
    ratios = [ratio for ratio in p.aspect_ratio if abs(ratio - 1) >= 1e-6]
    return len(p.min_size) * (1 + len(ratios) * (2 if p.flip else 1)) + len(p.max_size)


def _flow_beside_a_grid(layer: NetLayer) -> str:
    """LiteFlowNet adds a flow to the places of all pixels, which a layer of its own makes."""
    return "the net has a Grid" if layer.neighbours.once(_have_grid) else ""


def _have_grid(layers: Sequence[LayerParameter]) -> bool:
    return any(other.type == "Grid" for other in layers)


def _engine_of_intel(layer: NetLayer) -> str:
    p = layer.param.batch_norm_param
    if p.engine in (ConvolutionParameter.MKL2017, ConvolutionParameter.MKLDNN) or layer.param.engine.startswith("MKL"):
        return "its engine is Intel's"
    return _fields("batch_norm_param", "use_weight_bias", "bias_term", "filler", "stats_batch_size", "relu")(layer)


_RISTRETTO = (
    Dialect(
        "gpu",
        "as the fork's GPU and documentation have it: halves go to the even number; with weights of powers of two "
        "bottoms and tops are in fixed point",
        usual=lambda layer: True,
    ),
    Dialect("cpu", "as the fork's CPU: halves go away from 0; with weights of powers of two bottoms and tops stay"),
)

DIALECTS: dict[str, tuple[Dialect, ...]] = {
    "BatchNorm": (
        Dialect("bvlc", "the stored blobs alone tell whether scale and bias are inside", usual=lambda layer: True),
        Dialect(
            "nvidia",
            "eps is 1e-5 at least, and phase TEST uses what is stored whatever use_global_stats says; five blobs of "
            "one value each begin with the mean",
            _fields("batch_norm_param", "scale_bias", "scale_filler"),
        ),
        Dialect("nvidia15", "the same, but five blobs of one value each begin with the scale"),
        Dialect(
            "intel",
            "two blobs are scale and bias, with the statistics of the batch; a factor of 0 means statistics of 0 with "
            "scale and bias inside too",
            _engine_of_intel,
        ),
    ),
    "BN": (
        Dialect("pspnet", "four blobs: slope, bias, mean and variance", _fields("bn_param", "icnet", "slope_filler")),
        Dialect("cudnn4", "four blobs, the last the inverse standard deviation"),
        Dialect(
            "segstereo",
            "four blobs, and var_eps, 1e-10 unless it is stated; use_history_in_test: false has them normalise by the "
            "batch, moving_average says nothing",
            _fields("bn_param", "use_history_in_test"),
        ),
        Dialect(
            "caffe_windows",
            "the same, but the batch's mean and variance unless moving_average is true; so are four blobs of a layer "
            "with SegNet's fields",
            _fields("bn_param", "var_eps", "decay", "moving_average"),
        ),
        Dialect(
            "segnet",
            "two blobs: scale and shift, that of bn_mode INFERENCE with mean and variance in them",
            _statistics_of_the_batch,
        ),
    ),
    "ConvolutionRistretto": _RISTRETTO,
    "Crop": (
        Dialect("bvlc", "offsets that are not stated are 0", usual=_cuts_as_elsewhere),
        Dialect(
            "fcn",
            "no fields: from where the second bottom's first pixel lies on the first, by the layers between them",
            _lines_up,
        ),
    ),
    "CTCGreedyDecoder": (
        Dialect("intel", "the blank is the last class, the top streams × time × 1 × 1"),
        Dialect("chwick", "the blank is the last class, the top time × streams × 1 × 1"),
        Dialect("caffe_ocr", "no marks, and the blank is class 0", _one_bottom),
    ),
    "DeconvolutionRistretto": _RISTRETTO,
    "DetectionOutput": (
        Dialect(
            "ssd",
            "boxes come out as they were decoded; if there are none, a row of -1 for each image, behind its number",
            usual=lambda layer: True,
        ),
        Dialect(
            "textboxes1",
            "boxes come out clipped to the image; if there are none, one row of -1 for all images",
            _detections_of_textboxes,
        ),
    ),
    "Embed": (
        Dialect("bvlc", "an axis more than the bottom has", usual=lambda layer: True),
        Dialect(
            "bottom_up_attention",
            "a last axis of size 1 becomes that of num_output",
            _class_beside_a_vector,
        ),
    ),
    "FcRistretto": _RISTRETTO,
    "Interp": (
        Dialect(
            "deeplab",
            "zoom_factor z makes z * (size - 1) + 1 of a size",
            usual=lambda layer: not layer.param.interp_param.HasField("zoom_factor"),
        ),
        Dialect("openvino", "zoom_factor z makes z * size of a size", _input_of_whole_steps),
    ),
    "Normalize": (
        Dialect("ssd", "multiplies by a learned blob", usual=lambda layer: True),
        Dialect("happynear", "has no blob: each pixel over the norm of its channels", _vectors_of_happynear),
        Dialect("tsn", "has no blob: each item over the norm of all its values, without eps", _items_of_tsn),
    ),
    "Pooling": (
        Dialect("bvlc", "as many windows as fit, rounded as the layer says", usual=lambda layer: True),
        Dialect(
            "darknet2caffe",
            "one window more on each axis where the kernel less the stride is odd",
            _pools_of_darknet,
        ),
    ),
    "Pooling3D": (
        Dialect(
            "synopsys",
            "one kernel_size for all three axes, and a last window in the padding is dropped",
            usual=lambda layer: True,
        ),
        Dialect("c3d", "kernel_size for rows and columns, kernel_depth for frames", _frames_of_c3d),
        Dialect("p3d", "kernel_size for rows and columns, kernel_l for frames, padded and rounded up", _frames_of_p3d),
    ),
    "PriorBox": (
        Dialect("ssd", "one square for each min_size, whose fraction is dropped", usual=_whole_sizes),
        Dialect("intel", "the same, sizes with their fractions, as Intel's fork has them since September 2017"),
        Dialect("faceboxes", "16 squares of 32 and 4 of 64, all a pixel smaller than min_size", _boxes_of_faceboxes),
        Dialect(
            "textboxes1",
            "each box a second time at the lower edge of its place, clipped unless clip says otherwise; sizes keep "
            "their fractions",
            _boxes_of_textboxes,
        ),
    ),
    "ROIAlign": (
        Dialect(
            "detectron",
            "roi_align_param; the mean of sampling_ratio² samples in each bin, as in Detectron, Caffe2 and Ascend",
            _fields("roi_align_param", "sampling_ratio"),
        ),
        Dialect(
            "zuokai",
            "roi_pooling_param; one sample in the middle of a bin, or the largest of four, bilinear or bicubic",
            _fields("roi_pooling_param", "bi_type", "is_multi_interpolate"),
        ),
        Dialect(
            "cascade_rcnn",
            "roi_pooling_param; samples at the corners of bins, one row and column more than pooled_h and pooled_w",
            _grid_is_averaged,
        ),
    ),
    "Warp": (
        Dialect("pwc_net", "the second bottom is a flow, and what lies beyond the first and last pixel is 0"),
        Dialect(
            "liteflownet", "the second bottom has places, and the image fades out over a pixel", _flow_beside_a_grid
        ),
    ),
}

UNGUESSED = ("ROIAlign",)
"""Types of which no reading goes without evidence: the same file means something else in each fork."""


def dialect_of(layer: NetLayer, asked: Mapping[str, str]) -> tuple[str, str]:
    """The dialect of a layer, and why, empty where it goes without saying.

    The dialect is empty where the type has but one meaning, or none that could be guessed: `unguessed` says so.

    Args:
        layer: which.
        asked: what the user says, by layer type; the entry "" goes for all types that have a dialect of that name.
    """
    known = DIALECTS.get(layer.kind, ())
    if not known:
        return "", ""
    names = [dialect.name for dialect in known]
    for wish in (asked.get(layer.kind), asked.get("")):
        if wish in names:
            return str(wish), "as --dialect says"
    for dialect in known:
        why = dialect.evidence(layer)
        if why:
            return dialect.name, why
    if layer.kind in UNGUESSED:
        return "", ""
    return known[0].name, "" if known[0].usual(layer) else "nothing shows another fork's"


def unguessed(layer: NetLayer) -> str:
    """Why a layer of an unguessed type cannot be read, in words: which forks there are, and what each means."""
    meanings = "; ".join(f"{d.name} ({d.meaning})" for d in DIALECTS[layer.kind])
    return f"{layer.kind} is another layer in each fork, and nothing here shows whose; --dialect says: {meanings}"


def readings(layers: Sequence[NetLayer]) -> list[str]:
    """A sentence for each layer type of several meanings and each reading of it that does not go without saying."""
    found: dict[tuple[str, str], str] = {}
    for layer in layers:
        if layer.dialect_evidence and (layer.kind, layer.dialect) not in found:
            others = ", ".join(f"{layer.kind}={d.name}" for d in DIALECTS[layer.kind] if d.name != layer.dialect)
            said = f"{layer.position}: {layer.kind} is read as {layer.dialect}'s: {layer.dialect_evidence}"
            found[layer.kind, layer.dialect] = f"{said} (--dialect {others} for another)"
    return list(found.values())


def check_asked(asked: Mapping[str, str]) -> None:
    """RequestError for a layer type or a dialect that there is not."""
    if not asked:
        return
    from prototxt.fork_numbers import READINGS, fork_names  # a table that nobody else needs for a prototxt

    several = DIALECTS.keys() | READINGS.keys()
    for kind, wish in asked.items():
        if kind and kind not in several:
            raise RequestError(f"--dialect {kind}={wish}: {kind!r} has one meaning only; several have {_list(several)}")
        kinds = [kind] if kind else several
        names = {d.name for one in kinds for d in DIALECTS.get(one, ())}.union(*map(fork_names, kinds))
        if wish not in names:
            raise RequestError(
                f"--dialect {wish}: no such fork{f' of {kind}' if kind else ''}; known are {_list(names)}"
            )


def _list(names: object) -> str:
    return ", ".join(sorted(names))  # type: ignore[call-overload]
