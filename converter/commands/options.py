"""From the command line's arguments to the options of a conversion."""

from __future__ import annotations

from typing import cast

from converter.api import Options
from converter.cli_options import Arguments
from converter.passes import Fold
from converter.preprocess import Preprocessing, read_mean


def options_of(arguments: Arguments) -> Options:
    """The options of a conversion, as the command line gives them."""
    mean = None if arguments.mean is None else read_mean(arguments.mean)
    return Options(
        fold=cast(Fold, arguments.fold),
        outputs=arguments.outputs,
        input_shapes=arguments.input_shapes,
        phase="TRAIN" if arguments.train else arguments.phase,
        level=arguments.level,
        stages=arguments.stages,
        allow_unknown=arguments.allow_unknown,
        dialects=arguments.dialects,
        random_weights=arguments.random_weights,
        preprocessing=Preprocessing(mean, arguments.scale, arguments.input_order == "rgb"),
        train=arguments.train,
    )
