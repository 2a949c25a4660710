"""The one net of a folder, where NET is a folder: its prototxt, its weights, and what the folder states of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from prototxt.errors import Position, RequestError, WeightsError, raise_all
from prototxt.words import unreadable
from resnet_convert.zoo.card import Card, check_sums
from resnet_convert.zoo.fitting import Fitting
from resnet_convert.zoo.folder import Folder, files_in, look, settle
from resnet_convert.zoo.pairing import MAIN, Pair, Unclear, names_of
from resnet_convert.zoo.roles import stem_of


class ZooNet(NamedTuple):
    """The net of a folder.

    Attributes:
        net: the prototxt.
        weights: the weight file; None where another one was asked for, or none.
        card: what is stated of them.
    """

    net: Path
    weights: Path | None
    card: Card | None = None


def net_of(folder: Path, *, weights_needed: bool = True) -> ZooNet:
    """The one net of a folder; that its files are what they shall be is for `checked`.

    Args:
        folder: the folder.
        weights_needed: else the prototxt will do where the weights are not there.

    Raises:
        WeightsError: a file that the folder's readme.md or model.yml names is not there, or one of the two is at fault.
        RequestError: several pairs, or none.
    """
    found = _settled(folder)
    card = found.card
    if not weights_needed and found.nets and not found.pairs and found.of_card is None and not found.weights:
        return ZooNet(prototxt_of(folder), None)
    if card is not None and card.missing:
        raise_all([card.absence(file) for file in card.missing])
    if found.of_card is not None:
        return ZooNet(found.of_card.net, found.of_card.weights, card)
    if len(found.pairs) == 1 and not found.unclear and card is None:
        return ZooNet(found.pairs[0].net, found.pairs[0].weights)
    raise _refusal(found)


def prototxt_of(folder: Path) -> Path:
    """The one prototxt of a folder, for weights from elsewhere.

    Raises:
        RequestError: several, or none.
    """
    found = _settled(folder)
    named = [net for net in found.nets if stem_of(net).lower() == MAIN]
    if found.of_card is not None:
        return found.of_card.net
    if len(found.nets) == 1 or named:
        return (named or found.nets)[0]
    raise _refusal(found)


def checked(found: ZooNet) -> ZooNet:
    """The same, once its files are what the folder states.

    Raises:
        WeightsError: they are not.
    """
    if found.card is not None:
        check_sums(found.card)
    return found


def _settled(folder: Path) -> Folder:
    try:
        names = files_in(os.scandir(folder))
    except OSError as error:
        raise RequestError(unreadable(error), position=Position(str(folder))) from error
    found = look(folder, names)
    if found.fault is not None:
        raise found.fault
    settle(found, Fitting())
    return found


def _refusal(found: Folder) -> RequestError | WeightsError:
    place = Position(str(found.path))
    if not found.nets or not found.weights:
        lacks = "prototxt" if not found.nets else "weight file"
        there = found.nets or found.weights
        beside = f"; there is {names_of(there, found.path)}" if there else ""
        return RequestError(f"has no {lacks} of a net{beside}", position=place)
    pairs = [_named(pair, found.path) for pair in found.pairs]
    pairs += [_among(each, found.path) for each in found.unclear]
    what = "; ".join(pairs) or f"{names_of(found.nets, found.path)}, {names_of(found.weights, found.path)}"
    return RequestError(f"is not the folder of one net: {what}; name the two files", position=place)


def _named(pair: Pair, folder: Path) -> str:
    return f"{names_of([pair.net], folder)} with {names_of([pair.weights] if pair.weights else [], folder)}"


def _among(each: Unclear, folder: Path) -> str:
    return f"{names_of(each.nets, folder)} with any of {names_of(each.weights, folder)}"
