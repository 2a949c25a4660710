"""Which label a class has in the net: by Caffe's order of ILSVRC 2012, or by a list of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verify.evaluation.datasets.synsets import Synsets, caffe_order, ilsvrc_to_caffe, names, read_synsets, wnids


@dataclass(frozen=True)
class ClassOrder:
    """The classes of a net.

    Attributes:
        labels: by WordNet ID, and by name where that is another.
        names: by label.
        of_id: label of each ILSVRC 2012 ID, from ID 1 on; None where the classes are others.
    """

    labels: Mapping[str, int]
    names: tuple[str, ...]
    of_id: npt.NDArray[np.int32] | None


def caffe_classes() -> ClassOrder:
    """The thousand of ILSVRC 2012 in Caffe's order."""
    labels = {wnid: label for label, wnid in enumerate(caffe_order())}
    return ClassOrder(labels, names(), np.asarray(ilsvrc_to_caffe(), np.int32))


def listed_classes(path: str) -> ClassOrder:
    """Those of a list (synsets.txt, synset_words.txt, map_clsloc.txt, names, meta.mat): the place is the label.

    A list in ILSVRC's own order is the development kit's, which says what the IDs mean and not how a net counts; its
    classes are taken in Caffe's order.

    Raises:
        RequestError: the list is at fault.
        MissingDependencyError: meta.mat without scipy.
    """
    found = in_nets_order(read_synsets(path))
    labels = {wnid: label for label, wnid in enumerate(found.wnids)}
    for label, name in enumerate(found.names):
        labels.setdefault(name, label)
    of_id = None
    if set(found.wnids) == set(wnids()):
        of_id = np.array([labels[wnid] for wnid in wnids()], np.int32)
    return ClassOrder(labels, found.names or found.wnids, of_id)


def in_nets_order(found: Synsets) -> Synsets:
    """A list of classes as a net counts them: one in ILSVRC's own order in Caffe's, any other as it is."""
    if found.order != "ilsvrc":
        return found
    order = sorted(range(len(found.wnids)), key=found.wnids.__getitem__)
    shown = tuple(found.names[place] for place in order) if found.names else ()
    return Synsets(tuple(found.wnids[place] for place in order), shown, "caffe")
