"""A Caffe net and a PyTorch module laid beside each other, with the weights of one in the other, and both compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.building.build import build
from converter.building.parameters import MakeParameter
from converter.graph import Graph
from converter.matching.bridging import Bridge, Bridged, bridge
from converter.matching.caffe_side import caffe_skeleton
from converter.matching.differences import Mismatch, beyond, mismatches
from converter.matching.following import Followed
from converter.matching.module_side import Traced, evaluating, trace
from converter.matching.pairing import Pairing, couples, ends, pair
from converter.matching.plain import plain
from converter.matching.skeleton import NetPart, Skeleton
from prototxt import Net
from prototxt.errors import CaffeModelError, NetError, Position, RequestError
from prototxt.names import utf8
from prototxt.words import format_shape
from resnet_convert.modules.keras_models import is_mirror
from resnet_convert.provenance import provenance
from resnet_convert.requests import FedRequest, NetRequest
from resnet_convert.verification import compare_engine
from verify import write_html
from weights import Outputs, Weights

if TYPE_CHECKING:
    from verify import Report
    from verify.parity import OnPart


@dataclass(repr=False, kw_only=True)
class Laid:
    """A net and a module beside each other, the weights of one of them in the other.

    Attributes:
        module: the module.
        name: what it is called in reports.
        pairing: which part of the net is which of the module.
        bridges: differences of form that the numbers make up for.
        mismatches: differences of settings, and parts without a counterpart.
        beyond: Caffe's softmax behind the module's outputs, where that gives scores.
        left: what could not be ported, in words; only with `force`.
        followed: how a pass through the module was followed: by `torch.export`, or why not and by what else.
        report: the comparison of both; None where none was asked for.
        files: what was written.
    """

    module: Any
    name: str
    pairing: Pairing
    bridges: list[Bridge]
    mismatches: list[Mismatch]
    beyond: list[NetPart]
    left: list[str]
    followed: Followed
    report: Report | None = None
    files: list[Path] = field(default_factory=list)

    @property
    def layers(self) -> list[tuple[NetPart, NetPart, bool]]:
        """Each part of the net that has weights, its counterpart, and whether only their order says so."""
        tied = {id(ours) for ours, _ in self.pairing.by_order}
        return [
            (ours.part, theirs.part, id(ours) in tied)
            for ours, theirs in self.pairing.pairs
            if any(part.parameters for part in (*ours.part.together, *theirs.part.together))
        ]

    @property
    def cause(self) -> Cause | None:
        """Where the numbers leave first; None where they don't, or were not compared."""
        bad = self.report.first_bad if self.report is not None else None
        if self.report is None or bad is None:
            return None
        last = [] if any(bad is row for row in self.report.rows) else ends(self.pairing)
        for ours, theirs in (*last, *couples(self.pairing), *ends(self.pairing)):
            if (bad.layer, bad.top) in _tops(ours):
                return Cause(ours, theirs, self._nearest(ours, theirs))
        return None

    def _nearest(self, ours: NetPart, theirs: NetPart) -> Mismatch | None:
        """The difference at two parts, or the last one before them: until there the numbers are the same."""
        at = [each for each in self.mismatches if each.caffe is ours or each.module is theirs]
        before = [*_before(ours), *_before(theirs)]
        found = at or [each for each in self.mismatches if any(p in (each.caffe, each.module) for p in before)]
        return found[-1] if found else None


@dataclass(frozen=True)
class Cause:
    """Where the numbers of net and module part.

    Attributes:
        caffe, module: the first part whose numbers leave their bound, and its counterpart.
        why: what differs there, or last before it; None where no setting does.
    """

    caffe: NetPart
    module: NetPart
    why: Mismatch | None

    def __str__(self) -> str:
        if self.why is None:
            return f"{self.where}; no setting of the two differs"
        if self.why.advice:
            return f"{self.where}: {self.why}; equal with {self.why.advice} (--patch sets it)"
        return f"{self.where}: {self.why}; no attribute of the module makes them equal"

    @property
    def where(self) -> str:
        """The two parts."""
        return f"the numbers leave at {self.caffe}, in the module {self.module}"


def _before(part: NetPart) -> list[NetPart]:
    """All that a part depends on."""
    reached: dict[int, NetPart] = {}
    waiting = list(part.inputs)
    while waiting:
        source = waiting.pop()
        if id(source) not in reached:
            reached[id(source)] = source
            waiting += source.inputs
    return list(reached.values())


def _tops(part: NetPart) -> set[tuple[str, str]]:
    """The tops of a Caffe part and of those that it took in, as a report has them."""
    keys: list[Any] = [key for each in part.together for key, _ in each.values]
    return {(utf8(layer), utf8(top)) for layer, top in keys}


def check_tensors(module: Any) -> None:
    """Refuse what is no module, and one that is not float32 on the CPU."""
    import torch

    if not isinstance(module, torch.nn.Module):
        raise RequestError(f"expected a torch.nn.Module, or the name of one, not {type(module).__name__}")
    for key, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):
            continue
        if torch.nn.parameter.is_lazy(value):
            raise RequestError(f"{key} has no shape yet; run the module once before")
        if value.device.type != "cpu" or (value.is_floating_point() and value.dtype != torch.float32):
            raise RequestError(f"{key} is {value.dtype} on {value.device}; weights go over as float32 on the CPU")


def graph_of(net: Net, weights: Weights | None, request: NetRequest, make: MakeParameter | None = None) -> Graph:
    """The net's graph, nothing folded, for a batch of one where the net can have one."""
    options = request.to_options()
    graph = build(net, weights, input_shapes=options.input_shapes, outputs=options.outputs, make=make)
    ones = {
        value.blob: (1, *map(int, value.shape[1:]))
        for value in graph.inputs
        if len(value.shape) > 1 and value.blob not in options.input_shapes
    }
    if any(value.shape[0] != 1 for value in graph.inputs if value.blob in ones):
        try:
            sizes = {**options.input_shapes, **ones}
            return build(net, weights, input_shapes=sizes, outputs=options.outputs, make=make)
        except NetError:  # a layer that names the batch: then the net's own
            return graph
    return graph


class Matched:
    """A net and a module beside each other.

    Attributes:
        refusal: what is said where the weights of two parts do not go over: of the module's part, its name, the reason.
    """

    refusal = "its weights do not go into {} of {}: {}"

    def __init__(self, graph: Graph, module: Any) -> None:
        shapes = [tuple(map(int, value.shape)) for value in graph.inputs]
        self.module = module
        self.traced: Traced = trace(module, shapes)
        self.caffe, self.skeleton = (plain(each) for each in self._skeletons(graph))
        self.pairing = pair(self.caffe, self.skeleton)
        self.mismatches = mismatches(self.pairing)
        if is_mirror(module):  # whose attributes are not Keras'
            self.mismatches = [replace(each, remedy={}) for each in self.mismatches]
        self.bridged = self._across()

    def _skeletons(self, graph: Graph) -> tuple[Skeleton, Skeleton]:
        return caffe_skeleton(graph), self.traced.skeleton

    def _across(self) -> Bridged:
        return bridge(self.pairing)

    def compared(
        self,
        net: Net,
        weights: Weights,
        graph: Graph,
        request: FedRequest,
        name: str,
        outputs: Outputs,
        progress: OnPart | None = None,
    ) -> Report:
        """Both run on the same input; the page is written that the request asks for."""
        shapes = {value.blob: tuple(map(int, value.shape)) for value in graph.inputs}
        asked = replace(request, input_shapes={**shapes, **_without_free(request.input_shapes)})
        with evaluating(self.module):
            report = compare_engine(net, weights, self._engine(graph), name, asked, progress)
        if request.report is not None:
            write_html(report, outputs.file(request.report), provenance(request))
        return report

    def _engine(self, graph: Graph) -> Any:
        """The module as what the interpreter is compared with."""
        from verify.engines.live import LiveModule

        blobs: dict[str, list[Any]] = {}
        for ours, theirs in couples(self.pairing):
            for caffe, module in _same_values(ours, theirs, self.bridged):
                blobs.setdefault(module, []).extend(caffe)
        inputs = [(value.blob, tuple(map(int, value.shape))) for value in graph.inputs]
        outputs = self._outputs()
        seen = {top for tops in blobs.values() for top in tops}
        for part, top in zip(self.skeleton.outputs, outputs, strict=True):
            if top is not None and top not in seen and part.made:
                blobs.setdefault(str(part.made[0][0]), []).append(top)
        return LiveModule(self.module, self.traced.program, inputs, blobs, outputs)

    def _outputs(self) -> list[Any]:
        """The tops that the module's outputs are: Caffe's own, whatever stands before them, but for a softmax."""
        ours_of = {id(theirs): ours for ours, theirs in (*couples(self.pairing), *ends(self.pairing))}
        before = {id(part): part.inputs[0] for part in beyond(self.pairing)}
        ours = [ours_of.get(id(part)) for part in self.skeleton.outputs]
        made = [before.get(id(part), part).made if part is not None else [] for part in ours]
        return [each[-1] if each else None for each in made]


def _same_values(ours: NetPart, theirs: NetPart, bridged: Bridged) -> Iterator[tuple[list[Any], str]]:
    """The tops of a Caffe part that are the value of a step of the module."""
    if ours.kind == "input" or not theirs.made:
        return
    yield list(ours.made), str(theirs.made[0][0])
    moved = any(each.caffe is ours for each in bridged.bridges)
    if ours.affine and theirs.affine and theirs.values and not moved:
        yield list(ours.values), str(theirs.values[0][0])


def _without_free(shapes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: shape for name, shape in shapes.items() if all(isinstance(size, int) for size in shape)}


def faults_of(work: Matched, name: str, path: str) -> Iterator[CaffeModelError]:
    """Layers and modules that could not be paired, and pairs that do not fit."""

    def fault(part: NetPart, message: str) -> NetError:
        line = part.place.rpartition(":")[2]  # a net without a text has no lines
        position = Position(path, int(line) if line.isdecimal() else 0)
        return NetError(message, position=position, layer=part.label, layer_type=part.type)

    for ours, theirs in work.pairing.misfits:
        if ours.part.parameters or theirs.part.parameters:
            yield fault(ours.part, f"{_form(ours.part)}; {theirs.part} of {name} in its place: {_form(theirs.part)}")
    for each in work.bridged.refused:
        yield fault(each.caffe, work.refusal.format(each.module, name, each.what))
    for knot in work.pairing.caffe_left:
        if knot.part.parameters:
            yield fault(knot.part, f"{name} has nothing in its place ({_form(knot.part)})")
    for knot in work.pairing.module_left:
        if knot.part.parameters:
            keys = ", ".join(held.name for held in knot.part.parameters.values())
            yield NetError(f"{name}: {knot.part}: the Caffe net has nothing in its place ({keys})")


def _form(part: NetPart) -> str:
    if part.kind != "weighted sum":
        return f"{part.kind} of {format_shape(part.shape)}"
    s = part.settings
    groups = f" in {s['groups']} groups" if s["groups"] != 1 else ""
    return f"{s['channels']} -> {s['features']}, {format_shape(s['kernel'])}{groups}"
