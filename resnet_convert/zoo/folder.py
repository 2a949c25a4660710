"""One folder of a zoo: its card, its nets, its weight files, and which of them are pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prototxt.errors import CaffeModelError
from resnet_convert.zoo.card import Card
from resnet_convert.zoo.fitting import Fitting
from resnet_convert.zoo.front_matter import read_front_matter
from resnet_convert.zoo.model_yml import read_model_yml
from resnet_convert.zoo.pairing import MAIN, Pair, Pairing, Unclear, pair_up
from resnet_convert.zoo.roles import SAID, LeftOut, is_net, is_weights, latest, once_each, role_of, stem_of

CARDS = {"model.yml": read_model_yml, "readme.md": read_front_matter}
"""By a file's name in lower case, what reads it; the first that names a net of Caffe counts."""


@dataclass
class Folder:
    """What lies in a folder, and what became of it.

    Attributes:
        path: of the folder.
        card: what states what is in it.
        fault: why that cannot be read.
        deploys: nets to deploy, and prototxts that cannot be read, for their conversion to say why.
        training: nets for training.
        weights: weight files, of snapshots the last.
        of_card: the card's own pair, once `settle` has found it.
        pairs, unclear: the other pairs.
        left: what is nothing to convert.
        free_nets, free_weights: what goes with nothing here.
    """

    path: Path
    card: Card | None = None
    fault: CaffeModelError | None = None
    deploys: list[Path] = field(default_factory=list)
    training: list[Path] = field(default_factory=list)
    weights: list[Path] = field(default_factory=list)
    of_card: Pair | None = None
    pairs: list[Pair] = field(default_factory=list)
    unclear: list[Unclear] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)
    free_nets: list[Path] = field(default_factory=list)
    free_weights: list[Path] = field(default_factory=list)

    @property
    def nets(self) -> list[Path]:
        """What the folder's weights may be of: nets for training only where there is no other."""
        return self.deploys or self.training


def card_of(path: Path) -> Card | None:
    """What a folder states.

    Raises:
        CaffeModelError: what does so cannot be read.
    """
    found = Folder(path)
    _read_card(found, sorted(files_in(os.scandir(path))))
    if found.fault is not None:
        raise found.fault
    return found.card


def files_in(entries: Iterable[os.DirEntry[str]]) -> list[str]:
    """Names of the files, and of links that lead nowhere; never of pipes and devices, whose reader might wait."""
    return [entry.name for entry in entries if entry.is_file() or not os.path.exists(entry.path)]


def look(path: Path, names: Iterable[str]) -> Folder:
    """What the files of these names are, but for hidden ones."""
    found = Folder(path)
    names = sorted(name for name in names if not name.startswith("."))
    _read_card(found, names)
    named = {file.name for file in found.card.files} if found.card else set()
    paths = [path / name for name in names if is_net(name) or is_weights(name)]
    paths += [path / name for name in sorted(named) if "/" in name and (path / name).is_file()]
    kept = list(once_each(paths))
    found.left += [each for each in kept if isinstance(each, LeftOut)]
    files = [each for each in kept if isinstance(each, Path)]
    _sort_nets(found, [each for each in files if is_net(each.name)])
    stated = found.card.weights.name if found.card else ""
    weights = [each for each in files if is_weights(each.name)]
    own = [each for each in weights if each == path / stated]
    others, earlier = latest([each for each in weights if each not in own])
    found.weights, found.left = own + others, found.left + earlier
    return found


def _read_card(found: Folder, names: Sequence[str]) -> None:
    for card, read in CARDS.items():
        for name in names:
            if name.lower() == card and found.card is None:
                try:
                    found.card = read(found.path / name)
                except CaffeModelError as error:
                    found.fault = found.fault or error


def _sort_nets(found: Folder, nets: Iterable[Path]) -> None:
    for net in sorted(nets):
        role = role_of(net)
        if role in ("deploy", "unreadable"):
            found.deploys.append(net)
        elif role == "training":
            found.training.append(net)
        else:
            found.left.append(LeftOut(net, SAID[role]))


def settle(found: Folder, fitting: Fitting) -> None:
    """Find the folder's pairs."""
    deploys, training, weights = list(found.deploys), list(found.training), list(found.weights)
    if found.card is not None:
        found.of_card = _of_card(found, found.card, fitting)
        own = found.of_card
        taken = [own.net, own.weights] if own else [meant(found, found.card)]
        deploys, training, weights = (
            [each for each in some if each not in taken] for some in (deploys, training, weights)
        )
    nets = deploys or ([] if found.deploys else training)
    if len(nets) == 1 and len(weights) == 1 and found.card is None:
        found.pairs.append(Pair(nets[0], weights[0], "the only ones in their folder"))
        deploys, weights = [], []
        training = [net for net in training if net not in nets]
    paired = pair_up(deploys, weights, fitting)
    _keep(found, paired)
    trained = pair_up(
        training, [each for each in paired.weights if not _fits_any(each, found.deploys, fitting)], fitting
    )
    _keep(found, trained)
    found.left += [LeftOut(net, SAID["training"]) for net in trained.nets]
    _sort_rest(found, paired.nets, [each for each in paired.weights if each not in _taken(found)], fitting)


def _keep(found: Folder, paired: Pairing) -> None:
    found.pairs += paired.pairs
    found.unclear += paired.unclear


def _taken(found: Folder) -> set[Path]:
    pairs = [*found.pairs, *([found.of_card] if found.of_card else [])]
    taken = {path for pair in pairs for path in (pair.net, pair.weights) if path is not None}
    return taken | {path for each in found.unclear for path in (*each.nets, *each.weights)}


def _fits_any(weights: Path, nets: Iterable[Path], fitting: Fitting) -> bool:
    return any(fitting.fit(net, weights) for net in nets)


def _sort_rest(found: Folder, nets: Iterable[Path], weights: Iterable[Path], fitting: Fitting) -> None:
    """What fits something that is taken is left out; the rest goes with nothing here."""
    taken = _taken(found)
    for net in nets:
        other = next((each for each in found.weights if each in taken and fitting.fit(net, each)), None)
        if other:
            found.left.append(LeftOut(net, f"{other.name} fits it as well, and goes with another net"))
        else:
            found.free_nets.append(net)
    for each in weights:
        other = next((net for net in found.nets if net in taken and fitting.fit(net, each)), None)
        if other:
            found.left.append(LeftOut(each, f"fits {other.name}, which goes with other weights"))
        else:
            found.free_weights.append(each)


def meant(found: Folder, card: Card) -> Path | None:
    """The prototxt that a card is of whose weights are not there."""
    if card.net is not None:
        return found.path / card.net.name
    named = [net for net in found.nets if stem_of(net).lower() == MAIN] or found.nets
    return named[0] if len(named) == 1 else None


def _of_card(found: Folder, card: Card, fitting: Fitting) -> Pair | None:
    """The pair that a card names; None where a file of it is missing, or several prototxts are as good."""
    if card.missing:
        return None
    weights = found.path / card.weights.name
    if card.net is None and not found.nets:
        return Pair(weights, None, f"{card.path.name} names it; without a prototxt the net that it holds counts")
    why = f"{card.path.name} names {'it' if card.net is None else 'them'}"
    if card.net is not None:
        return Pair(found.path / card.net.name, weights, why)
    if len(found.nets) == 1:
        return Pair(found.nets[0], weights, why)
    pairs = pair_up(found.nets, [weights], fitting).pairs
    return Pair(pairs[0].net, weights, f"{why}; {pairs[0].why}") if pairs else None
