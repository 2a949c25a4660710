"""The message classes of caffe.proto, each made from the descriptor file beside this module when it is asked for.

No generated code: it would tie the package to one line of protobuf's releases. The classes live in a descriptor pool of
their own, because pycaffe puts another `caffe.proto` into the default one. For type checkers, caffe_pb2.pyi has the
fields. Both files are made from caffe.proto by `python -m prototxt.make_schema`.

protobuf's public way to a pool loads its whole implementation in Python. Where its C library upb does the work, which
needs none of that, pool and classes are taken from there: the same ones, in a fifth of the time. That door is not
promised to us, so where it is missing the public one serves.
"""

import os.path

from google.protobuf.internal import api_implementation
from google.protobuf.message import Message

_FILE, _PACKAGE = "caffe.proto", "caffe"
_LIBRARY = getattr(api_implementation, "_c_module", None) if api_implementation.Type() == "upb" else None
_UPB = _LIBRARY if {"DescriptorPool", "MessageMeta"} <= set(dir(_LIBRARY)) else None


def _opened():
    """A pool that holds the schema."""
    if _UPB is None:
        from google.protobuf.descriptor_pool import DescriptorPool

        pool = DescriptorPool()
    else:
        pool = _UPB.DescriptorPool()
    with open(os.path.join(os.path.dirname(__file__), "caffe.desc"), "rb") as file:
        pool.AddSerializedFile(file.read())
    return pool


POOL = _opened()


def __getattr__(name):
    file = POOL.FindFileByName(_FILE)
    if name in file.message_types_by_name:
        found = _class_of(file.message_types_by_name[name])
    elif name in file.enum_types_by_name:
        from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

        found = EnumTypeWrapper(file.enum_types_by_name[name])
    else:
        values = [enum.values_by_name[name] for enum in file.enum_types_by_name.values() if name in enum.values_by_name]
        if not values:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = values[0].number
    globals()[name] = found
    return found


def _class_of(descriptor):
    if _UPB is None:
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(descriptor)
    return _UPB.MessageMeta(descriptor.name, (Message,), {"DESCRIPTOR": descriptor, "__module__": __name__})
