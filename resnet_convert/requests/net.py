"""A net, how its files are read, and what a comparison of its blobs is fed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from converter.options import File, Options
from resnet_convert import text_forms
from resnet_convert.option import Request, by_place, option, plugin_option, python_only
from resnet_convert.requests.values import NO_DIALECTS, NO_METADATA, NO_SHAPES, Float32, Values

if TYPE_CHECKING:
    from typing_extensions import Self

THE_NET = "the net"


@dataclass(frozen=True, eq=False, repr=False)
class NetRequest(Request):
    """A net, and how its files are read.

    Attributes:
        net: the .prototxt, of any age; or a .caffemodel, whose own net then counts; or a folder as model zoos have them
            (`resnet_convert.zoo`), of which `settled` finds both files.
        weights: the .caffemodel or .caffemodel.h5; None for a net without, or one that brings its own.
        metadata: what a written model shall carry, by key.
        others: as their helps say.
    """

    net: File = field(metadata=by_place("in"))
    weights: File | None = field(default=None, metadata=by_place("in"))
    _: KW_ONLY
    outputs: Sequence[str] = option(
        (),
        "blobs to give, in this order (default: those no layer reads); bytes that are no UTF-8 as \\xc8",
        metavar="A,B",
        parse=text_forms.names,
        group=THE_NET,
    )
    input_shapes: Mapping[str, Sequence[int | str]] = option(
        NO_SHAPES,
        "size of an input; a letter leaves an axis free: data=N,3,224,224",
        "--input-shape",
        metavar="BLOB=N,C,H,W",
        parse=text_forms.shape,
        repeated=True,
        group=THE_NET,
    )
    phase: Literal["TEST", "TRAIN"] = option("TEST", "which layers count (TEST)", parse=str.upper, group=THE_NET)
    stages: Sequence[str] = option(
        (), "a stage of Caffe's net state", "--stage", metavar="S", parse=str, repeated=True, group=THE_NET
    )
    level: int = option(0, "the level of Caffe's net state", metavar="L", parse=int, group=THE_NET)
    allow_unknown: bool = option(
        False,
        "go on without fields that no known Caffe has or no layer here reads, and without placeholders",
        group=THE_NET,
    )
    dialects: Mapping[str, str] = option(
        NO_DIALECTS,
        "whose meaning of a layer type holds where forks differ (default: what the file shows): Interp=openvino",
        "--dialect",
        metavar="[TYPE=]FORK",
        parse=text_forms.dialect,
        repeated=True,
        group=THE_NET,
    )
    plugins: Sequence[File] = plugin_option(THE_NET)
    metadata: Mapping[str, str] = python_only(NO_METADATA)

    @property
    def needs_weights(self) -> bool:
        """Whether a folder without its weight file is at fault; a net's layers can be listed all the same."""
        return False

    def settled(self) -> Self:
        """The same with the two files of a zoo's folder, held against the sums that it states, and its metadata.

        Raises:
            CaffeModelError: a folder without a net or with several, or whose files are not what it states.
        """
        if not self.net or not os.path.isdir(self.net):
            return self
        from pathlib import Path

        from resnet_convert.zoo.opening import checked, net_of, prototxt_of

        folder = Path(self.net)
        if self.weights is not None:
            return replace(self, net=prototxt_of(folder))
        found = checked(net_of(folder, weights_needed=self.needs_weights))
        metadata = {**found.card.metadata, **self.metadata} if found.card else self.metadata
        return replace(self, net=found.net, weights=found.weights, metadata=metadata)

    def to_options(self) -> Options:
        """How the net is read and rewritten: what this record says, the means read from their files."""
        known = {entry.name for entry in fields(Options)}
        stated = {name: getattr(self, name) for name in known & self.stated()}
        return replace(Options(), **stated)


@dataclass(frozen=True, eq=False, repr=False)
class FedRequest(NetRequest):
    """What a comparison of blobs is fed, and where it is written down."""

    _: KW_ONLY
    report: File | None = option(
        None, "write the comparison as a page", metavar="FILE.html", parse=str, group="verification", file="out"
    )
    seed: int = option(0, "seed of the random input (0)", metavar="N", parse=int, group="verification")
    image: File | Float32 | None = option(
        None,
        "compare on this image instead of random input",
        metavar="FILE",
        parse=str,
        group="verification",
        file="in",
    )
    feeds: Mapping[str, Values] | None = python_only(None)

    @property
    def needs_weights(self) -> bool:
        """What is compared has numbers."""
        return True
