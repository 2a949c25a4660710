"""What may be asked of the verbs that list what is known: layer types, published models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

from converter.options import File
from resnet_convert.option import Request, by_place, plugin_option


@dataclass(frozen=True, eq=False, repr=False)
class LayersRequest(Request):
    """What is supported of the layer types.

    Attributes:
        type: of one of them; None for all.
    """

    type: str | None = field(default=None, metadata=by_place(""))
    _: KW_ONLY
    plugins: Sequence[File] = plugin_option()


@dataclass(frozen=True, eq=False, repr=False)
class ModelsRequest(Request):
    """What was published of models.

    Attributes:
        name: of one of them, as `--expect` takes it; None for all.
    """

    name: str | None = field(default=None, metadata=by_place(""))
