"""Stand-in: V2 and input fields only."""
from dataclasses import dataclass
from prototxt.caffe_pb2 import NetParameter, LayerParameter

@dataclass
class Upgraded:
    message: NetParameter
    origins: list
    notes: tuple = ()

def upgrade_net(message):
    out = NetParameter(); out.CopyFrom(message)
    origins = list(range(len(out.layer)))
    if out.input:
        l = LayerParameter(name="input", type="Input", top=list(out.input))
        if out.input_shape: l.input_param.shape.extend(out.input_shape)
        else:
            for i in range(0, len(out.input_dim), 4): l.input_param.shape.add().dim.extend(out.input_dim[i:i+4])
        layers = [l, *out.layer]
        del out.layer[:]; out.layer.extend(layers); origins = [-1, *origins]
        del out.input[:]; del out.input_dim[:]; del out.input_shape[:]
    return Upgraded(out, origins)
