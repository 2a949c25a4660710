"""What gives scores for batches of images: a converted model in onnxruntime or torch, or the Caffe files themselves.

    onnx           onnxruntime, on the CPU or on CUDA
    torch          the generated module: eager or compiled, channels last, on the CPU or on CUDA
    interpreter    our own run of the Caffe files (verify/interpreter)
    opencv, caffe  OpenCV 4, or the original Caffe, where it is installed

A `ScorerSpec` says which; it can be pickled and opened in another process, or on another machine when it is packed.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from prototxt import Net
from prototxt.errors import MissingDependencyError, RequestError
from prototxt.optional import need, need_torch
from prototxt.words import first_line, format_shape, plural
from verify.engines.engine import Array, fault
from verify.engines.onnx import QUIET, onnxruntime_faults
from verify.engines.opencv import OpenCv
from verify.engines.pycaffe import PyCaffe
from verify.engines.torch import as_fault, load_module, returned_arrays
from verify.interpreter import run
from verify.machine import processors
from weights import Weights, open_weights

EngineName: TypeAlias = Literal["onnx", "torch", "interpreter", "opencv", "caffe"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]

MOST_AT_ONCE = 4
"""Batches that onnxruntime works on at the same time: each needs the memory of its blobs."""


class Scorer(Protocol):
    """Something that scores images."""

    @property
    def name(self) -> str:
        """With its version and where it runs, for the report."""

    @property
    def at_once(self) -> int:
        """How many threads may call `scores` at the same time."""

    def scores(self, images: Array) -> Array:
        """Scores N×K for images N×C×H×W; a score map N×K×h×w is averaged over its places.

        Raises:
            RequestError: images that the model does not take, or a model that fails.
        """

    def blob(self, images: Array) -> Array:
        """The blob itself, whatever its shape; errors as of `scores`.

        A model that takes only so many images at once gets blank ones behind these.
        """


@dataclass(frozen=True)
class ScorerSpec:
    """How to open a scorer.

    Attributes:
        engine: which.
        path: the converted model, an .onnx file or a folder; for the others the prototxt.
        blob: which blob holds the scores.
        batch: images in a batch, when the model takes only that many at once; 0 for any.
        net, weights: the Caffe files as loaded, for the interpreter, OpenCV and Caffe.
        threads: of the model, 0 for all; how many processes share a machine is not its to know.
        device: `auto` takes CUDA where there is one.
        compiled, channels_last: of torch.
        packed: the model's files by name, to be opened where they do not lie.
    """

    engine: EngineName
    path: str
    blob: str
    batch: int = 0
    net: Net | None = None
    weights: str | None = None
    threads: int = 0
    device: Device = "auto"
    compiled: bool = False
    channels_last: bool = False
    packed: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def open(self) -> Scorer:
        """The scorer, ready to be used.

        Raises:
            RequestError: a model that cannot be loaded.
            MissingDependencyError: what runs it is not installed.
        """
        if self.packed:
            return self._unpacked().open()
        if self.engine == "onnx":
            return OnnxScorer(self)
        if self.engine == "torch":
            return TorchScorer(self)
        return CaffeScorer(self)

    def pack(self) -> ScorerSpec:
        """The same with the model's files inside, for another machine."""
        if self.packed:
            return self
        path = Path(self.path)
        if self.net is not None:
            files = [Path(self.weights)] if self.weights else []
        else:
            files = sorted(path.iterdir()) if path.is_dir() else [path, *path.parent.glob(f"{path.name}.data")]
        return replace(self, packed={file.name: file.read_bytes() for file in files if file.is_file()})

    def _unpacked(self) -> ScorerSpec:
        folder = Path(tempfile.mkdtemp(prefix="resnet-convert-"))
        weakref.finalize(self, shutil.rmtree, folder, True)
        for name, data in self.packed.items():
            (folder / Path(name).name).write_bytes(data)
        if self.net is not None:
            return replace(self, weights=str(folder / Path(self.weights or "").name), packed={})
        inner = folder if (folder / "model.py").exists() else folder / Path(self.path).name
        return replace(self, path=str(inner), packed={})


class OnnxScorer:
    """An .onnx file in onnxruntime.

    On the CPU several batches are worked on at once, one thread each: no thread waits for another within a layer.
    """

    def __init__(self, spec: ScorerSpec) -> None:
        self._path = Path(spec.path)
        self._blob = spec.blob
        ort = need("onnxruntime", "onnxruntime", f"running {self._path}")
        cores = spec.threads or processors()
        cuda = spec.device != "cpu" and "CUDAExecutionProvider" in ort.get_available_providers()
        if spec.device == "cuda" and not cuda:
            raise RequestError("onnxruntime sees no CUDA device (pip install onnxruntime-gpu)")
        self.at_once = 1 if cuda else min(cores, MOST_AT_ONCE)
        options = ort.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = max(1, cores // self.at_once)
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
        try:
            self._session: Any = ort.InferenceSession(str(self._path), options, providers=providers)
        except onnxruntime_faults() as error:
            raise fault(self._path, f"onnxruntime cannot load it: {first_line(error)}") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs)
            raise fault(self._path, f"its inputs are {names or 'none'}; a net of images has one")
        self._input: str = inputs[0].name
        outputs = [entry.name for entry in self._session.get_outputs()]
        if self._blob and self._blob not in outputs and len(outputs) > 1:
            raise fault(self._path, f"has no output {self._blob!r}; its outputs are {', '.join(outputs)}")
        self._output: str = self._blob if self._blob in outputs else outputs[0]
        self._batch = inputs[0].shape[0] if isinstance(inputs[0].shape[0], int) else 0
        self._takes: list[int | str] = inputs[0].shape[1:]
        self.name = f"onnxruntime {ort.__version__}" + (" (CUDA)" if cuda else "")

    def scores(self, images: Array) -> Array:
        return _in_batches(self.blob, images, self._batch)

    def blob(self, images: Array) -> Array:
        try:
            made: Array = self._session.run([self._output], {self._input: _filled(images, self._batch)})[0]
        except onnxruntime_faults() as error:
            why = self._unfit(images) or f"onnxruntime cannot run it: {first_line(error)}"
            raise fault(self._path, why) from error
        return made

    def _unfit(self, images: Array) -> str:
        """What is wrong with the size of images, if anything is."""
        given = images.shape[1:]
        fit = all(size == taken for size, taken in zip(given, self._takes, strict=False) if isinstance(taken, int))
        return "" if fit else f"takes images of {format_shape(self._takes)}, not of {format_shape(given)}"


class TorchScorer:
    """A folder with model.py in PyTorch."""

    at_once = 1  # its own threads work within a layer

    def __init__(self, spec: ScorerSpec) -> None:
        self._path, self._blob, self._batch = Path(spec.path) / "model.py", spec.blob, spec.batch
        torch = self._torch = need_torch(f"running {self._path}")
        if spec.device == "cuda" and not torch.cuda.is_available():
            raise RequestError("torch sees no CUDA device")
        cuda = spec.device != "cpu" and torch.cuda.is_available()
        self._device = "cuda" if cuda else "cpu"
        if cuda:  # TF32 keeps ten bits of each factor: no float32
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self._format = torch.channels_last if spec.channels_last else torch.contiguous_format
        if spec.threads:
            torch.set_num_threads(spec.threads)
        module = load_module(self._path).to(self._device, memory_format=self._format)
        self._model: Any = torch.compile(module) if spec.compiled else module
        facts = [*(["CUDA"] if cuda else []), *(["compiled"] if spec.compiled else [])]
        facts += ["channels last"] if spec.channels_last else []
        self.name = f"PyTorch {torch.__version__}" + (f" ({', '.join(facts)})" if facts else "")

    def scores(self, images: Array) -> Array:
        return _in_batches(self.blob, images, self._batch)

    def blob(self, images: Array) -> Array:
        torch = self._torch
        with torch.inference_mode():
            given = torch.from_numpy(_filled(images, self._batch)).to(self._device, memory_format=self._format)
            with as_fault(self._path, "fails to run:"):
                outputs = returned_arrays(self._model(given))
        chosen = outputs.get(self._blob)
        return next(iter(outputs.values())) if chosen is None else chosen


class CaffeScorer:
    """The Caffe files themselves, in our interpreter, in OpenCV 4 or in the original Caffe.

    Several batches are interpreted at once, one thread each, where `threadpoolctl` can tell numpy's BLAS to start no
    threads of its own; else one at a time.
    """

    def __init__(self, spec: ScorerSpec) -> None:
        assert spec.net is not None
        self._net, self._blob, self._batch = spec.net, spec.blob, spec.batch
        self._input = next(top for layer in self._net.layers if not layer.bottoms for top in layer.tops)
        self._weights: Weights | None = None
        self._engine: OpenCv | PyCaffe | None = None
        self.at_once = 1
        if spec.engine == "interpreter":
            self._weights = open_weights(spec.weights) if spec.weights else None
            self.name = "the interpreter"
            if _single_threaded_blas(self):
                self.at_once = min(spec.threads or processors(), MOST_AT_ONCE)
        else:
            self._engine = self._other(spec)
            self.name = self._engine.name

    def _other(self, spec: ScorerSpec) -> OpenCv | PyCaffe:
        if spec.engine == "caffe":
            return PyCaffe(self._net, spec.weights)
        return OpenCv(self._net, spec.weights)

    def scores(self, images: Array) -> Array:
        return _in_batches(self.blob, images, self._batch)

    def blob(self, images: Array) -> Array:
        images = _filled(images, self._batch)
        if self._engine is not None:
            answers = self._engine.run({self._input: images})
            tops = {top: value for (_, top), value in answers.tops.items()} | dict(answers.outputs)
            return tops[self._blob]
        return run(self._net, self._weights, {self._input: images}, blobs=[self._blob]).blobs[self._blob]


def _single_threaded_blas(owner: object) -> bool:
    """One thread for numpy's BLAS while `owner` lives; whether that could be had."""
    try:
        control: Any = need("threadpoolctl", "'resnet-convert[evaluate]'", "running several batches at once")
    except MissingDependencyError:
        return False
    limits = control.threadpool_limits(1, "blas")
    weakref.finalize(owner, limits.restore_original_limits)
    return True


def _in_batches(model: Callable[[Array], Array], images: Array, batch: int) -> Array:
    """Run a model that takes any number of images, or only `batch` of them at once: the last one is filled up."""
    if not batch or batch == len(images):
        return _flat(model(images), len(images))
    parts = (images[start : start + batch] for start in range(0, len(images), batch))
    return np.concatenate([_flat(model(part), batch)[: len(part)] for part in parts])


def _filled(images: Array, batch: int) -> Array:
    """Images for a model that takes only `batch` at once, blank ones behind them; any number for 0."""
    missing = batch - len(images)
    if missing <= 0:
        return images
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])


def _flat(scores: Array, images: int) -> Array:
    """N×K; a map of scores, as a fully convolutional net gives it, is averaged over its places."""
    if scores.ndim < 2 or scores.shape[0] != images:
        seen = f"the scores are {format_shape(scores.shape)} for {plural(images, 'image')}"
        raise RequestError(f"{seen}; expected a row of classes for each")
    if scores.ndim == 4:
        mean: Array = scores.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
        return mean
    return scores.reshape(images, -1)
