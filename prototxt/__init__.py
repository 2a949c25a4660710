"""Caffe's text form: schema, parsing with positions, upgrades, phase rules, writing, the paper's ResNets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prototxt.by_need import names_by_need

if TYPE_CHECKING:
    from prototxt.errors import CaffeModelError, Position
    from prototxt.net import Net, NetLayer, load_net, net_from_message, parse_net
    from prototxt.resnets import resnet
    from prototxt.solver import load_solver
    from prototxt.upgrade import Upgraded, needs_solver_upgrade, needs_upgrade, upgrade_net, upgrade_solver
    from prototxt.write import format_net

__all__ = [
    "CaffeModelError",
    "Net",
    "NetLayer",
    "Position",
    "Upgraded",
    "format_net",
    "load_net",
    "load_solver",
    "needs_solver_upgrade",
    "needs_upgrade",
    "net_from_message",
    "parse_net",
    "resnet",
    "upgrade_net",
    "upgrade_solver",
]

__getattr__ = names_by_need(
    __name__,
    {
        "prototxt.errors": ("CaffeModelError", "Position"),
        "prototxt.net": ("Net", "NetLayer", "load_net", "net_from_message", "parse_net"),
        "prototxt.resnets": ("resnet",),
        "prototxt.solver": ("load_solver",),
        "prototxt.upgrade": ("Upgraded", "needs_solver_upgrade", "needs_upgrade", "upgrade_net", "upgrade_solver"),
        "prototxt.write": ("format_net",),
    },
)
