"""The numbers that forks of the form of 2014 gave their layer types and sections, from 40 on the same ones for others.

    OLD_FORKS["deconvnet"].types[43]       OldType("BN", "bn_param", 45)
    OLD_FORKS["deeplab_v1"].types[43]      OldType("MAT_WRITE", "mat_write_param", 46, …)

Facts from `src/caffe/proto/caffe.proto` of HyeonwooNoh/caffe (DeconvNet, DecoupledNet) and of DeepLab's first Caffe, as
in TheLegendAli/DeepLab-Context. BVLC's own types end at 39; DeepLab's fork is older than that, and has another there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LAST_OF_BVLC = 39


@dataclass(frozen=True)
class OldType:
    """A layer type of a fork.

    Attributes:
        name: in the schema's enum.
        section: what the schema calls its section; empty where it has none of its own.
        number: of that section in the fork's message.
        bottoms, tops: how many it has, (least, most).
        blobs: whether it may store any.
    """

    name: str
    section: str = ""
    number: int = 0
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 3)
    blobs: bool = False


@dataclass(frozen=True)
class OldFork:
    """A fork: where its numbers are from, its types by theirs, and fields that any of its layers may have."""

    source: str
    types: Mapping[int, OldType]
    common: Mapping[int, str] = field(default_factory=dict)


OLD_FORKS: dict[str, OldFork] = {
    "deconvnet": OldFork(
        "HyeonwooNoh/caffe",
        {
            40: OldType("CROP", bottoms=(2, 2)),
            41: OldType("ELTWISE_ACCURACY", "eltwise_accuracy_param", 43, (2, 2)),
            42: OldType("UNPOOLING", "unpooling_param", 44, (1, 2)),
            43: OldType("BN", "bn_param", 45, blobs=True),
            46: OldType("IMAGE_SEG_DATA", bottoms=(0, 0)),
            47: OldType("WINDOW_SEG_DATA", bottoms=(0, 0)),
            52: OldType("SELECT_SEG_BINARY", "window_cls_data_param", 49, (0, 0)),
        },
    ),
    "deeplab_v1": OldFork(
        "DeepLab's first",
        {
            39: OldType("IMAGE_SEG_DATA", bottoms=(0, 0)),
            40: OldType("SEG_ACCURACY", "seg_accuracy_param", 42, (2, 2)),
            41: OldType("INTERP", "interp_param", 43),
            43: OldType("MAT_WRITE", "mat_write_param", 46, (1, 1000), (0, 0)),
            44: OldType("MAT_READ", "mat_read_param", 47, (0, 0)),
            45: OldType("DENSE_CRF", "dense_crf_param", 48, (2, 3)),
        },
        {1003: "strict_dim"},
    ),
}
"""Name -> its numbers; those of layers that no net for use has are left out."""
