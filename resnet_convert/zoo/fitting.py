"""Whether a weight file is one of a net: every layer with parameters has its blobs, of its shapes.

Where the net cannot be built (a layer of a plugin, an input without a size) the layers' names decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from prototxt import Net, load_net
from prototxt.errors import CaffeModelError, WeightsError
from prototxt.words import few
from resnet_convert.zoo.quiet import quietly
from weights import Blob, Weights, open_weights

ENOUGH = 0.5
"""Share of the stored layers that a net must name where nothing else can be told."""


@dataclass(frozen=True)
class Fit:
    """How well two files go together.

    Attributes:
        share: of the layers with blobs in the file, those that the net has; 0 where the two do not go together.
        why: what is wrong then, in one line.
        proven: the shapes were compared as well.
    """

    share: float
    why: str = ""
    proven: bool = True

    def __bool__(self) -> bool:
        return self.share > 0


Form: TypeAlias = tuple[tuple[str, tuple[tuple[object, ...], ...]], ...]
"""What counts of a weight file here: its layers' names, and of each blob the shape and how it is stored."""


@dataclass
class Fitting:
    """Compares files; nets are read once, and of weight files of one form only one is compared."""

    _nets: dict[Path, Net | CaffeModelError] = field(default_factory=dict)
    _forms: dict[Path, Form | CaffeModelError] = field(default_factory=dict)
    _known: dict[tuple[Path, Form], Fit] = field(default_factory=dict)

    def fit(self, net: Path, weights: Path) -> Fit:
        """How well a weight file goes with a prototxt."""
        loaded, form = self._net(net), self._form(weights)
        for fault in (loaded, form):
            if isinstance(fault, CaffeModelError):
                return Fit(0, _said(fault))
        assert isinstance(loaded, Net)
        assert isinstance(form, tuple)
        if (net, form) not in self._known:
            with quietly(), open_weights(weights) as stored:
                self._known[net, form] = _fit(loaded, stored)
        return self._known[net, form]

    def _net(self, path: Path) -> Net | CaffeModelError:
        if path not in self._nets:
            try:
                with quietly():
                    self._nets[path] = load_net(path, allow_unknown=True, by_layer=True)
            except CaffeModelError as error:
                self._nets[path] = error
        return self._nets[path]

    def _form(self, path: Path) -> Form | CaffeModelError:
        if path not in self._forms:
            try:
                with quietly(), open_weights(path) as stored:
                    self._forms[path] = tuple((each.name, tuple(map(_stored, each.blobs))) for each in stored.layers)
            except CaffeModelError as error:
                self._forms[path] = error
        return self._forms[path]


def _stored(blob: Blob) -> tuple[object, ...]:
    return blob.shape, blob.legacy, blob.stored


def _fit(net: Net, stored: Weights) -> Fit:
    from converter.building.build import build

    learned = {layer.name for layer in stored.layers if layer.blobs}
    share = len(learned & {layer.name for layer in net.layers}) / max(1, len(learned))
    if not share:
        return Fit(0, "no layer of the net has weights in it")
    try:
        build(net, stored)
    except CaffeModelError as error:
        faults = [each for each in error.each if isinstance(each, WeightsError)]
        if faults:
            return Fit(0, few([each.message for each in faults], 1))
        return Fit(share, proven=False) if share >= ENOUGH else Fit(0, "the layers have other names")
    return Fit(share)


def _said(error: CaffeModelError) -> str:
    return str(error.each[0]).splitlines()[0]
