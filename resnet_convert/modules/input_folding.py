"""Preprocessing folded into the first layer of a module that is filled from a Caffe net."""

from __future__ import annotations

from converter.matching.bridging import Bridge, bridge
from converter.matching.input_folding import border_share, first_layers, fold_input
from converter.matching.pairing import Pairing
from converter.matching.skeleton import Skeleton
from converter.tensor import Tensor
from prototxt.errors import RequestError
from weights.layouts.port import Preprocessing
from weights.layouts.preprocessing import channel_means, checked_scale


class Folded:
    """What the module's first layers hold then.

    Attributes:
        tensors: by key of the state dict.
        bridges: what was done, and what is not the same now.

    Raises:
        RequestError: preprocessing that makes no sense for this net, or a bias for which the module has no place.
    """

    def __init__(self, pairing: Pairing, caffe: Skeleton, asked: Preprocessing) -> None:
        parts = first_layers(caffe)
        channels = parts[0].settings["channels"]
        if asked.order == "rgb" and channels != 3:
            raise RequestError(f"the net's input has {channels} channels; only the order of 3 can be another")
        mean, scale = channel_means(asked.mean, channels), checked_scale(asked.scale)
        for part in parts:
            fold_input(part, rgb=asked.order == "rgb", mean=mean, scale=scale)
        made = bridge(pairing)
        for refused in made.refused:
            if any(refused.caffe is part for part in parts):
                raise RequestError(f"preprocessing does not go into {refused.module}: {refused.what}")
        self.tensors: dict[str, Tensor] = {
            key: tensor for key, tensor in made.tensors.items() if any(made.sources[key] is part for part in parts)
        }
        self.bridges: list[Bridge] = []
        for ours, theirs in ((ours.part, theirs.part) for ours, theirs in pairing.pairs):
            if any(ours is part for part in parts):
                self.bridges.append(Bridge(ours, theirs, "takes what is not preprocessed; compared before that"))
                share = border_share(ours) if mean.any() else 0.0
                if share:
                    what = f"its border is black where Caffe's has the mean colour: {share:.1%} of its places see it"
                    self.bridges.append(Bridge(ours, theirs, what))
