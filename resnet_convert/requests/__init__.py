"""What may be asked: frozen records that Python callers and the command line fill alike.

net, weights            every verb that reads a net
ConversionRequest       convert; with --verify's own: VerificationRequest
ImageRequest            images and what is done to them: evaluate and recalibrate
ClassificationRequest   single images
LayersRequest, …        what is known: layer types, published models
PortIntoRequest         weights in a PyTorch module; out of one: PortFromRequest
ViewRequest             a picture of a net
GatedRequest            what a CI server is told: convert, verify, evaluate and batch
PortRequest, …          weights in other frameworks' names, whole zoos, differences, old files

Where a file can be given, so can its values as an array; those fields say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prototxt.by_need import names_by_need

if TYPE_CHECKING:
    from resnet_convert.requests.classification import ClassificationRequest
    from resnet_convert.requests.conversion import ConversionRequest
    from resnet_convert.requests.files import BatchRequest, DiffRequest, PortRequest, UpgradeRequest
    from resnet_convert.requests.gating import GatedRequest
    from resnet_convert.requests.images import EvaluationRequest, ImageRequest, RecalibrationRequest
    from resnet_convert.requests.into import PortFromRequest, PortIntoRequest
    from resnet_convert.requests.net import FedRequest, NetRequest
    from resnet_convert.requests.tables import LayersRequest, ModelsRequest
    from resnet_convert.requests.values import Layout, Mean
    from resnet_convert.requests.verification import VerificationRequest
    from resnet_convert.requests.viewing import ViewRequest

__all__ = [
    "BatchRequest",
    "ClassificationRequest",
    "ConversionRequest",
    "DiffRequest",
    "EvaluationRequest",
    "FedRequest",
    "GatedRequest",
    "ImageRequest",
    "LayersRequest",
    "Layout",
    "Mean",
    "ModelsRequest",
    "NetRequest",
    "PortFromRequest",
    "PortIntoRequest",
    "PortRequest",
    "RecalibrationRequest",
    "UpgradeRequest",
    "VerificationRequest",
    "ViewRequest",
]

__getattr__ = names_by_need(
    __name__,
    {
        "resnet_convert.requests.classification": ("ClassificationRequest",),
        "resnet_convert.requests.conversion": ("ConversionRequest",),
        "resnet_convert.requests.files": ("BatchRequest", "DiffRequest", "PortRequest", "UpgradeRequest"),
        "resnet_convert.requests.gating": ("GatedRequest",),
        "resnet_convert.requests.images": ("EvaluationRequest", "ImageRequest", "RecalibrationRequest"),
        "resnet_convert.requests.into": ("PortFromRequest", "PortIntoRequest"),
        "resnet_convert.requests.net": ("FedRequest", "NetRequest"),
        "resnet_convert.requests.tables": ("LayersRequest", "ModelsRequest"),
        "resnet_convert.requests.values": ("Layout", "Mean"),
        "resnet_convert.requests.verification": ("VerificationRequest",),
        "resnet_convert.requests.viewing": ("ViewRequest",),
    },
)
