"""ONNX models in onnxruntime: once as shipped, and once with every Caffe blob made an output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

from prototxt.errors import RequestError, WeightsError
from prototxt.names import utf8
from prototxt.optional import need
from prototxt.words import first_line
from verify.engines.engine import (
    Array,
    Blobs,
    File,
    ModelInput,
    OneByOne,
    assign_feeds,
    described_tops,
    fault,
    model_fault,
)
from verify.engines.mapped import mapped, more_outputs
from verify.engines.parts import Cut, InParts, cut_up
from verify.keys import Key
from verify.machine import processors
from weights.wire import Malformed

MANY = 100
"""Blobs that are asked for at once: a graph of more runs in parts."""
PARTS = 6
"""So many then, or more: the first maps are the large ones."""
FLOATS = "tensor(float)"
LARGEST = (1 << 31) - 1
"""Bytes of a file that protobuf reads."""
QUIET = 4
"""onnxruntime's log level for fatal errors only; what matters comes as an exception."""


class OnnxRuntime(OneByOne):
    """A model file in onnxruntime on the CPU.

    Weights that lie in files beside the model are found there. The model is loaded anew for each of the two runs, one
    after the other, so that its weights are never in memory twice. A graph of thousands of nodes runs in parts, and so
    does one with many blobs for the run that gives them all (`verify.engines.parts`).

    Raises:
        ModelError: not a model that onnxruntime loads.
        RequestError: one whose metadata makes no sense.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: File) -> None:
        self.path = Path(path)
        self._ort: Any = need("onnxruntime", "onnxruntime", f"running {self.path}")
        self._light = self._without_weights()
        self._cut = None if self._light is None else cut_up(self._light)
        self._shipped: Any = self._session(self._as_shipped(), self._cut, fused=True)
        self.name = f"onnxruntime {self._ort.__version__}"
        self.metadata: Mapping[str, str] = dict(self._shipped.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(ModelInput(i.name, _shape(i.shape)) for i in self._shipped.get_inputs())
        self.outputs = tuple(output.name for output in self._shipped.get_outputs())
        self.values = self._named_values()
        self.blobs = tuple(key for keys in self.values.values() for key in keys)

    def stream(self, feeds: Mapping[str, Array]) -> Blobs:
        """Run the model as shipped for its outputs, then without fusions for every blob."""
        given = assign_feeds(self.inputs, feeds, self.path)
        session = self._shipped or self._session(self._as_shipped(), self._cut, fused=True)
        self._shipped = None
        with self._running():
            results = session.run(list(self.outputs), dict(given), None)
        blobs = Blobs(iter(()), dict(zip(map(self._blob, self.outputs), results, strict=True)))
        del session
        if not self.values:
            blobs.notes.append("the model does not say which blobs it holds: only its outputs are compared")
            return blobs
        try:
            names = [name for name in self.values if name not in given]
            blobs.tops = self._tops(self._exposed(names), names, given)
        except RequestError:
            note = "the graph was changed since its conversion and lost blobs: only its outputs are compared"
            blobs.notes.append(note)
        return blobs

    def _exposed(self, names: Sequence[str]) -> Any:
        """A session that gives values; in parts where they are many, as it keeps them till the end of a run.

        Raises:
            RequestError: the graph does not have them all.
        """
        shipped = set(self.outputs)
        hidden = [name for name in names if name not in shipped]
        cut = self._cut
        if cut is None and self._light is not None and len(names) > MANY:
            cut = cut_up(self._light, PARTS)
        return self._session(self._exposing(hidden), cut and cut.giving(hidden), fused=False)

    def _tops(
        self, session: Any, names: Sequence[str], given: Mapping[str, Array]
    ) -> Iterator[tuple[Sequence[Key], Array]]:
        """The blobs that are fed, or who waits for one of them would hear all others; then those of a session."""
        yield from ((self.values[name], array) for name, array in given.items() if name in self.values)
        values = self._values(session, names, given)
        del session
        for name, value in values:
            yield self.values[name], _array(value)

    def _blob(self, output: str) -> str:
        """The blob that an output is; one that was written over an input cannot bear the input's name."""
        blobs = [top for _, top in self.values.get(output, ())]
        return output if output in blobs or not blobs else blobs[-1]

    def _named_values(self) -> dict[str, list[Key]]:
        """Value names in net order, each with the tops it stands for."""
        values: dict[str, list[Key]] = {}
        for entry in described_tops(self.metadata, self.path):
            if not (isinstance(entry, list) and len(entry) == 3 and all(isinstance(part, str) for part in entry)):
                raise fault(self.path, f"its metadata names a blob by {shortened(entry)}; expected [value, layer, top]")
            values.setdefault(entry[0], []).append((entry[1], entry[2]))
        return values

    def _without_weights(self) -> bytes | None:
        """The model with its weights left in its file, where onnxruntime can find them there.

        What is too large for a protobuf message, or is none, is onnxruntime's to refuse.
        """
        path = self.path.resolve()
        if _encodable(path) and path.is_file() and path.stat().st_size <= LARGEST:
            with suppress(Malformed, WeightsError):
                return mapped(path)
        return None

    def _as_shipped(self) -> str | bytes:
        """The model; of a file whose name is no UTF-8, which onnxruntime can't open, the content."""
        return self._light or (str(self.path) if _encodable(self.path) else self.path.read_bytes())

    def _exposing(self, names: Iterable[str]) -> bytes:
        """The model with more outputs."""
        return (self._light or self.path.read_bytes()) + more_outputs(names)

    def _session(self, model: str | bytes, cut: Cut | None, *, fused: bool) -> Any:
        ort = self._ort
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.use_deterministic_compute = True
        options.enable_cpu_mem_arena = False  # one run each: an arena only keeps what was freed
        options.intra_op_num_threads = processors()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the interpreter needs them too
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
        folder = self.path.resolve().parent
        if isinstance(model, bytes) and _encodable(folder):
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))

        def made(part: str | bytes = model) -> Any:
            return ort.InferenceSession(part, options, providers=["CPUExecutionProvider"])

        try:
            return made() if cut is None else InParts(cut, made, made)
        except onnxruntime_faults() as error:
            raise model_fault(self.path, f"onnxruntime cannot load it: {first_line(error)}") from error

    def _values(self, session: Any, names: Sequence[str], given: Mapping[str, Array]) -> Iterator[tuple[str, Any]]:
        """The values of these names, in onnxruntime's own memory; of the graph only what they need runs."""
        options = self._ort.RunOptions()
        options.only_execute_path_to_fetches = True
        feeds = {name: self._ort.OrtValue.ortvalue_from_numpy(array) for name, array in given.items()}
        with self._running():
            if isinstance(session, InParts):
                yield from session.each(names, feeds, options)
                return
            made = session.run_with_ort_values(names, feeds, options)
        del session
        made.reverse()
        for name in names:
            yield name, made.pop()

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            yield
        except onnxruntime_faults() as error:
            raise model_fault(self.path, f"onnxruntime cannot run it: {first_line(error)}") from error


def _array(value: Any) -> Array:
    """What a value of onnxruntime's holds, without a copy where that can be had."""
    if isinstance(value, np.ndarray):
        return value
    shown = value.data_type() == FLOATS and hasattr(value, "__dlpack__")
    array: Array = np.asarray(np.from_dlpack(value) if shown else value.numpy())
    return array


def _encodable(path: Path) -> bool:
    return utf8(str(path)) == str(path)


def _shape(shape: Iterable[object] | None) -> tuple[int | None, ...] | None:
    return None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)


def onnxruntime_faults() -> tuple[type[Exception], ...]:
    """Every exception of onnxruntime's, which share no base; and what its Python part raises for odd feeds."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError, RuntimeError)
