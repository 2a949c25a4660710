"""A Caffe net as a graph, rewritten and emitted: layers, passes, targets."""
