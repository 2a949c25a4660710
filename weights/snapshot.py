"""From the net that was trained to the net that is deployed: what a snapshot has beside the model.

    copies      Caffe puts a Split behind each blob that several layers read (insert_splits.cpp) and writes it out:
                layer <blob>_<layer>_<k>_split with tops <layer>_0, <layer>_1 …; in 2014 the first top was the blob
                itself. A copy's reader wants the blob.
    objective   losses and measures, whatever only they read that has nothing learned before it (labels, and what is
                cut or computed from them), and the data layers' tops that nobody else reads.

A blob has a loss weight in its layer, but where it is copied Caffe moves it to the first copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from prototxt.caffe_pb2 import LayerParameter, NetParameter
from prototxt.words import named, plural

Top: TypeAlias = tuple[int, int]
"""Index of a layer, and of one of its tops."""

MEASURES = ("Loss", "Accuracy", "Evaluate")
"""What the types of layers contain that only train or measure; forks' names vary at both ends."""

OTHER_MEASURES = (
    "EvalDetection",
    "FLOWriter",
    "FloatWriter",
    "HDF5Output",
    "ImgWriter",
    "PFMWriter",
    "YoloSeg",
    "Yolov3",
)


def see_through_copies(message: NetParameter, asked: Collection[str] = ()) -> tuple[str, ...]:
    """Let the readers of copies that Caffe made read the blob itself, and take the copies out; in words what was done.

    A Split stays where a later layer writes over its bottom or one of its copies, and where a copy is read by no
    layer: Caffe makes none such. A copy in `asked` stays, for whoever wants it as an output.
    """
    last = {top: index for index, layer in enumerate(message.layer) for top in layer.top}
    read = {bottom for layer in message.layer for bottom in layer.bottom}
    original: dict[str, str] = {}
    maker: dict[str, Top] = {}
    gone: list[int] = []
    for index, layer in enumerate(message.layer):
        bottoms = list(layer.bottom)
        layer.bottom[:] = [original.get(bottom, bottom) for bottom in bottoms]
        weighed = bool(layer.loss_weight)
        if not _copies(layer, bottoms) or any(top not in read for top in layer.top[weighed:]):
            maker.update((top, (index, place)) for place, top in enumerate(layer.top))
            continue
        blob = layer.bottom[0]
        if any(last.get(name, -1) > index for name in (blob, *bottoms, *layer.top)):
            continue
        original.update((top, blob) for top in layer.top if top != blob)
        if weighed and layer.loss_weight[0] and blob in maker:
            _weigh(message.layer[maker[blob][0]], maker[blob][1], layer.loss_weight[0])
        wanted = [top for top in layer.top if top in asked and top != blob]
        if wanted:
            layer.top[:] = wanted
            layer.ClearField("loss_weight")
        else:
            gone.append(index)
    _delete(message, gone)
    return (f"{plural(len(gone), 'Split')} that Caffe had added taken out",) if gone else ()


def _copies(layer: LayerParameter, bottoms: Sequence[str]) -> bool:
    """Whether it is one of Caffe's own Splits, by its names."""
    if layer.type != "Split" or len(bottoms) != 1 or not layer.top:
        return False
    blob, name = bottoms[0], layer.name
    maker, _, number = name.removesuffix("_split").rpartition("_")
    if name != f"{blob}_split" and not (
        name.endswith("_split") and number.isdecimal() and maker.startswith(f"{blob}_")
    ):
        return False
    return all(top == f"{name}_{k}" or (k == 0 and top == blob) for k, top in enumerate(layer.top))


def _weigh(layer: LayerParameter, place: int, weight: float) -> None:
    weights = [*layer.loss_weight, *[0.0] * (len(layer.top) - len(layer.loss_weight))]
    weights[place] = weight
    layer.loss_weight[:] = weights


def leave_out_objective(message: NetParameter, learned: Collection[str], asked: Collection[str]) -> tuple[str, ...]:
    """Take out losses, measures and labels, as a deploy net is written; in words what was.

    Args:
        message: a net of today's form, without Caffe's copies.
        learned: names of the layers that have weights. A blob behind none of them may be a label; one before any isn't.
        asked: blobs that stay, with all that they need.
    """
    plan = _Objective(message, learned)
    plan.decide(asked)
    if not any(layer.bottom for index, layer in enumerate(message.layer) if index not in plan.gone | plan.silent):
        return ()  # All that the net computes is its losses.
    layers = [message.layer[index].name for index in sorted(plan.gone) if message.layer[index].bottom]
    inputs = [message.layer[index].top[place] for index, place in sorted(plan.idle)]
    plan.carry_out()
    said = [f"layers {named(layers)}"] if layers else []
    said += [f"inputs {named(inputs)}"] if inputs else []
    return (f"left out, as in a net for deployment: {'; '.join(said)}",) if said else ()


@dataclass
class _Objective:
    """Which layers and which tops of data layers only serve the training.

    Attributes:
        gone: layers that are left out.
        idle: tops of data layers that then nobody reads.
    """

    message: NetParameter
    learned: Collection[str]
    gone: set[int] = field(default_factory=set)
    idle: set[Top] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.silent = {index for index, layer in enumerate(self.message.layer) if layer.type == "Silence"}
        self.reads: list[list[Top]] = []
        self.readers: dict[Top, set[int]] = {}
        self.last: dict[str, Top] = {}
        for index, layer in enumerate(self.message.layer):
            self.reads.append([self.last[bottom] for bottom in layer.bottom if bottom in self.last])
            for top in self.reads[-1]:
                self.readers.setdefault(top, set()).add(index)
            self.last.update((top, (index, place)) for place, top in enumerate(layer.top))

    def decide(self, asked: Collection[str]) -> None:
        wanted = {self.last[name] for name in asked if name in self.last}
        needed = self._needed(wanted)
        self.gone = self._measuring() - needed
        labels = [top for top in self._inputs() if self._is_label(top) and not needed & self._behind(top)]
        for top in labels:
            self.gone |= self._behind(top)
        self.idle = {top for top in labels if top not in wanted and self.readers[top] <= self.gone | self.silent}

    def carry_out(self) -> None:
        lost = self.idle | {top for index in self.gone for top in self._tops(index)}
        for index in self.silent - self.gone:
            layer = self.message.layer[index]
            kept = [name for name, top in zip(layer.bottom, self.reads[index], strict=False) if top not in lost]
            layer.bottom[:] = kept
            if not kept:
                self.gone.add(index)
        for index in {index for index, _ in self.idle}:
            _keep_tops(self.message.layer[index], [top not in self.idle for top in self._tops(index)])
            if not self.message.layer[index].top:
                self.gone.add(index)
        _delete(self.message, sorted(self.gone))

    def _tops(self, index: int) -> Iterator[Top]:
        return ((index, place) for place in range(len(self.message.layer[index].top)))

    def _inputs(self) -> list[Top]:
        fed = (i for i, layer in enumerate(self.message.layer) if not layer.bottom and layer.type != "Parameter")
        return [top for index in fed for top in self._tops(index) if top in self.readers]

    def _needed(self, wanted: Iterable[Top]) -> set[int]:
        """The layers that the wanted tops depend on, data layers too."""
        needed: set[int] = set()
        todo = [index for index, _ in wanted]
        while todo:
            index = todo.pop()
            if index not in needed:
                needed.add(index)
                todo += [made for made, _ in self.reads[index]]
        return needed

    def _measuring(self) -> set[int]:
        """Losses and measures, and what is computed from them alone, unless the model goes on behind them."""
        found: set[int] = set()
        for index, layer in enumerate(self.message.layer):
            from_them = bool(self.reads[index]) and all(made in found for made, _ in self.reads[index])
            by_hand = not self._learns(index) and (from_them or any(layer.loss_weight))
            if layer.bottom and (measures(layer) or by_hand):
                found.add(index)
        for index in sorted(found, reverse=True):
            behind = set().union(*(self.readers.get(top, set()) for top in self._tops(index)))
            if not behind <= found | self.silent:
                found.discard(index)
        return found

    def _behind(self, start: Top) -> set[int]:
        """The layers that `start` reaches, as far as the losses; those that only silence it do not count."""
        found: set[int] = set()
        todo = [start]
        while todo:
            new = self.readers.get(todo.pop(), set()) - found - self.gone - self.silent
            found |= new
            todo += [top for index in new for top in self._tops(index)]
        return found

    def _is_label(self, start: Top) -> bool:
        """Whether all that comes of an input is measured by a loss, and no layer learns from it before."""
        behind = self._behind(start)
        if any(self._learns(index) for index in behind):
            return False
        return all(self.readers.get(top) for index in behind for top in self._tops(index))

    def _learns(self, index: int) -> bool:
        return self.message.layer[index].name in self.learned


def measures(layer: LayerParameter) -> bool:
    """Whether a layer's type is that of a loss or a measure."""
    kind = layer.python_param.layer if layer.type == "Python" else layer.type
    return kind in OTHER_MEASURES or any(word in kind for word in MEASURES)


def _keep_tops(layer: LayerParameter, keep: Sequence[bool]) -> None:
    """Take tops out of a data layer, and what it says of each of them; the first means the images in most types."""
    dummy = layer.dummy_data_param
    if layer.type not in ("Input", "DummyData", "HDF5Data"):
        keep = [True] * max((place + 1 for place, kept in enumerate(keep) if kept), default=0)
        keep += [False] * (len(layer.top) - len(keep))
    count = len(keep)
    layer.top[:] = [name for name, kept in zip(layer.top, keep, strict=True) if kept]
    for values in (layer.input_param.shape, dummy.shape, dummy.data_filler):
        if len(values) == count:
            for place in reversed([place for place, kept in enumerate(keep) if not kept]):
                del values[place]
    for sizes in (dummy.num, dummy.channels, dummy.height, dummy.width):
        if len(sizes) == count:
            sizes[:] = [size for size, kept in zip(sizes, keep, strict=True) if kept]


def _delete(message: NetParameter, indices: Sequence[int]) -> None:
    for index in reversed(indices):
        del message.layer[index]
