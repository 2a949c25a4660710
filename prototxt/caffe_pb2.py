"""The message classes of caffe.proto, loaded from the descriptor file beside this module.

No generated code: it would tie the package to one line of protobuf's releases. The classes live in a descriptor pool of
their own, because pycaffe puts another `caffe.proto` into the default one. For type checkers, caffe_pb2.pyi has the
fields. Both files are made from caffe.proto by `python -m prototxt.make_schema`.
"""

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

POOL = descriptor_pool.DescriptorPool()


def _load() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("caffe.desc").read_bytes())
    for file in files.file:
        POOL.AddSerializedFile(file.SerializeToString())
        for message in file.message_type:
            descriptor = POOL.FindMessageTypeByName(f"{file.package}.{message.name}")
            globals()[message.name] = message_factory.GetMessageClass(descriptor)
        for enum in file.enum_type:
            globals()[enum.name] = EnumTypeWrapper(POOL.FindEnumTypeByName(f"{file.package}.{enum.name}"))
            globals().update((value.name, value.number) for value in enum.value)


_load()
