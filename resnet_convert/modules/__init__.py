"""Modules of PyTorch and Keras beside a Caffe net: its weights ported into them, and theirs back into it."""
