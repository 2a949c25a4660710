"""Caffe's text form: schema, parsing with positions, upgrades of old files, phase rules."""

from prototxt.errors import CaffeModelError, Position
from prototxt.net import Net, NetLayer, load_net, net_from_message, parse_net
from prototxt.solver import load_solver

__all__ = [
    "CaffeModelError",
    "Net",
    "NetLayer",
    "Position",
    "load_net",
    "load_solver",
    "net_from_message",
    "parse_net",
]
