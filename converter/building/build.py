"""From a parsed net and its weights to a graph: shapes inferred, in-place tops made values, weights matched by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

from converter.building.backward import left_in_memory, without_gradient
from converter.building.in_place import cautions, is_in_place, several_sources
from converter.building.inputs import (
    InputShapes,
    check_sizes,
    input_shapes,
    shape_is_asked,
    unknown_inputs,
    unknown_shape,
)
from converter.building.memory import Memory
from converter.building.merged import follower_of, is_inside, led_by
from converter.building.missing import ends_before, maker_of, no_blob
from converter.building.needed import needed, wanted_layers
from converter.building.parameters import MakeParameter, Slot, fill_parameters
from converter.building.reading import Wordings
from converter.building.tops import (
    check_counts,
    check_duplicate_tops,
    check_parameter,
    check_size,
    check_tables,
    infer_tops,
)
from converter.building.value_names import give_unique_names, rename_superseded
from converter.folding import PerChannel
from converter.graph import Graph, Shape
from converter.layers.base import UNLIMITED, registry
from converter.node import Layer, Node, Origin, Value
from prototxt import Net, NetLayer, Position
from prototxt.errors import (
    MOST_ERRORS,
    MOST_SHOWN,
    CaffeModelError,
    NetError,
    UnsupportedError,
    raise_all,
)
from prototxt.names import naming, typed, utf8
from prototxt.unread import Unread, described
from weights import Weights

log = logging.getLogger(__name__)


def build(
    net: Net,
    weights: Weights | None,
    *,
    input_shapes: InputShapes | None = None,
    outputs: Sequence[str] = (),
    make: MakeParameter | None = None,
    training: bool = False,
) -> Graph:
    """The graph of a net.

    The outputs are chosen first: what they do not need is neither checked nor filled.

    Args:
        net: parsed, upgraded, filtered by phase.
        weights: what the layers are filled with, by layer name.
        input_shapes: sizes of inputs by blob name, in place of the prototxt's; a letter leaves an axis free.
        outputs: the blobs to give, in this order, after whichever layer wrote them last; by default all blobs that no
            layer reads, without losses and measures. Of those, as of Caffe's outputs, a layer that writes over their
            memory later counts as well.
        make: gives the values of a parameter that `weights` does not have; without it that is an error.
        training: the graph will be trained, so that what only training reads counts as well, and every layer with
            blobs stays, whether an output depends on it or not: they have their places in a solver's state.

    Raises:
        NetError, UnsupportedError, WeightsError: what stops the conversion, all of it at once (ErrorGroup).
        RequestError: an output or input shape that the net does not have.
    """
    blobs = list(dict.fromkeys(top for layer in net.layers for top in layer.tops))
    name_of = naming(blobs)
    sizes = {name_of(name): shape for name, shape in (input_shapes or {}).items()}
    builder = _Builder(net, weights, sizes, make, training, list(map(name_of, outputs)))
    builder.add_layers()
    return builder.finish()


@dataclass(eq=False, repr=False)
class _Builder:
    net: Net
    weights: Weights | None
    input_shapes: dict[str, Sequence[int | str]]
    make: MakeParameter | None
    training: bool
    asked: list[str]
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    current: dict[str, Value] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    barred: set[str] = field(default_factory=set)  # of those, the ones that no size of an input would bring back
    losses: set[int] = field(default_factory=set)
    errors: list[CaffeModelError] = field(default_factory=list)
    unread: list[tuple[int, Unread]] = field(default_factory=list)  # by the layer's place in the net
    wanted: set[int] = field(default_factory=set)  # places in the net of the layers that the outputs depend on
    slots: list[Slot] = field(default_factory=list)
    parameter_layers: dict[str, list[Node]] = field(default_factory=dict)  # by the name under which they share a blob
    top_index: dict[int, int] = field(default_factory=dict)  # value -> its place among its layer's tops
    reads: dict[int, list[Value]] = field(default_factory=dict)  # node -> the top that each of its bottoms names
    memory: Memory = field(default_factory=Memory)
    views: dict[int, Value] = field(default_factory=dict)  # top -> what its memory held when it was last read
    failed: int = 0  # layers so far

    @cached_property
    def wordings(self) -> Wordings:
        """Reads the layers."""
        return Wordings(lenient=self.net.lenient, training=self.training)

    @cached_property
    def read_blobs(self) -> frozenset[str]:
        """Names of all blobs that some layer reads."""
        return frozenset(bottom for layer in self.net.layers for bottom in layer.bottoms)

    def add_layers(self) -> None:
        """Every layer in the order of the net; one that fails is noted, and its tops are lost to those behind."""
        known = registry()
        wanted = wanted_layers(self.net.layers, self.asked) if self.asked and not self.training else set()
        self.wanted = wanted or set(range(len(self.net.layers)))
        for index, source in enumerate(self.net.layers):
            cls = known.get(source.kind) or self._data_of_unknown_type(source)
            if cls is None or (source.fault and not self._is_fed(source, cls)):
                self._lose(source, index, self._why_not(index, cls, known))
                continue
            try:
                self._add(source, index, cls)
            except CaffeModelError as error:
                if error.layer is None:
                    error.layer, error.layer_type = source.name, source.type
                error.position = error.position or source.position
                self._lose(source, index, [error])
        self.errors += unknown_inputs(self.net, self.input_shapes)
        raise_all(self.errors)

    @property
    def hints(self) -> bool:
        """Whether it is worth a search what was meant: not for more errors than are shown."""
        return self.failed < MOST_SHOWN

    def _lose_tops(self, source: NetLayer, *, at_fault: bool) -> None:
        """Nobody can read a layer's tops, nor what it would have written over in place.

        `at_fault` says whether that is why, and not a layer before it.
        """
        if source.bottoms and (at_fault or not self.barred.isdisjoint(source.bottoms)):
            self.barred.update(source.tops)
        for top in [top for place, top in enumerate(source.tops) if is_in_place(source, place)]:
            value = self.current.get(top)
            if value is not None and top not in self.lost:
                there = self.memory.together(value)
                self.lost.update(other.blob for other in there if self.current.get(other.blob) is other)
        self.lost.update(source.tops)

    def _lose(self, source: NetLayer, index: int, errors: Sequence[CaffeModelError]) -> None:
        """Note errors of what the outputs need; a loss that nobody asked for is left out in any case."""
        self._lose_tops(source, at_fault=True)
        self.failed += 1
        left_out = not self.asked and _is_loss(source) and self.read_blobs.isdisjoint(source.tops)
        if index in self.wanted and not left_out:
            self.errors += errors
            if len(self.errors) >= MOST_ERRORS:
                raise_all(self.errors)
        else:
            log.info("%s", "\n".join(map(str, errors)))

    def _data_of_unknown_type(self, source: NetLayer) -> type[Layer] | None:
        """The class for a layer of an unknown type: only one that brings data in can be served."""
        if not shape_is_asked(source, self.input_shapes):
            return None
        from converter.layers.data import UnknownData

        return UnknownData

    def _is_fed(self, source: NetLayer, cls: type[Layer]) -> bool:
        """Whether a layer's fields count for nothing: the caller says what it is to bring in."""
        return cls.role == "input" and shape_is_asked(source, self.input_shapes)

    def _why_not(self, index: int, cls: type[Layer] | None, known: Mapping[str, type[Layer]]) -> list[CaffeModelError]:
        """What is wrong with a layer that cannot be read: its type, whose own fields are unknown with it, or fields."""
        source = self.net.layers[index]
        if source.fault is not None and (cls is not None or not source.type):
            return [*source.fault.each]
        from prototxt.unknown_types import unknown_type

        return [unknown_type(source, *((known, ends_before(self.net, index, self.barred)) if self.hints else ()))]

    def _add(self, source: NetLayer, index: int, cls: type[Layer]) -> None:
        if any(bottom in self.lost for bottom in source.bottoms):
            self._lose_tops(source, at_fault=False)
            return
        named = [self._read(source, bottom) for bottom in source.bottoms]
        bottoms = [self._now(value) for value in named]
        check_counts(source, cls)
        layer, record = self.wordings.layer(cls, source)
        origin = Origin(source.name, source.type, source.position, source)
        if layer.role == "input":
            self.unread += ((index, field) for field in self.wordings.unread(source, record, fed=True))
            self._add_inputs(source, layer)
            return
        stored = self.weights.get(source.name) if self.weights is not None else None
        if stored is not None and stored.blobs:
            layer = layer.told_by([blob.shape for blob in stored.blobs])
        shapes = [value.shape for value in bottoms]
        tops = infer_tops(layer, bottoms)
        check_tables(layer.tabulated(shapes, tops))
        parameters = layer.parameters(shapes)
        self.unread += ((index, field) for field in self.wordings.unread(source, record))
        check_duplicate_tops(source)
        # A layer with an optional top infers it anyway; one with a top for each bottom must have them all.
        if len(source.tops) > len(tops) or (len(source.tops) < len(tops) and cls.tops[1] == UNLIMITED):
            raise NetError(f"{len(source.tops)} tops; expected {len(tops)}")
        if isinstance(layer, PerChannel) and layer.scales and is_inside(source, bottoms, self.weights):
            self._pass_on(source, bottoms[0])
            return
        for parameter in parameters:
            check_parameter(parameter)
        if layer.leader is not None:
            bottoms = self._write_over(source, layer.leader, named)
        node = Node(layer, bottoms, [], {}, (origin,))
        surplus = stored is not None and stored.blobs and layer.role != "loss"
        if parameters or surplus:  # where the layer has no blobs, those of the file are refused
            names = [p.name for p in source.param.param][: len(parameters)]
            self._refuse_overwritten(names)
            self.slots.append(Slot(node, parameters, (*names, *[""] * (len(parameters) - len(names)))))
            if layer.gives_blob:
                for name in filter(None, names):
                    self.parameter_layers.setdefault(name, []).append(node)
        self.nodes.append(node)
        memory = layer.memory(source)
        for place, (top, shape) in enumerate(zip(source.tops, tops, strict=False)):
            writer = node if layer.follower is None else follower_of(source, layer.follower, node, top, shape)
            where = (memory if writer is node else writer.layer.memory(source))[place]
            writer.outputs.append(self._write(source, place, shape, writer, where))
            if writer is not node:
                self.nodes.append(writer)
        node.cautions = cautions(source, layer, named, self.memory)
        self.reads[id(node)] = named
        if layer.role == "loss":
            self.losses.add(id(node))

    def _pass_on(self, source: NetLayer, value: Value) -> None:
        """Take a layer's top for what its bottom holds already."""
        (top,) = source.tops
        log.info("layer %r is inside of %r, as Intel's Caffe saves it", source.name, value.tops[0][0])
        value.tops.append((source.name, top))
        value.name = value.blob = top
        self.current[top] = value

    def _read(self, source: NetLayer, bottom: str) -> Value:
        if bottom not in self.current:
            maker = maker_of(self.net, source, bottom, self.current) if self.hints else ""
            raise NetError(f"bottom {bottom!r} is made by no layer before this one{maker}")
        return self.current[bottom]

    def _now(self, top: Value) -> Value:
        """What a top's memory holds: its own numbers, or those that a layer in place on the same memory left there."""
        value = self.views.get(id(top), top)
        written = self.memory.overwritten_by(value)
        if written is None:
            return value
        from converter.layers.reshape import same_numbers

        layer = written.tops[0][0]
        view = Value(f"{top.blob}/{layer}", top.shape, top.blob, [(layer, top.blob)])
        view.producer = Node(same_numbers(written.shape, top.shape), [written, top][: 1 + self.training], [view])
        self.nodes.append(view.producer)
        self.memory.share(view, written)
        self.views[id(top)] = view
        return view

    def _write_over(self, source: NetLayer, leader: Layer, named: Sequence[Value]) -> list[Value]:
        """Let a layer write over its bottoms before it reads them: who reads their memory later, reads that."""
        if not set(source.bottoms).isdisjoint(source.tops):
            raise UnsupportedError("it works in place on a bottom that it writes over before; expected another top")
        if len({id(self.memory.first(value)) for value in named}) < len(named):
            raise UnsupportedError("it writes over one memory twice, which two of its bottoms share; expected several")
        made: list[Value] = []
        for value in named:
            before = self._now(value)
            left = led_by(source, leader, before)
            assert left.producer is not None
            self.nodes.append(left.producer)
            self.memory.write(left, before)
            self.views[id(value)] = left
            made.append(left)
        return made

    def _refuse_overwritten(self, names: Sequence[str]) -> None:
        """A Parameter's top is the learned blob itself, also of other layers that share it by its name."""
        for name in names:
            for node in self.parameter_layers.get(name, ()):
                written = self.memory.overwritten_by(node.outputs[0])
                if written is not None:
                    layer = written.tops[0][0]
                    message = f"its blob {name!r} is written over by layer {layer!r} before, in place on"
                    raise UnsupportedError(f"{message} {node.outputs[0].blob!r}; no converted model does that")

    def _write(self, source: NetLayer, place: int, shape: Shape, producer: Node | None = None, where: int = 0) -> Value:
        top = source.tops[place]
        before = self.current.get(top)
        if before is not None and not is_in_place(source, place):
            by = f"layer {before.producer.name!r}" if before.producer else "an input"
            reads = "reads it as another bottom" if top in source.bottoms else "does not read it"
            raise NetError(f"top {top!r} is made by {by} already, and this layer {reads}")
        check_size(top, shape)
        value = Value(top, shape, top, [(source.name, top)], producer)
        if before is not None:
            rename_superseded(before)
        self.memory.lay(value, before, where)
        self.current[top] = value
        self.top_index[id(value)] = place
        return value

    def _add_inputs(self, source: NetLayer, layer: Layer) -> None:
        check_duplicate_tops(source)
        for index, shape in enumerate(input_shapes(source, layer, self.input_shapes)):
            if shape is None:
                self._miss_shape(source, index)
                continue
            check_sizes(source, index, shape)
            self.inputs.append(self._write(source, index, shape))

    def _miss_shape(self, source: NetLayer, index: int) -> None:
        top = source.tops[index]
        self.lost.add(top)
        wanted = (layer for place, layer in enumerate(self.net.layers) if place in self.wanted)
        readers = (layer for layer in wanted if not _makes_nothing(layer))
        if top in self.asked or any(top in layer.bottoms for layer in readers if self.asked or not _is_loss(layer)):
            self.errors.append(unknown_shape(source, index))

    def finish(self) -> Graph:
        """Choose the outputs, keep what they need, and fill it with weights."""
        for name in self.asked:
            if name not in self.current and not self._add_copy(name):
                raise no_blob(name, self.current)
        read = {id(v) for named in self.reads.values() for v in named}
        chosen = [self.current[name] for name in self.asked] or self._default_outputs()
        outputs = [v if id(v) in read else self._final(v) for v in chosen]
        if not outputs:
            losses = [v.blob for node in self.nodes if id(node) in self.losses for v in node.outputs]
            raise _no_outputs(self.net, losses)
        nodes = self._trained(outputs) if self.training else needed(self.nodes, outputs)
        kept = {id(node) for node in nodes}
        errors = list(several_sources(self.nodes, self.reads, nodes if self.asked else self.nodes))
        slots = [slot for slot in self.slots if not self.asked or id(slot.node) in kept]
        filled = fill_parameters(slots, self.weights, self.make, self.net.path, training=self.training)
        raise_all([*errors, *filled])
        read = {id(v) for node in nodes for v in node.inputs} | {id(v) for v in outputs}
        inputs = [v for v in self.inputs if id(v) in read]
        give_unique_names(inputs, nodes, outputs)
        names, source = [v.blob for v in outputs], utf8(typed(PurePath(self.net.path).name))
        warnings = described(field for index, field in self.unread if index in self.wanted)
        graph = Graph(self.net.name, inputs, outputs, nodes, names, source, warnings)
        if self.training:
            graph.left, graph.cut = self._left(), without_gradient(nodes, self.reads)
        return graph

    def _trained(self, outputs: Sequence[Value]) -> list[Node]:
        """The nodes that outputs, blobs or gradients depend on: what only Silence reads has blobs and statistics."""
        filled = [v for slot in self.slots for v in slot.node.outputs]
        return needed(self.nodes, [*outputs, *filled, *self._left().values()])

    def _left(self) -> dict[int, Value]:
        values = [*self.inputs, *(v for node in self.nodes for v in node.outputs)]
        return left_in_memory(values, self.memory)

    def _final(self, top: Value) -> Value:
        """An output that no layer reads: as the net leaves it, under the blob's name."""
        value = self._now(top)
        if value is not top:
            rename_superseded(top)
            value.name = top.blob
        return value

    def _add_copy(self, name: str) -> bool:
        """Make the blob that Caffe adds where several layers read one: `<blob>_<layer>_<top index>_split_<k>`."""
        from converter.layers.shaping import Split

        readers = Counter(id(v) for named in self.reads.values() for v in named)
        for value in [*self.inputs, *(v for node in self.nodes if node.origins for v in node.outputs)]:
            layer, top = value.tops[0]
            index = self.top_index[id(value)]
            prefix = f"{top}_{layer}_{index}_split_"
            number = name.removeprefix(prefix)
            copies = readers[id(value)]
            if name.startswith(prefix) and copies > 1 and number.isdecimal() and int(number) < copies:
                copy = Value(name, value.shape, name)
                split = Split(1)
                origin = Origin(prefix[: prefix.rindex("_")], split.types[0], Position(self.net.path))
                copy.producer = Node(split, [value], [copy], {}, (origin,))
                self.memory.make(copy)
                self.nodes.append(copy.producer)
                self.current[name] = copy
                return True
        return False

    def _default_outputs(self) -> list[Value]:
        read = {id(v) for node, named in self.reads.items() if node not in self.losses for v in named}
        made = [v for v in self.current.values() if v.producer is not None and id(v.producer) not in self.losses]
        ends = [v for v in made if id(v) not in read]
        if not ends:  # Silence everywhere: what only such layers read is all that the net is for.
            read = {id(v) for node in self.nodes if node.outputs for v in self.reads.get(id(node), ())}
            ends = [v for v in made if id(v) not in read]
        order = {id(v): i for i, node in enumerate(self.nodes) for v in node.outputs}
        return sorted(ends, key=lambda v: order[id(v)])


def _no_outputs(net: Net, losses: Sequence[str]) -> NetError:
    hint = f"; ask for a loss or measure with --outputs {','.join(losses)}" if losses else ""
    return NetError(f"the net has no outputs: every blob is read by a layer{hint}", position=Position(net.path))


def _is_loss(source: NetLayer) -> bool:
    """Whether a layer only measures, or writes down; one of an unknown type shows it.

    It says what its tops weigh in the objective, or its name tells, or it has no tops.
    """
    known = registry().get(source.kind)
    if known is not None:
        return known.role == "loss"
    if any(source.param.loss_weight) or not source.tops:
        return True
    from converter.layers.measures import sounds_like_a_measure

    return sounds_like_a_measure(source.kind)


def _makes_nothing(source: NetLayer) -> bool:
    """Whether a layer is there only for its bottoms to have a reader."""
    known = registry().get(source.kind)
    return known is not None and known.role == "layer" and known.tops == (0, 0)
