"""The original Caffe through pycaffe, where somebody has it: the last word on what a net computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prototxt import Net
from prototxt.optional import need
from prototxt.words import first_line
from verify.engines.engine import Answers, Array, AtOnce, ModelInput, fault, refuse_other_names
from verify.keys import Key


class PyCaffe(AtOnce):
    """A net in the original Caffe, on the CPU, run layer by layer so that in-place steps can be seen.

    Args:
        net: the net, for its path and its inputs.
        weights: path of the weight file; None runs with what Caffe's fillers give, which is seldom wanted.

    Raises:
        RequestError: Caffe cannot load these files.
        MissingDependencyError: pycaffe is not installed.
    """

    def __init__(self, net: Net, weights: str | None) -> None:
        caffe: Any = need("caffe", "caffe (or: apt install caffe-cpu)", "running the original Caffe")
        caffe.set_mode_cpu()
        self.name = f"Caffe {getattr(caffe, '__version__', '')}".strip()
        refuse_other_names(net, self.name)
        self.metadata: Mapping[str, str] = {}
        self.blobs: tuple[Key, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.inputs = tuple(ModelInput(top) for layer in net.layers if not layer.bottoms for top in layer.tops)
        self._path = net.path
        try:
            self._net: Any = caffe.Net(net.path, caffe.TEST, **({"weights": weights} if weights else {}))
        except RuntimeError as error:
            raise fault(net.path, f"Caffe cannot load it: {first_line(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run the net; copies each layer's tops before the next layer can write over them."""
        net = self._net
        for name, array in feeds.items():
            if name not in net.blobs:
                raise fault(self._path, f"Caffe's net has no input {name!r}")
            net.blobs[name].reshape(*array.shape)
        net.reshape()
        for name, array in feeds.items():
            net.blobs[name].data[...] = array
        tops: dict[Key, Array] = {}
        for place, layer in enumerate(net._layer_names):
            if not net.bottom_names[layer]:
                continue  # an input: running a data layer would write over what was fed
            net._forward(place, place)
            for top in net.top_names[layer]:
                tops[str(layer), str(top)] = net.blobs[top].data.copy()
        return Answers(tops, {name: net.blobs[name].data.copy() for name in net.outputs})
