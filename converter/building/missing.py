"""Blobs that are named and not there: who might have been meant, and where a net could end instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from prototxt import Net, NetLayer
from prototxt.errors import RequestError
from prototxt.words import listed, nearest


def maker_of(net: Net, source: NetLayer, blob: str, known: Iterable[str]) -> str:
    """Who might have been meant to make a layer's bottom, in words behind an error; empty for nobody.

    Args:
        net: which.
        source: the layer that reads the blob.
        blob: the name that is not there.
        known: names of the blobs that are.
    """
    later = [x.name for x in net.layers if blob in x.tops and x is not source]
    if later:
        return f"; layer {later[0]!r}, which makes it, stands behind this one"
    others = [x for x in net.left_out if blob in x.tops]
    if others:
        return (
            f"; layer {others[0].name!r} ({others[0].position}) makes it, but its include and exclude rules leave "
            "it out (see --phase and --stage)"
        )
    close = nearest(blob, known)
    return f"; did you mean {close[0]!r}?" if close else ""


def no_blob(name: str, known: Iterable[str]) -> RequestError:
    """The error for an output that the net does not have."""
    close = nearest(name, known, 3)
    hint = f"; did you mean {listed(list(map(repr, close)), 'or')}?" if close else ""
    return RequestError(f"the net has no blob {name!r}{hint}")


def ends_before(net: Net, index: int, barred: Collection[str]) -> list[str]:
    """Bottoms of a layer with which a net could end in its place: layers made them, and none writes them again.

    `barred` are blobs that cannot be had.
    """
    made = {top for layer in net.layers[:index] if layer.bottoms for top in layer.tops}
    made = made.difference(barred, *(layer.tops for layer in net.layers[index:]))
    return [blob for blob in net.layers[index].bottoms if blob in made]
