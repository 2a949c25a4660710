"""A BatchNorm's message as BVLC's Caffe takes it, without what only NVIDIA's and Intel's know."""

from __future__ import annotations

from converter.layers.shared.batch_norm_blobs import AFFINE, STATISTICS, Roles
from prototxt.caffe_pb2 import LayerParameter, ParamSpec

_OF_FORKS = ("scale_bias", "scale_filler", "bias_filler", "filler", "use_weight_bias", "bias_term", "engine")


def without_forks(norm: LayerParameter, stated: bool | None, eps: float | None) -> None:
    """Take out what only forks know; `stated` is what `use_global_stats` means there, `eps` another one than stated."""
    p = norm.batch_norm_param
    for name in (*_OF_FORKS, "stats_batch_size"):
        p.ClearField(name)
    if eps is not None:
        p.eps = eps
    if stated is None:
        p.ClearField("use_global_stats")
    else:
        p.use_global_stats = stated


def scale_inside(norm: LayerParameter, roles: Roles) -> LayerParameter:
    """The Scale, in place on a BatchNorm's top, for the scale and bias inside of it; each gets its own `param`s."""
    scale = LayerParameter(name=f"{norm.name}/scale", type="Scale", bottom=norm.top, top=norm.top)
    scale.scale_param.bias_term = "beta" in roles
    specs = dict(zip(roles, norm.param, strict=False))
    norm.ClearField("param")
    for group, target in ((STATISTICS, norm), (AFFINE, scale)):
        for role in group if any(role in specs for role in group) else ():
            if role in specs or role in roles or target is norm:
                target.param.add().CopyFrom(specs.get(role, ParamSpec()))
    for spec in norm.param:
        spec.lr_mult = spec.decay_mult = 0
    return scale
