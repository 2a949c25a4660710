"""Caffe networks in ONNX and PyTorch, proven: `convert` writes files, `load` gives a live module, `verify` compares."""

from converter.api import Conversion, Options, convert, load
from prototxt import CaffeModelError, load_net
from weights import open_weights

__all__ = ["CaffeModelError", "Conversion", "Options", "convert", "load", "load_net", "open_weights"]
