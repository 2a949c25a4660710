"""An ONNX file in onnxruntime, twice: as it is, and with every blob that it names as a further output.

The second model is the file's bytes with a few more behind them: by protobuf's rule, a message that follows another
of its type is merged into it, and lists grow. So 240 MB of weights are neither parsed nor written again. What is asked
for as an output can't be fused away, which is why the first run is needed: it has all of the runtime's own fusions.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prototxt import Position
from prototxt.errors import CaffeModelError, WeightsError
from verify.engine import Answer, Array, Key, Preprocessing, Sizes, describe, fed, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

GRAPH, OUTPUT, VALUE_NAME = 7, 12, 1
"""Field numbers of ModelProto.graph, GraphProto.output and ValueInfoProto.name."""

EXTERNAL = b"\x0a\x08location"
"""How an entry `location` of TensorProto.external_data begins: weights lie in a file beside the model."""

ERRORS_ONLY = 3


class OnnxRuntime:
    """A model file in onnxruntime on the CPU; see `verify.engine.Engine`.

    A file of another maker has no list of blobs: only its outputs are compared, by name.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        WeightsError: the file is absent, damaged, or uses what this onnxruntime does not know.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise missing("onnxruntime", "running an ONNX model", error) from error
        self.path = Path(path)
        self.name = f"onnxruntime {onnxruntime.__version__}"
        with self._faults():
            self._as_it_is: Any | None = self._session(str(path))
            self.inputs: Mapping[str, Sizes | None] = {
                value.name: tuple(d if isinstance(d, int) else None for d in value.shape)
                for value in self._as_it_is.get_inputs()
            }
            self.outputs = tuple(value.name for value in self._as_it_is.get_outputs())
            description = describe(self._as_it_is.get_modelmeta().custom_metadata_map, self.path)
            self._values = [(str(value), (str(layer), str(top))) for value, layer, top in description.tops or ()]
        self.preprocessing: Preprocessing | None = description.preprocessing
        self.tops: tuple[Key, ...] = tuple(key for _, key in self._values)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Whatever onnxruntime raises is a fault of the file."""
        try:
            yield
        except CaffeModelError:
            raise
        except Exception as error:
            first = str(error).strip().splitlines()[:1]
            message = f"onnxruntime cannot run it: {''.join(first) or type(error).__name__}"
            raise WeightsError(message, position=Position(str(self.path))) from error

    def _session(self, model: str | bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.enable_cpu_mem_arena = False
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, npt.ArrayLike]) -> Answer:
        """Run the model as it is, then with every blob shown; at no time are both in memory."""
        values = fed(feeds, self.inputs)
        with self._faults():
            session = self._as_it_is or self._session(str(self.path))
            outputs = _results(session, self.outputs, values)
            self._as_it_is = session = None
            if not self._values:
                note = "the model does not say which blob each of its values is: only its outputs were compared"
                return Answer({}, outputs, (note,))
            names = list(dict.fromkeys(name for name, _ in self._values))
            computed = [name for name in names if name not in values]
            shown = _results(self._showing(computed), computed, values) | values
        return Answer({key: shown[name] for name, key in self._values}, outputs)

    def _showing(self, names: Iterable[str]) -> Any:
        more = _more_outputs(name for name in names if name not in self.outputs)
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as old:
            if old.find(EXTERNAL) < 0:
                return self._session(b"".join((old, more)))
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".verify-", suffix=".onnx") as beside:
                beside.write(old)
                beside.write(more)
                beside.flush()
                return self._session(beside.name)


def _results(session: Any, names: Iterable[str], values: Mapping[str, Array]) -> dict[str, Array]:
    names = list(names)
    results = session.run(names, dict(values)) if names else []
    return {name: np.asarray(value, np.float32) for name, value in zip(names, results, strict=True)}


def _more_outputs(names: Iterable[str]) -> bytes:
    """A ModelProto that holds nothing but graph outputs, without types: onnxruntime knows them."""
    outputs = b"".join(_field(OUTPUT, _field(VALUE_NAME, name.encode())) for name in names)
    return _field(GRAPH, outputs)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
