"""From a parsed net and its weights to a graph: shapes inferred, in-place tops made values, weights matched by name."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from google.protobuf.message import Message

import converter.layers  # noqa: F401 (registers the layers)
from converter.graph import FreeDim, Graph, Node, Origin, Shape, Value, count, format_shape, is_free
from converter.layers.base import UNLIMITED, BottomsDifferError, Layer, registry, require
from converter.layers.data import Source, UnknownData
from converter.layers.shaping import Split
from converter.parameters import MakeParameter, Slot, fill_parameters
from prototxt import Net, NetLayer, Position
from prototxt.errors import CaffeModelError, NetError, RequestError, UnsupportedError, raise_all
from weights import Weights

log = logging.getLogger(__name__)

LARGEST_BLOB = (1 << 31) - 1
"""Caffe counts a blob's values in 32 bits."""

InputShapes = Mapping[str, Sequence[int | str]]


def build(
    net: Net,
    weights: Weights | None,
    *,
    input_shapes: InputShapes | None = None,
    outputs: Sequence[str] = (),
    make: MakeParameter | None = None,
) -> Graph:
    """The graph of a net.

    Args:
        net: parsed, upgraded, filtered by phase.
        weights: what the layers are filled with, by layer name.
        input_shapes: sizes of inputs by blob name, in place of the prototxt's; a letter leaves an axis free.
        outputs: the blobs to give, in this order, after whichever layer wrote them last; by default all blobs that no
            layer reads, without losses and measures.
        make: gives the values of a parameter that `weights` does not have; without it that is an error.

    Raises:
        NetError, UnsupportedError, WeightsError: what stops the conversion, all of it at once (ErrorGroup).
        RequestError: an output or input shape that the net does not have.
    """
    builder = _Builder(net, weights, dict(input_shapes or {}), make)
    builder.add_layers()
    return builder.finish(list(outputs))


@dataclass
class _Builder:
    net: Net
    weights: Weights | None
    input_shapes: dict[str, Sequence[int | str]]
    make: MakeParameter | None
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    current: dict[str, Value] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    losses: set[int] = field(default_factory=set)
    errors: list[CaffeModelError] = field(default_factory=list)
    of_losses: dict[str, CaffeModelError] = field(default_factory=dict)  # top -> what is wrong with its loss layer
    slots: list[Slot] = field(default_factory=list)
    top_index: dict[int, int] = field(default_factory=dict)  # value -> its place among its layer's tops

    def add_layers(self) -> None:
        """Every layer in the order of the net; one that fails is noted, and its tops are lost to those behind."""
        known = registry()
        for source in self.net.layers:
            try:
                self._add(source, known.get(source.kind) or self._unknown(source, known))
            except CaffeModelError as error:
                if error.layer is None:
                    error.layer, error.layer_type = source.name, source.type
                error.position = error.position or source.position
                self._lose(source, error)
        self.errors += self._in_place_on_shared_blobs()
        self.errors += fill_parameters(self.slots, self.weights, self.make, self.net.path)
        self._check_input_names()
        raise_all(self.errors)

    def _in_place_on_shared_blobs(self) -> list[CaffeModelError]:
        """Caffe copies a blob that two layers read, so an in-place layer among them would make it a second time."""
        errors: list[CaffeModelError] = []
        readers: dict[int, list[Node]] = {}
        for node in self.nodes:
            for value in {id(v): v for v in node.inputs}.values():
                readers.setdefault(id(value), []).append(node)
        for node in self.nodes:
            for value in node.inputs:
                others = [n.name for n in readers[id(value)] if n is not node]
                if others and any(top.blob == value.blob for top in node.outputs):
                    origin = node.origins[0]
                    errors.append(
                        NetError(
                            f"it works in place on {value.blob!r}, which layer {others[0]!r} reads too; Caffe refuses "
                            "that (produced by multiple sources)",
                            position=origin.position,
                            layer=origin.name,
                            layer_type=origin.type,
                        )
                    )
        return errors

    def _lose(self, source: NetLayer, error: CaffeModelError) -> None:
        self.lost.update(source.tops)
        if _is_loss(source) and not any(_is_read(self.net, top) for top in source.tops):
            # It is left out in any case, unless somebody asks for it.
            log.info("%s", error)
            self.of_losses.update(dict.fromkeys(source.tops, error))
        else:
            self.errors.append(error)

    def _unknown(self, source: NetLayer, known: Mapping[str, type[Layer]]) -> type[Layer]:
        """The class for a layer of an unknown type: only one that brings data in can be served."""
        if source.bottoms or not any(top in self.input_shapes for top in source.tops):
            raise _unknown_type(source, known)
        return UnknownData

    def _add(self, source: NetLayer, cls: type[Layer]) -> None:
        if any(bottom in self.lost for bottom in source.bottoms):
            self.lost.update(source.tops)
            return
        bottoms = [self._read(source, bottom) for bottom in source.bottoms]
        _check_counts(source, cls)
        _refuse_whole_numbers(source)
        layer = cls.read(source)
        origin = Origin(source.name, source.type, source.position, source)
        if isinstance(layer, Source):
            self._add_inputs(source, layer)
            return
        stored = self.weights.get(source.name) if self.weights is not None else None
        if stored is not None and stored.blobs:
            layer = layer.told_by([blob.shape for blob in stored.blobs])
        shapes = [value.shape for value in bottoms]
        tops = _infer(layer, bottoms)
        parameters = layer.parameters(shapes)
        _check_duplicate_tops(source)
        # A layer with an optional top infers it anyway; one with a top for each bottom must have them all.
        if len(source.tops) > len(tops) or (len(source.tops) < len(tops) and cls.tops[1] == UNLIMITED):
            raise NetError(f"{len(source.tops)} tops; expected {len(tops)}")
        node = Node(layer, bottoms, [], {}, (origin,))
        for parameter in parameters:
            size = int(count(parameter.shape))
            require(
                size <= LARGEST_BLOB, f"its {parameter.name} would hold {size} values; at most {LARGEST_BLOB} can be"
            )
            fixed = not any(map(is_free, parameter.shape))
            require(fixed, f"its {parameter.name} is {format_shape(parameter.shape)}; no axis of it can be left free")
        if parameters:
            names = [p.name for p in source.param.param][: len(parameters)]
            self.slots.append(Slot(node, parameters, (*names, *[""] * (len(parameters) - len(names)))))
        for top, shape in zip(source.tops, tops, strict=False):
            node.outputs.append(self._write(source, top, shape, node))
        self.nodes.append(node)
        if layer.role == "loss":
            self.losses.add(id(node))

    def _read(self, source: NetLayer, bottom: str) -> Value:
        if bottom not in self.current:
            raise NetError(f"bottom {bottom!r} is made by no layer before this one{self._maker(bottom)}")
        return self.current[bottom]

    def _maker(self, blob: str) -> str:
        """Who might have been meant to make a blob that is not there."""
        later = [x.name for x in self.net.layers if blob in x.tops]
        if later:
            return f"; layer {later[0]!r}, which makes it, stands behind this one"
        others = [x for x in self.net.left_out if blob in x.tops]
        if others:
            return (
                f"; layer {others[0].name!r} ({others[0].position}) makes it, but its include and exclude rules leave "
                "it out (see --phase and --stage)"
            )
        close = difflib.get_close_matches(blob, self.current, 1)
        return f"; did you mean {close[0]!r}?" if close else ""

    def _write(self, source: NetLayer, top: str, shape: Shape, producer: Node | None) -> Value:
        if top in self.current and top not in source.bottoms:
            writer = self.current[top].producer
            by = f"layer {writer.name!r}" if writer else "an input"
            raise NetError(f"top {top!r} is made by {by} already, and this layer does not read it")
        size = int(count(shape))
        require(
            size <= LARGEST_BLOB, f"top {top!r} would hold {size} values; a blob of Caffe holds {LARGEST_BLOB} at most"
        )
        value = Value(top, shape, top, [(source.name, top)], producer)
        if top in self.current:
            _rename_superseded(self.current[top])
        self.current[top] = value
        self.top_index[id(value)] = source.tops.index(top)
        return value

    def _add_inputs(self, source: NetLayer, layer: Source) -> None:
        _check_duplicate_tops(source)
        asked = [self._shape_asked(top, stated) for top, stated in zip(source.tops, layer.shapes, strict=True)]
        batches = [shape[0] for shape in asked if shape]
        for index, (top, stated) in enumerate(zip(source.tops, layer.shapes, strict=True)):
            shape = asked[index]
            if shape is None and stated is None:
                self._miss_shape(source, top, "N,C,H,W" if index == 0 else "N")
                continue
            if shape is None:
                # A label goes with its image: asked for another batch of images, it has as many.
                of_batch = source.type != "Input" and batches and stated
                shape = (batches[0], *stated[1:]) if of_batch and stated else tuple(stated or ())
            require(all(d > 0 for d in shape), f"input {top!r} is {format_shape(shape)}; expected sizes above 0")
            self.inputs.append(self._write(source, top, shape, None))

    def _shape_asked(self, top: str, stated: Shape | None) -> Shape | None:
        asked = self.input_shapes.get(top)
        return None if asked is None else _asked_shape(asked, stated)

    def _miss_shape(self, source: NetLayer, top: str, form: str) -> None:
        self.lost.add(top)
        if any(top in layer.bottoms for layer in self.net.layers if not _is_loss(layer)):
            message = f"the prototxt doesn't give the shape of {top!r}; give it with --input-shape {top}={form}"
            error = NetError(message, position=source.position, layer=source.name, layer_type=source.type)
            self.errors.append(error)

    def _check_input_names(self) -> None:
        tops = {top for x in self.net.layers if not x.bottoms for top in x.tops}
        for name in self.input_shapes:
            if name not in tops:
                known = ", ".join(sorted(tops)) or "none"
                self.errors.append(RequestError(f"--input-shape names {name!r}; the net's inputs are {known}"))

    def finish(self, asked: list[str]) -> Graph:
        """Choose the outputs, and keep what they need."""
        raise_all(list(dict.fromkeys(self.of_losses[name] for name in asked if name in self.of_losses)))
        for name in asked:
            if name not in self.current and not self._add_copy(name):
                close = difflib.get_close_matches(name, self.current, 3)
                hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
                raise RequestError(f"the net has no blob {name!r}{hint}")
        outputs = [self.current[name] for name in asked] or self._default_outputs()
        if not outputs:
            losses = [v.blob for node in self.nodes if id(node) in self.losses for v in node.outputs]
            raise _no_outputs(self.net, losses)
        nodes = needed(self.nodes, outputs)
        read = {id(v) for node in nodes for v in node.inputs} | {id(v) for v in outputs}
        inputs = [v for v in self.inputs if id(v) in read]
        _give_unique_names(inputs, nodes, outputs)
        return Graph(self.net.name, inputs, outputs, nodes, [v.blob for v in outputs], PurePath(self.net.path).name)

    def _add_copy(self, name: str) -> bool:
        """Make the blob that Caffe adds where several layers read one: `<blob>_<layer>_<top index>_split_<k>`."""
        readers = [id(v) for node in self.nodes for v in node.inputs]
        for value in [*self.inputs, *(v for node in self.nodes for v in node.outputs)]:
            layer, top = value.tops[0]
            index = self.top_index[id(value)]
            prefix = f"{top}_{layer}_{index}_split_"
            number = name.removeprefix(prefix)
            copies = readers.count(id(value))
            if name.startswith(prefix) and copies > 1 and number.isdecimal() and int(number) < copies:
                copy = Value(name, value.shape, name)
                origin = Origin(prefix[: prefix.rindex("_")], "Split", Position(self.net.path))
                copy.producer = Node(Split(1), [value], [copy], {}, (origin,))
                self.nodes.append(copy.producer)
                self.current[name] = copy
                return True
        return False

    def _default_outputs(self) -> list[Value]:
        read = {id(v) for node in self.nodes if id(node) not in self.losses for v in node.inputs}
        made = [v for v in self.current.values() if v.producer is not None and id(v.producer) not in self.losses]
        ends = [v for v in made if id(v) not in read]
        if not ends:  # Silence everywhere: what only such layers read is all that the net is for.
            read = {id(v) for node in self.nodes if node.outputs for v in node.inputs}
            ends = [v for v in made if id(v) not in read]
        order = {id(v): i for i, node in enumerate(self.nodes) for v in node.outputs}
        return sorted(ends, key=lambda v: order[id(v)])


def needed(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    wanted = {id(v) for v in outputs}
    kept = []
    for node in reversed(nodes):
        if any(id(v) in wanted for v in node.outputs):
            kept.append(node)
            wanted.update(id(v) for v in node.inputs)
    return kept[::-1]


def _no_outputs(net: Net, losses: Sequence[str]) -> NetError:
    hint = f"; ask for a loss or measure with --outputs {','.join(losses)}" if losses else ""
    return NetError(f"the net has no outputs: every blob is read by a layer{hint}", position=Position(net.path))


def _is_loss(source: NetLayer) -> bool:
    """Whether a layer only measures; one of an unknown type says so by its name."""
    known = registry().get(source.kind)
    if known is not None:
        return known.role == "loss"
    return source.kind.removesuffix("Layer").endswith(("Loss", "Accuracy", "Evaluate"))


def _is_read(net: Net, top: str) -> bool:
    return any(top in layer.bottoms for layer in net.layers)


def _infer(layer: Layer, bottoms: Sequence[Value]) -> list[Shape]:
    try:
        return layer.infer([value.shape for value in bottoms])
    except BottomsDifferError as error:
        shapes = ", ".join(f"{value.blob} is {format_shape(value.shape)}" for value in bottoms)
        raise NetError(f"{error.message}: {shapes}") from None


def _unknown_type(source: NetLayer, known: Mapping[str, type[Layer]]) -> UnsupportedError:
    feed = "" if source.bottoms or not source.tops else _hint_to_feed(source)
    if source.type == "Python":
        code = source.kind.removeprefix("Python ")
        message = f"the Python layer {code} is code that only its owner has; --plugin FILE.py supplies it{feed}"
        place = source.where("python_param")
    else:
        close = difflib.get_close_matches(source.type, known, 1)
        lower = [k for k in known if k.lower() == source.type.lower()]
        hint = f"; did you mean {(lower or close)[0]}?" if lower or close else ""
        message, place = f"unknown layer type {source.type!r}{hint}{feed}", source.where("type")
    return UnsupportedError(message, position=place, layer=source.name, layer_type=source.type)


def _hint_to_feed(source: NetLayer) -> str:
    return f" (if it only brings data in, --input-shape {source.tops[0]}=N,C,H,W makes it an input)"


def _check_counts(source: NetLayer, cls: type[Layer]) -> None:
    for what, names, (least, most) in (
        ("bottom", source.bottoms, cls.bottoms),
        ("top", source.tops, cls.tops),
    ):
        if not least <= len(names) <= most:
            expected = str(least) if least == most else f"{least} or more" if most > 1000 else f"{least} to {most}"
            raise NetError(f"{len(names)} {what}s; expected {expected}")


WHOLE_NUMBERS = ("saturate", "input_scale", "output_scale", "output_shift_instead_division")


def _refuse_whole_numbers(source: NetLayer) -> None:
    """Fields of Synopsys' fork that have a layer computed in 8-bit numbers: another net than the one in floats."""
    for outer, section in source.param.ListFields():
        if not isinstance(section, Message):
            continue
        for inner, value in section.ListFields():
            if inner.name in WHOLE_NUMBERS and value != inner.default_value:
                raise UnsupportedError(
                    f"{inner.name}: it computes in whole numbers, not in floats",
                    position=source.where(outer.name, inner.name),
                    layer=source.name,
                    layer_type=source.type,
                )


def _check_duplicate_tops(source: NetLayer) -> None:
    twice = {top for top in source.tops if source.tops.count(top) > 1}
    require(not twice, f"top {sorted(twice)[0]!r} is named twice" if twice else "")


def _rename_superseded(value: Value) -> None:
    """An earlier moment of a blob: the blob's name belongs to the last one. The caller's inputs keep theirs."""
    if value.producer is not None:
        value.name = f"{value.blob}/{value.tops[0][0]}"


def _asked_shape(asked: Sequence[int | str], stated: Shape | None) -> Shape:
    dims: list[int] = []
    for i, dim in enumerate(asked):
        if isinstance(dim, str):
            sample = int(stated[i]) if stated is not None and len(stated) == len(asked) else (1 if i == 0 else 64)
            dims.append(FreeDim(sample, dim))
        else:
            dims.append(dim)
    return tuple(dims)


def _give_unique_names(inputs: Sequence[Value], nodes: Sequence[Node], outputs: Sequence[Value]) -> None:
    """Inputs and outputs keep their blobs' names; where two values want one name, the later of the others gives way."""
    values = {id(v): v for v in (*inputs, *outputs, *(v for node in nodes for v in node.outputs))}
    taken: set[str] = set()
    for value in values.values():
        wish = value.name if value.name not in taken or not value.tops else f"{value.name}/{value.tops[0][0]}"
        value.name, number = wish, 1
        while value.name in taken:
            number += 1
            value.name = f"{wish}_{number}"
        taken.add(value.name)
