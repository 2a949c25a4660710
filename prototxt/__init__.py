"""Caffe's text form: schema, parsing with positions, upgrades, phase rules, writing, the paper's ResNets."""

from prototxt.errors import CaffeModelError, Position
from prototxt.net import Net, NetLayer, load_net, net_from_message, parse_net
from prototxt.resnet import resnet
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
