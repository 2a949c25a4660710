"""What runs a converted model, or the Caffe files themselves."""
