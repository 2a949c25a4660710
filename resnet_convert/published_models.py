"""What was published of models: errors, how they were measured, and the weights they are of."""

from __future__ import annotations

from resnet_convert.option import takes
from resnet_convert.requests import ModelsRequest
from verify.evaluation.published.figure import Published
from verify.evaluation.published.known import find, published


@takes(ModelsRequest)
def models(request: ModelsRequest) -> tuple[Published, ...]:
    """List the models whose errors were published, which `evaluate(expect=…)` and `classify(expect=…)` know.

    Arguments are the fields of `ModelsRequest`.

    Returns:
        the models in the order of the families; with a name the one that it is, whatever its case and hyphens.

    Raises:
        RequestError: no model of that name; with those that come near.

    Example:
        >>> (resnet,) = resnet_convert.models("ResNet50")
        >>> resnet.top1, resnet.protocol, resnet.weights.size
        (0.247, 'centre crop 224×224 of shorter side 256', 102462397)
    """
    return tuple(published().values()) if request.name is None else (find(request.name),)
