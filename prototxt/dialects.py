"""Layer types that mean different things in different forks, and what in a file tells them apart.

    DIALECTS["Interp"]    the readings of a type, the one to take without evidence first
    layer.dialect         the reading of one layer: as asked for (`--dialect Interp=openvino`), else by the evidence

Both the converter and the interpreter ask the layer, and each has rules of its own for what a dialect means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prototxt.errors import RequestError

if TYPE_CHECKING:
    from prototxt.net import NetLayer

Evidence = Callable[["NetLayer"], str]


@dataclass(frozen=True)
class Dialect:
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
            repeated = isinstance(getattr(message, name), Sequence) and not isinstance(getattr(message, name), str)
            if name in known and (len(getattr(message, name)) if repeated else message.HasField(name)):
                return f"{name} is given"
        return ""

    return found


def _one_bottom(layer: NetLayer) -> str:
    return "it reads one bottom" if len(layer.bottoms) == 1 else ""


def _input_of_whole_steps(layer: NetLayer) -> str:
    """DeepLab's zoom_factor gives odd sizes only, and undoes the shrinking of such: its nets take images of 8 n + 1."""
    p = layer.param.interp_param
    if p.HasField("zoom_factor") and not p.HasField("shrink_factor"):
        for other in layer.neighbours:
            for shape in other.input_param.shape if other.type == "Input" else ():
                if len(shape.dim) == 4 and not any(size % 32 for size in shape.dim[2:]):
                    return f"zoom_factor in a net whose input is {shape.dim[2]}×{shape.dim[3]}, multiples of 32"
    return ""


def _boxes_of_faceboxes(layer: NetLayer) -> str:
    """FaceBoxes has no field of its own: its first squares tell it, which stand closer the smaller they are."""
    squares = [32, 64, 128]
    if any(list(other.prior_box_param.min_size) == squares for other in layer.neighbours if other.type == "PriorBox"):
        return "a PriorBox of the net has min_size 32, 64 and 128"
    return "faceboxes is given" if layer.param.prior_box_param.faceboxes else ""


DIALECTS: dict[str, tuple[Dialect, ...]] = {
    "BN": (
        Dialect("pspnet", "four blobs: slope, bias, mean and variance", _fields("bn_param", "icnet", "slope_filler")),
        Dialect("cudnn4", "four blobs, the last the inverse standard deviation"),
        Dialect(
            "segnet",
            "two blobs: scale and shift, that of bn_mode INFERENCE with mean and variance in them",
            _fields("bn_param", "bn_mode", "scale_filler", "shift_filler"),
        ),
    ),
    "CTCGreedyDecoder": (
        Dialect("intel", "the blank is the last class, the top streams × time × 1 × 1"),
        Dialect("chwick", "the blank is the last class, the top time × streams × 1 × 1"),
        Dialect("caffe_ocr", "no marks, and the blank is class 0", _one_bottom),
    ),
    "Interp": (
        Dialect(
            "deeplab",
            "zoom_factor z makes z * (size - 1) + 1 of a size",
            usual=lambda layer: not layer.param.interp_param.HasField("zoom_factor"),
        ),
        Dialect("openvino", "zoom_factor z makes z * size of a size", _input_of_whole_steps),
    ),
    "PriorBox": (
        Dialect("ssd", "one square for each min_size", usual=lambda layer: True),
        Dialect("faceboxes", "16 squares of 32 and 4 of 64, all a pixel smaller than min_size", _boxes_of_faceboxes),
    ),
}


def dialect_of(layer: NetLayer, asked: Mapping[str, str]) -> tuple[str, str]:
    """The dialect of a layer, empty where its type has but one meaning, and why, empty where it goes without saying.

    Args:
        layer: which.
        asked: what the user says, by layer type; the entry "" goes for all types that have a dialect of that name.
    """
    known = DIALECTS.get(layer.kind, ())
    names = [dialect.name for dialect in known]
    for wish in (asked.get(layer.kind), asked.get("")):
        if wish in names:
            return str(wish), "as --dialect says"
    for dialect in known:
        why = dialect.evidence(layer)
        if why:
            return dialect.name, why
    if not known:
        return "", ""
    return known[0].name, "" if known[0].usual(layer) else "nothing shows another fork's"


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
    for kind, wish in asked.items():
        if kind and kind not in DIALECTS:
            raise RequestError(
                f"--dialect {kind}={wish}: {kind!r} has one meaning only; several have {_list(DIALECTS)}"
            )
        names = {d.name for known in ([DIALECTS[kind]] if kind else DIALECTS.values()) for d in known}
        if wish not in names:
            raise RequestError(
                f"--dialect {wish}: no such fork{f' of {kind}' if kind else ''}; known are {_list(names)}"
            )


def _list(names: object) -> str:
    return ", ".join(sorted(names))  # type: ignore[call-overload]
