"""ONNX models in onnxruntime: once as shipped, and once with every Caffe blob made an output.

protobuf merges repeated fields of concatenated messages, so a few bytes behind the file's own,
ModelProto{graph{output{name}}}, add outputs to a model of any size without parsing it here.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prototxt.errors import RequestError
from prototxt.optional import need
from verify.engines import Answers, Array, File, ModelInput, assign_feeds, described_tops, fault, first_line
from verify.interpreter import Key

QUIET = 4
"""onnxruntime's log level for fatal errors only; what matters comes as an exception."""


class OnnxRuntime:
    """A model file in onnxruntime on the CPU.

    Weights that lie in files beside the model are found there. The model is loaded anew for each of the two runs, one
    after the other, so that its weights are never in memory twice.

    Raises:
        RequestError: not a model that onnxruntime loads.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(self, path: File) -> None:
        self.path = Path(path)
        self._ort: Any = need("onnxruntime", "onnxruntime", f"running {self.path}")
        self._shipped: Any = self._session(str(self.path), fused=True)
        self.name = f"onnxruntime {self._ort.__version__}"
        self.metadata: Mapping[str, str] = dict(self._shipped.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(ModelInput(i.name, _shape(i.shape)) for i in self._shipped.get_inputs())
        self.outputs = tuple(output.name for output in self._shipped.get_outputs())
        self.values = self._named_values()
        self.blobs = tuple(key for keys in self.values.values() for key in keys)

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run the model as shipped for its outputs, then without fusions for every blob."""
        given = assign_feeds(self.inputs, feeds, self.path)
        session = self._shipped or self._session(str(self.path), fused=True)
        self._shipped = None
        outputs = dict(zip(self.outputs, self._results(session, list(self.outputs), given), strict=True))
        del session
        if not self.values:
            return Answers({}, outputs, ("the model does not say which blobs it holds: only its outputs are compared",))
        hidden = [name for name in self.values if name not in given and name not in outputs]
        try:
            session = self._session(self._exposing(hidden), fused=False)
        except RequestError:
            note = "the graph was changed since its conversion and lost blobs: only its outputs are compared"
            return Answers({}, outputs, (note,))
        wanted = [name for name in self.values if name not in given]
        results = zip(wanted, self._results(session, wanted, given), strict=True)
        return Answers({key: array for name, array in results for key in self.values[name]}, outputs)

    def _named_values(self) -> dict[str, list[Key]]:
        """Value names in net order, each with the tops it stands for."""
        values: dict[str, list[Key]] = {}
        for entry in described_tops(self.metadata, self.path):
            if not (isinstance(entry, list) and len(entry) == 3 and all(isinstance(part, str) for part in entry)):
                raise fault(self.path, f"its metadata names a blob by {entry!r}; expected [value, layer, top]")
            values.setdefault(entry[0], []).append((entry[1], entry[2]))
        return values

    def _exposing(self, names: Iterable[str]) -> bytes:
        """The file's bytes with more outputs; BytesIO hands its buffer over without a copy."""
        whole = io.BytesIO()
        with self.path.open("rb") as file:
            shutil.copyfileobj(file, whole, 1 << 20)
        whole.write(more_outputs(names))
        return whole.getvalue()

    def _session(self, model: str | bytes, *, fused: bool) -> Any:
        ort = self._ort
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.use_deterministic_compute = True
        options.enable_cpu_mem_arena = False  # one run each: an arena only keeps what was freed
        options.intra_op_num_threads = processors()
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
        if isinstance(model, bytes):
            folder = str(self.path.resolve().parent)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        try:
            return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except onnxruntime_faults() as error:
            raise fault(self.path, f"onnxruntime cannot load it: {first_line(error)}") from error

    def _results(self, session: Any, names: list[str], given: Mapping[str, Array]) -> list[Array]:
        try:
            results: list[Array] = session.run(names, dict(given))
        except onnxruntime_faults() as error:
            raise fault(self.path, f"onnxruntime cannot run it: {first_line(error)}") from error
        return results


def more_outputs(names: Iterable[str]) -> bytes:
    """ModelProto{graph = 7 {output = 12 {name = 1}}} in protobuf's wire format."""
    outputs = b"".join(_record(12, _record(1, name.encode())) for name in names)
    return _record(7, outputs) if outputs else b""


def _record(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _shape(shape: Iterable[object] | None) -> tuple[int | None, ...] | None:
    return None if shape is None else tuple(size if isinstance(size, int) else None for size in shape)


def processors() -> int:
    """Those that this process may use; onnxruntime would count the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def onnxruntime_faults() -> tuple[type[Exception], ...]:
    """Every exception of onnxruntime's, which share no base; and what its Python part raises for odd feeds."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, ValueError, RuntimeError)
