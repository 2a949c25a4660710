"""Make caffe.desc and caffe_pb2.pyi from caffe.proto: `python -m prototxt.make_schema` (needs grpcio-tools)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent


def compile_schema() -> tuple[bytes, str]:
    """The descriptor and the type stub of caffe.proto."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        command = ["protoc", f"-I{FOLDER}", f"--descriptor_set_out={target / 'caffe.desc'}", f"--pyi_out={target}"]
        if protoc.main([*command, str(FOLDER / "caffe.proto")]):
            raise SystemExit(1)
        stub = (target / "caffe_pb2.pyi").read_text(encoding="utf-8")
        (file,) = FileDescriptorSet.FromString((target / "caffe.desc").read_bytes()).file
        return file.SerializeToString(), _legal(stub)


def _legal(stub: str) -> str:
    """As mypy's strict mode takes it, and without what is called None or lambda, which Python has no way to declare."""
    stub = re.sub(r"[ \t]+$", "", stub, flags=re.M)
    stub = re.sub(r"^ *None: .*\n", "", stub, flags=re.M)
    stub = stub.replace("**kwargs)", "**kwargs: _Any)")
    stub = stub.replace("from typing import ClassVar", "from typing import Any as _Any, ClassVar", 1)
    return re.sub(r"\b_Mapping\]", "_Mapping[str, _Any]]", stub)


if __name__ == "__main__":
    descriptor, stub = compile_schema()
    (FOLDER / "caffe.desc").write_bytes(descriptor)
    (FOLDER / "caffe_pb2.pyi").write_text(stub, encoding="utf-8")
