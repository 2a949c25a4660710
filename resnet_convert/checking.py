"""Faults of a prototxt without its weights, as an editor or a hook before a commit wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from prototxt.caffe_pb2 import TEST, TRAIN, NetParameter
from prototxt.errors import CaffeModelError, UnknownShapeError
from resnet_convert.option import takes
from resnet_convert.requests import NetRequest

Phases = tuple[Literal["TEST", "TRAIN"], ...]


@takes(NetRequest)
def check(request: NetRequest) -> tuple[CaffeModelError, ...]:
    """What is wrong with a net or a solver, each fault with its line; nothing where all is well.

    A net is read, wired and its shapes are inferred, for the phases that its layers name (for TRAIN alone where that is
    asked for); what hangs on the shape of an input that only the data would tell (a training net's data base) is left
    unchecked. With weights these are checked as well. A solver is held against the schema. Arguments are the fields of
    `NetRequest`.

    Raises:
        RequestError: a request that makes no sense; what is wrong with the file is returned.

    Example:
        >>> resnet_convert.check("examples/digits/deploy.prototxt")
        ()
        >>> from pathlib import Path
        >>> _ = Path("net.prototxt").write_text('name: "n"\\n' 'layer { kind: "ReLU" }')
        >>> [(fault.position.line, fault.position.column) for fault in resnet_convert.check("net.prototxt")]
        [(2, 9)]
    """
    return faults_of(request)


def faults_of(request: NetRequest) -> tuple[CaffeModelError, ...]:
    """What `check` finds; what is wrong in both phases counts once."""
    found = (each for error in _raised(request) for each in error.each if not isinstance(each, UnknownShapeError))
    return tuple({str(each): each for each in found}.values())


def _raised(request: NetRequest) -> Iterator[CaffeModelError]:
    from resnet_convert.inspection import inspected

    try:
        phases = ("TRAIN",) if request.phase == "TRAIN" else _phases(request)
    except CaffeModelError as error:
        yield error
        return
    for phase in phases:
        try:
            inspected(replace(request, phase=phase))
        except CaffeModelError as error:
            yield error


def _phases(request: NetRequest) -> Phases:
    """Those that a net's layers name, TEST for one that names none; none for a solver, which is read here."""
    from prototxt import load_solver, upgrade_solver
    from prototxt.careful import is_solver
    from prototxt.net import read_net_message
    from prototxt.parse import read_text
    from weights import is_caffemodel

    path = Path(request.net)
    if is_caffemodel(path):
        return ("TEST",)
    text = read_text(path)
    if is_solver(text):
        upgrade_solver(load_solver(path, allow_unknown=request.allow_unknown))
        return ()
    named = _named(read_net_message(text, str(path), allow_unknown=request.allow_unknown)[0])
    both: Phases = ("TEST", "TRAIN")
    return tuple(phase for phase in both if phase in named) or ("TEST",)


def _named(net: NetParameter) -> set[str]:
    """Phases in which some layers are alone."""
    included = {rule.phase for layer in net.layer for rule in layer.include if rule.HasField("phase")}
    excluded = {rule.phase for layer in net.layer for rule in layer.exclude if rule.HasField("phase")}
    names = {TEST: "TEST", TRAIN: "TRAIN"}
    return {names[phase] for phase in included} | {names[TEST if phase == TRAIN else TRAIN] for phase in excluded}
