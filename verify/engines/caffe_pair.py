"""A folder that `--to caffe` wrote: its prototxt and caffemodel, read afresh and run by the interpreter.

A folded layer keeps its first layer's name but has the last one's numbers, so only the net's outputs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from prototxt import load_net
from verify.engines.engine import Answers, Array, AtOnce, File, ModelInput, assign_feeds
from verify.interpreter import run
from verify.keys import Key
from weights import open_weights

NET, WEIGHTS = "deploy.prototxt", "model.caffemodel"


class CaffePair(AtOnce):
    """`deploy.prototxt` and `model.caffemodel` in a folder.

    Raises:
        CaffeModelError: one of them is missing or damaged.
    """

    def __init__(self, folder: File) -> None:
        self.path = Path(folder)
        self._net = load_net(self.path / NET)
        self._weights = open_weights(self.path / WEIGHTS)
        self.name = "the interpreter, from the written files"
        self.metadata: Mapping[str, str] = {}
        self.blobs: tuple[Key, ...] = ()
        self.inputs = tuple(
            ModelInput(top, tuple(layer.param.input_param.shape[0].dim))
            for layer in self._net.layers
            if layer.param.HasField("input_param")
            for top in layer.tops
        )
        read = {bottom for layer in self._net.layers for bottom in layer.bottoms if bottom not in layer.tops}
        made = [top for layer in self._net.layers if layer.bottoms for top in layer.tops if top not in read]
        self.outputs = tuple(dict.fromkeys(made))

    def run(self, feeds: Mapping[str, Array]) -> Answers:
        """Run the written pair.

        Raises:
            CaffeModelError: it is no working net.
        """
        given = assign_feeds(self.inputs, feeds, self.path)
        blobs = run(self._net, self._weights, given).blobs
        return Answers({}, {name: blobs[name] for name in self.outputs})
