"""What a graph is written as: ONNX, PyTorch, Caffe's own files, weights alone."""
