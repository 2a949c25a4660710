"""Training a converted net as Caffe trained it: the trainable module, and Caffe's solvers that drive it."""
