"""What is supported of each layer type, from the registries of the converter and of the interpreter that checks it.

Which fields of the prototxt a type reads is measured, by a walk over every field that both read or refuse; `python -m
docs.make_layers` writes what it finds into `layer_fields.json`, and all of it as a page, `docs/layers.md`.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

from converter.layers.base import UNLIMITED, registry
from converter.node import Layer
from prototxt.dialects import DIALECTS
from prototxt.errors import RequestError
from prototxt.fork_numbers import READINGS
from prototxt.words import listed, nearest, shortened
from resnet_convert.option import takes
from resnet_convert.plugins import load_plugins
from resnet_convert.requests import LayersRequest
from verify import known_types
from verify.report.records import Json, plain

FIELDS: Final = Path(__file__).with_name("layer_fields.json")

Training: TypeAlias = Literal["yes", "in part", "no"]

HELD: Final = "*"
"""Behind a field of which no other value than the default is taken, by one of the two or in any net that was tried."""


@dataclass(frozen=True)
class ReadField:
    """A field of the prototxt that counts.

    Attributes:
        section: such as `pooling_param`.
        name: within it, with a point where it is deeper.
        held: whether only the default is taken, or the shapes of the nets that were tried allow no other value.
    """

    section: str
    name: str
    held: bool = False


@dataclass(frozen=True)
class Fork:
    """A fork's meaning of a type, for `--dialect`."""

    name: str
    meaning: str


@dataclass(frozen=True)
class StoredNumber:
    """A number under which forks store a section in a binary file, besides that of the schema."""

    section: str
    number: int
    forks: tuple[str, ...]


@dataclass(frozen=True)
class LayerType:
    """A layer type, and what is supported of it.

    Attributes:
        name: its type in Caffe; a Python layer's with module and class.
        family: the file below `converter/layers/` that has it; `plugin` for one of a plugin.
        does: what it does, in one sentence.
        description: the same at length: rules, forks, limits.
        bottoms, tops: how many it takes and makes, the least and the most; None for no limit.
        role: `input` for one that becomes an input of the model, `loss` for a loss or measure, which is left out unless
            it is asked for, else `layer`.
        onnx, torch: whether it can be written there.
        training: whether a PyTorch module with it can be trained as Caffe trained it; `in part` where settings decide.
        why_untrained: why it cannot; empty where it can, or where settings decide.
        checked: whether the independent interpreter computes it, so that a conversion is verified.
        fields: what it reads of the prototxt; None where that was not measured: inputs and types of plugins.
        forks: the meanings that forks have of it, the one that counts without evidence first.
        stored: under which other numbers forks store its section.
    """

    name: str
    family: str
    does: str
    description: str
    bottoms: tuple[int, int | None]
    tops: tuple[int, int | None]
    role: Literal["layer", "input", "loss"]
    onnx: bool
    torch: bool
    training: Training
    why_untrained: str
    checked: bool
    fields: tuple[ReadField, ...] | None
    forks: tuple[Fork, ...]
    stored: tuple[StoredNumber, ...]

    def to_json(self) -> dict[str, Json]:
        """Everything, for json.dumps."""
        made = plain(asdict(self))
        assert isinstance(made, dict)
        return made


@takes(LayersRequest)
def layers(request: LayersRequest) -> tuple[LayerType, ...]:
    """List the layer types with what is supported of each, or one of them.

    Arguments are the fields of `LayersRequest`.

    Returns:
        the types, in the order of their names; with a name the one that it is, whatever its case and underscores, as in
        V1's `INNER_PRODUCT`.

    Raises:
        RequestError: no type of that name; with those that come near.
        CaffeModelError: a plugin that cannot be loaded.

    Example:
        >>> (pooling,) = resnet_convert.layers("Pooling")
        >>> pooling.onnx, pooling.torch, pooling.training, pooling.checked
        (True, True, 'in part', True)
        >>> len(resnet_convert.layers())
        196
    """
    load_plugins(request.plugins)
    if request.type is None:
        return tuple(map(_layer_type, sorted(registry())))
    return (_layer_type(known_as(request.type)),)


def known_as(wish: str) -> str:
    """The type that somebody means.

    Raises:
        RequestError: there is none of that name.
    """
    by_letters = {_letters(name): name for name in registry()}
    found = wish if wish in registry() else by_letters.get(_letters(wish))
    if found is not None:
        return found
    near = _with(wish)[:5] or nearest(wish, registry(), 3)
    hint = f"; did you mean {listed(near, 'or')}?" if near else "; 'resnet-convert layers' lists all"
    raise RequestError(f"no layer type goes by the name '{shortened(wish)}'{hint}")


def _with(part: str) -> list[str]:
    """The types in whose names some letters stand, the shortest first."""
    letters = _letters(part)
    return sorted((name for name in registry() if letters and letters in _letters(name)), key=len)


def _letters(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.casefold())


def _layer_type(name: str) -> LayerType:
    cls = registry()[name]
    documented = inspect.getdoc(cls) or ""
    training, why = _training(cls)
    return LayerType(
        name=name,
        family=family_of(cls.__module__),
        does=first_sentence(documented),
        description=documented,
        bottoms=_limited(cls.bottoms),
        tops=_limited(cls.tops),
        role=cls.role,  # type: ignore[arg-type]
        onnx=cls.role == "input" or any(form.onnx is not Layer.onnx for form in forms_of(cls)),
        torch=cls.role == "input" or any(map(_has_torch, forms_of(cls))),
        training=training,
        why_untrained=why,
        checked=name in known_types(),
        fields=read_fields().get(name),
        forks=tuple(Fork(dialect.name, dialect.meaning) for dialect in DIALECTS.get(name, ())),
        stored=tuple(StoredNumber(each.section, each.number, each.forks) for each in READINGS.get(name, ())),
    )


def family_of(module: str) -> str:
    """Where a module of layers stands below `converter/layers/`: `detection/yolo`."""
    return module.partition(".layers.")[2].replace(".", "/") or "plugin"


def first_sentence(text: str | None) -> str:
    """Up to the first full stop that ends one, in one line."""
    line = " ".join((text or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", line)[0]


def family_does(family: str) -> str:
    """What the layers of a family have in common, in one sentence."""
    return first_sentence(sys.modules[f"converter.layers.{family.replace('/', '.')}"].__doc__)


def _limited(counts: tuple[int, int]) -> tuple[int, int | None]:
    least, most = counts
    return least, None if most >= UNLIMITED else most


def forms_of(cls: type[Layer]) -> tuple[type[Layer], ...]:
    """The classes of layers that a type is read as."""
    return (cls, *cls.read_as)


def _has_torch(form: type[Layer]) -> bool:
    return form.torch is not Layer.torch


def _training(cls: type[Layer]) -> tuple[Training, str]:
    """Whether it can be trained, and why not, where that is so in every form and whatever its settings."""
    if cls.role == "input" or cls.tops[1] == 0:  # nothing of it is in the module
        return "yes", ""
    forms = [form for form in forms_of(cls) if _has_torch(form)]
    if not forms:
        return "no", "it has no PyTorch form"
    bars = list(map(_bar, forms))
    if all(bars):
        return "no", bars[0]
    decided = any(bars) or any(form.untrainable is not Layer.untrainable for form in forms)
    return ("in part" if decided else "yes"), ""


def _bar(form: type[Layer]) -> str:
    """Why a form cannot be trained, whatever its settings; empty where they decide."""
    with suppress(AttributeError):  # of a setting that has no default
        return form.__new__(form).untrainable
    return ""


@lru_cache(maxsize=1)
def read_fields() -> Mapping[str, tuple[ReadField, ...]]:
    """What each type reads of the prototxt, as far as it was measured. Read once."""
    stated: dict[str, list[str]] = json.loads(FIELDS.read_text(encoding="utf-8"))
    return {name: tuple(map(_read_field, paths)) for name, paths in stated.items()}


def _read_field(path: str) -> ReadField:
    section, _, name = path.partition(".")
    return ReadField(section, name.removesuffix(HELD), name.endswith(HELD))


def by_section(fields: tuple[ReadField, ...]) -> Iterator[str]:
    """`clip_param: min, max` for each section."""
    sections: dict[str, list[str]] = {}
    for each in fields:
        sections.setdefault(each.section, []).append(each.name + HELD * each.held)
    yield from (f"{section}: {', '.join(names)}" for section, names in sections.items())
