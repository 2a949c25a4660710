"""Two nets laid beside each other: which layer of a Caffe net is which part of a PyTorch module, by structure alone.

caffe = plain(caffe_skeleton(build(net, weights)))      both as one kind of graph
module = plain(trace(module, shapes).skeleton)
found = pair(caffe, module)                             which part is which
mismatches(found)                                       what differs between them
bridge(found).tensors                                   the parameters, in the module's form
"""
