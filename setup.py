"""Packaging of resnet-convert: five import packages, one command, one pytest plugin."""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Decoding and resizing as Caffe did it, databases of convert_imageset, one BLAS thread for each of several nets.
EVALUATE = ["opencv-python-headless>=4.8", "lmdb>=1.4", "threadpoolctl>=3"]

VERSION = re.search(r'^VERSION = "(.+)"', Path("prototxt/version.py").read_text(encoding="utf-8"), re.M)[1]

setup(
    name="resnet-convert",
    version=VERSION,
    description="Caffe model-zoo conversion to ONNX and PyTorch that proves its own result",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # {"": "."} makes the editable install a plain path, which mypy, pyright and editors follow.
    package_dir={"": "."},
    packages=find_packages(include=["prototxt*", "weights*", "converter*", "verify*", "resnet_convert*"]),
    py_modules=["pytest_resnet_convert"],
    package_data={
        "": ["py.typed", "*.pyi", "*.proto", "*.desc", "*.html", "*.css", "*.js", "*.toml", "*.txt", "*.json"]
    },
    install_requires=[
        "numpy>=1.24",
        "protobuf>=4.25",
        "onnx>=1.16",
        "onnxruntime>=1.17",
        "h5py>=3.8",
        "safetensors>=0.4",
        "pyyaml>=6",
        "tomli>=2; python_version < '3.11'",
    ],
    extras_require={
        "torch": ["torch>=2.2"],
        "flax": ["msgpack>=1"],
        "view": ["graphlay>=0.3.1"],
        "evaluate": EVALUATE,
        "ray": [*EVALUATE, "ray[data]>=2.51"],
        "docs": ["sphinx>=8", "myst-parser>=4", "furo"],
        "test": [
            *EVALUATE,
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "jsonschema>=4.18",
            "msgpack>=1",
            "markdown-it-py",
            "matplotlib",
            "mypy",
            "ruff",
            "types-protobuf",
            "opencv-python-headless<5",
            "pillow",
            "scipy",
            "grpcio-tools",
            "ray[data]>=2.51",
            "graphlay>=0.3.1",
        ],
    },
    entry_points={
        "console_scripts": ["resnet-convert=resnet_convert.cli.main:main"],
        "pytest11": ["pytest_resnet_convert=pytest_resnet_convert"],
    },
)
