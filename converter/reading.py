"""A net from its file, as the options ask for it; it is no graph yet, and nothing that makes one is loaded."""

from __future__ import annotations

from pathlib import Path

from converter.options import File, Options
from prototxt import Net, load_net
from weights import holds_weights, is_caffemodel, load_structure, refuse_swapped


def load_parsed(net: File, options: Options, weights: File | None = None) -> Net:
    """The prototxt, parsed, upgraded and filtered as the options say; of a binary file the net that it holds.

    `weights` is only looked at to tell swapped arguments. Unknown fields and values of a layer stop only who needs it.
    """
    if is_caffemodel(net):
        from converter.building.settling import settled

        refuse_swapped(net, weights)
        found = load_structure(
            net,
            phase=options.phase,
            level=options.level,
            stages=options.stages,
            outputs=options.outputs,
            allow_unknown=options.allow_unknown,
            dialects=options.dialects,
        )
        outputs = () if options.train else options.outputs
        return settled(found, net, dialects=options.dialects, input_shapes=options.input_shapes, outputs=outputs)
    return load_net(
        Path(net),
        phase=options.phase,
        level=options.level,
        stages=options.stages,
        allow_unknown=options.allow_unknown,
        by_layer=True,
        dialects=options.dialects,
    )


def weights_of(net: File, weights: File | None) -> File | None:
    """The weight file: a caffemodel that stands in the prototxt's place brings its own."""
    return net if weights is None and holds_weights(net) else weights
