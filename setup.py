"""Packaging of resnet-convert: four import packages, one module that re-exports the public API, one command."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="resnet-convert",
    version="0.1.0",
    description="Caffe model-zoo conversion to ONNX and PyTorch that proves its own result",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    # {"": "."} makes the editable install a plain path, which mypy, pyright and editors follow.
    package_dir={"": "."},
    packages=find_packages(include=["prototxt*", "weights*", "converter*", "verify*"]),
    py_modules=["resnet_convert"],
    package_data={"": ["py.typed", "*.pyi", "*.proto", "*.desc", "*.html", "*.toml"]},
    install_requires=[
        "numpy>=1.24",
        "protobuf>=4.25",
        "onnx>=1.16",
        "onnxruntime>=1.17",
        "h5py>=3.8",
        "safetensors>=0.4",
    ],
    extras_require={
        "torch": ["torch>=2.2"],
        "test": [
            "pytest",
            "hypothesis",
            "mypy",
            "ruff",
            "types-protobuf",
            "opencv-python-headless<5",
            "pillow",
            "grpcio-tools",
        ],
    },
    entry_points={"console_scripts": ["resnet-convert=converter.cli:main"]},
)
