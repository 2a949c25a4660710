"""Folders as model zoos have them: what they state of a net, which prototxt goes with which weights, whole trees."""
