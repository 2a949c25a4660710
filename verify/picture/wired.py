"""A net as the comparison went through it, as a picture needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prototxt import Net
from prototxt.families import FAMILY_OF
from prototxt.names import utf8
from prototxt.words import format_shape
from verify.interpreter.wiring import Wired
from verify.layers import find
from verify.picture.hints import hint_of
from verify.picture.records import DrawnLayer, DrawnNet, DrawnTop, colour_of

_TOUCH_UP = tuple("activation activation_forks normalization batch_norm batch_norm_forks arithmetic powers".split())


def drawn_net(net: Net, order: Sequence[Wired], shapes: Mapping[int, tuple[int, ...]]) -> DrawnNet:
    """The picture of the layers that were compared.

    Args:
        net: where they are from.
        order: the layers.
        shapes: of tops, by their places among all of the net's; others have none.
    """
    tops: dict[int, DrawnTop] = {}
    layers: list[DrawnLayer] = []
    for item in order:
        tops.update((item.makes + k, (len(layers), k)) for k in range(len(item.layer.tops)))
        layers.append(_layer(item, tops, shapes))
    read = {top for layer in layers for top in layer.reads}
    return DrawnNet(utf8(net.name), layers, [top for top in tops.values() if top not in read])


def _layer(item: Wired, tops: Mapping[int, DrawnTop], shapes: Mapping[int, tuple[int, ...]]) -> DrawnLayer:
    layer = item.layer
    made = (shapes.get(item.makes + k) for k in range(len(layer.tops)))
    family = FAMILY_OF.get(layer.kind, "")
    return DrawnLayer(
        utf8(layer.name),
        utf8(layer.type),
        tuple(tops[index] for index in item.reads if index in tops),
        tuple((utf8(n), "" if s is None else format_shape(s)) for n, s in zip(layer.tops, made, strict=True)),
        colour_of(family, len(layer.bottoms)),
        hint_of(layer.param),
        layer.position.line,
        _rides(item, family),
        {"at": item.makes},
    )


def _rides(item: Wired, family: str) -> bool:
    """Whether it only touches up what it reads."""
    layer, rule = item.layer, find(item.layer.kind)
    if len(layer.bottoms) != 1 or len(layer.tops) != 1:
        return False
    return layer.bottoms == layer.tops or (family in _TOUCH_UP and rule is not None and rule.keeps_shape)
