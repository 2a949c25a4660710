"""OpenCV 4's own reader of Caffe files, as a second opinion on the interpreter (OpenCV 5 has dropped it).

It shares no line with this project, so where it agrees with the interpreter both are likely right. Layers that it lacks
or reads differently from Caffe make it a poor judge of a net; the report then says what it could not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prototxt import Net
from prototxt.caffe_pb2 import LayerParameter
from prototxt.errors import MissingDependencyError
from prototxt.optional import need
from prototxt.words import first_line
from verify.engines.engine import Answers, Array, AtOnce, ModelInput, fault, refuse_other_names
from verify.keys import Key


class OpenCv(AtOnce):
    """A Caffe net in cv2.dnn, with neither fusion nor Winograd, so that each layer's own blob can be seen.

    Args:
        net: the net, for its path and its layers' tops.
        weights: path of the .caffemodel.

    Raises:
        RequestError: OpenCV cannot read these files.
        MissingDependencyError: OpenCV 4 is not installed.
    """

    def __init__(self, net: Net, weights: str | None) -> None:
        self._cv2: Any = need("cv2", "'opencv-python-headless<5'", "a second opinion from OpenCV")
        version: str = self._cv2.__version__
        if int(version.partition(".")[0]) > 4:
            raise MissingDependencyError(
                f"OpenCV {version} is installed, which reads no Caffe files; "
                "a second opinion needs: pip install 'opencv-python-headless<5'"
            )
        self.name = f"OpenCV {version}"
        refuse_other_names(net, self.name)
        self.metadata: Mapping[str, str] = {}
        self.blobs: tuple[Key, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.inputs = tuple(ModelInput(top) for layer in net.layers if not layer.bottoms for top in layer.tops)
        self._path = net.path
        self._layers = {layer.name: layer for layer in net.layers}
        self._notes = tuple(
            f"OpenCV leaves out {what} of layer {layer.name!r} ({layer.type}), so it is no judge of what follows"
            for layer in net.layers
            for what in _neglected(layer.param)
        )
        with _quiet(self._cv2), self._faults("cannot read it"):
            self._net: Any = self._cv2.dnn.readNetFromCaffe(net.path, weights or "")
        there = {*self._net.getLayerNames()}  # a convolution bears its top's name
        renamed = [layer for layer in net.layers if layer.name not in there and layer.tops]
        self._layers |= {layer.tops[0]: layer for layer in renamed if layer.tops[0] not in self._layers}
        self._net.enableFusion(False)
        if hasattr(self._net, "enableWinograd"):
            self._net.enableWinograd(False)

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run the net for every layer's tops; OpenCV's own layers (splits) are left out."""
        names = [name for name in self._net.getLayerNames() if name in self._layers and self._layers[name].tops]
        with _quiet(self._cv2), self._faults("cannot run it"):
            for name, array in feeds.items():
                self._net.setInput(array, name)
            made = self._net.forwardAndRetrieve(names)
        tops: dict[Key, Array] = {}
        for name, values in zip(names, made, strict=True):
            layer = self._layers[name]
            for top, value in zip(layer.tops, values, strict=False):
                tops[layer.name, top] = value.copy()
        return Answers(tops, {}, self._notes)

    @contextmanager
    def _faults(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._cv2.error as error:
            raise fault(self._path, f"{self.name} {what}: {first_line(error)}") from error


def _neglected(param: LayerParameter) -> Iterator[str]:
    """Parameters that OpenCV 4 ignores, where they are not the default; found beside the original Caffe's answers."""
    if param.inner_product_param.transpose:
        yield "transpose"
    lrn = param.lrn_param
    if lrn.norm_region == lrn.ACROSS_CHANNELS and lrn.k != 1:
        yield f"k: {lrn.k:g}"
    if param.log_param.base != -1:
        yield f"base: {param.log_param.base:g}"
    if param.swish_param.beta != 1:
        yield f"beta: {param.swish_param.beta:g}"


@contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """Without OpenCV's log on stderr; its errors come as exceptions."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
