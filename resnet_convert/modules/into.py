"""A Caffe net's weights in a PyTorch module, matched by structure and proven by running both, as one request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converter.matching.differences import Mismatch, agreed, beyond
from converter.tensor import Tensor
from prototxt import Net
from prototxt.errors import RequestError, raise_all
from resnet_convert.guarding import guard
from resnet_convert.modules.input_folding import Folded
from resnet_convert.modules.keras_models import check_output, is_mirror, mirror_if_keras, write_weights
from resnet_convert.modules.naming import built, file_of
from resnet_convert.modules.side_by_side import Laid, Matched, check_tensors, faults_of, graph_of
from resnet_convert.option import takes
from resnet_convert.requests import PortIntoRequest
from resnet_convert.verification import opened
from weights import Outputs, Weights

if TYPE_CHECKING:
    from verify.parity import OnPart

SUFFIXES = (".safetensors", ".pth", ".weights.h5")


@dataclass(repr=False, kw_only=True)
class PortedInto(Laid):
    """What a port into a module did: the module is filled, and with `patch` changed.

    Attributes:
        patched: the differences of settings that were set right; they are no `mismatches` any more.
        arrays: keys of the state dict that were filled.
        kept: keys that were not, since no pass through the module reads them; they keep their values.
    """

    patched: list[Mismatch]
    arrays: list[str]
    kept: list[str]

    @property
    def state_dict(self) -> dict[str, Any]:
        """The module's parameters and buffers by name."""
        found: dict[str, Any] = self.module.state_dict()
        return found


@takes(PortIntoRequest)
def port_into(request: PortIntoRequest) -> PortedInto:
    """Put a Caffe net's weights into a PyTorch module, whatever its names are, and compare the two by running them.

    Arguments are the fields of `PortIntoRequest`.

    Raises:
        NetError, ErrorGroup: layers that cannot be paired, or whose weights the module cannot hold; nothing is filled
            or written then, but with `force` what can be.
        UnsupportedError: a module that fails on such inputs, or that does something else for other numbers.
        CaffeModelError: a file that cannot be read, a module that cannot be built.

    Example:
        >>> net, weights = "examples/digits/deploy.prototxt", "examples/digits/digits_resnet.caffemodel"
        >>> module = resnet_convert.load(net, options=resnet_convert.Options(random_weights=1))
        >>> done = resnet_convert.port_into(net, weights, into=module)
        >>> len(done.layers), len(done.arrays), done.report.ok
        (13, 62, True)
    """
    with Outputs() as outputs:
        return ported_into(request, outputs)


def ported_into(request: PortIntoRequest, outputs: Outputs, progress: OnPart | None = None) -> PortedInto:
    """What `port_into` does; the file gets its name when `outputs` ends."""
    _check_output(request)
    with opened(request) as (net, weights):
        if weights is None:
            raise RequestError(f"{request.net} brings no weights; name the .caffemodel")
        module = built(request.into) if isinstance(request.into, str) else request.into
        return port_module(net, weights, module, request, outputs, progress)


def port_module(
    net: Net,
    weights: Weights,
    module: Any,
    request: PortIntoRequest,
    outputs: Outputs,
    progress: OnPart | None = None,
) -> PortedInto:
    """The same for a net that is loaded, and a module that is there."""
    name = request.into if isinstance(request.into, str) and request.into else type(module).__name__
    module = mirror_if_keras(module)
    check_output(module, request.output)
    if request.patch and is_mirror(module):
        raise RequestError("--patch sets attributes of PyTorch modules; a Keras model has to be built otherwise")
    check_tensors(module)
    graph = graph_of(net, weights, request)
    work = Matched(graph, module)
    faults = list(faults_of(work, name, net.path))
    if not request.force:
        raise_all(faults)
    asked = request.to_preprocessing()
    folded = None if asked is None else Folded(work.pairing, work.caffe, asked)
    patched = agreed(work.mismatches) if request.patch else []
    for each in patched:
        _patch(module, each)
    if patched:
        work = Matched(graph, module)
        faults = list(faults_of(work, name, net.path))
        folded = None if asked is None else Folded(work.pairing, work.caffe, asked)
    kept = _fill(module, work)
    done = PortedInto(
        module=module,
        name=name,
        pairing=work.pairing,
        bridges=work.bridged.bridges,
        mismatches=work.mismatches,
        patched=patched,
        arrays=[key for key in module.state_dict() if key in work.bridged.tensors],
        kept=kept,
        beyond=beyond(work.pairing),
        left=[str(fault) for fault in faults],
        followed=work.traced.followed,
    )
    if request.verify:
        done.report = work.compared(net, weights, graph, request, name, outputs, progress)
    if folded is not None:
        _fill_with(module, folded.tensors)
        done.bridges += folded.bridges
    if request.output is not None:
        _write(module, Path(request.output), outputs)
        done.files = [Path(request.output)]
    return done


def _check_output(request: PortIntoRequest) -> None:
    reading = []
    if isinstance(request.into, str):
        if not request.into:
            raise RequestError("no module to port into; name one (--into)")
        file = file_of(request.into)
        reading = [] if file is None else [file]
    guard(request, reading=reading)
    if request.output is not None and not str(request.output).endswith(SUFFIXES):
        raise RequestError(f"{request.output}: expected a name that ends in {' or '.join(SUFFIXES)}")


def _patch(module: Any, mismatch: Mismatch) -> None:
    assert mismatch.module is not None
    target = module.get_submodule(mismatch.module.label)
    for name, value in mismatch.remedy.items():
        setattr(target, name, value)


def _fill(module: Any, work: Matched) -> list[str]:
    """Put the parameters into the module; the keys of those that no pass reads."""
    state = module.state_dict()
    _fill_with(module, work.bridged.tensors)
    filled = {state[key].data_ptr() for key in work.bridged.tensors}
    unused = [key for key in work.traced.unused if state[key].data_ptr() not in filled]
    return [key for key in unused if not re.search(r"(^|\.)num_batches_tracked$", key)]


def _fill_with(module: Any, tensors: Mapping[str, Tensor]) -> None:
    state = module.state_dict()
    for key, tensor in tensors.items():
        _copy(state[key].detach().numpy(), tensor)
    if is_mirror(module):
        module.give_back()


def _copy(place: Any, tensor: Tensor) -> None:
    """Part by part where the values are the file's own, so that no second copy of a large weight is made."""
    if not place.flags.c_contiguous:
        np.copyto(place, tensor.load().reshape(place.shape))
        return
    flat, start = place.reshape(-1), 0
    for part in tensor.parts():
        flat[start : start + part.size] = part
        start += part.size


def _write(module: Any, path: Path, outputs: Outputs) -> None:
    state = {key: value for key, value in module.state_dict().items() if hasattr(value, "detach")}
    written = outputs.file(path)
    if is_mirror(module):
        write_weights(module, written)
    elif path.suffix == ".pth":
        from weights.layouts.forms.torch_file import save

        save({key: value.detach() for key, value in state.items()}, written)
    else:
        from converter.targets.writers import write_safetensors

        write_safetensors({key: value.detach().numpy() for key, value in state.items()}, written)


__all__ = ["PortedInto", "port_into", "port_module", "ported_into"]
