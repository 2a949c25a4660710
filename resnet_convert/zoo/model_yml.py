"""The model.yml of a folder of Open Model Zoo, where the net is one of Caffe.

    files                  each with name, source, and by age size, sha256, or checksum, whose length tells its kind
    model_optimizer_args   --input_model=$dl_dir/NAME --input_proto=$dl_dir/NAME, and what the model takes:
                           --input=data --input_shape=[1,3,224,224] --mean_values=data[104,117,123]
                           --scale_values=data[127.5] --reverse_input_channels --output=prob
    postprocessing         what the zoo's downloader does to files: it leaves the old one beside, as NAME.orig

A scale is what is divided by. Means are in the order of channels that the net takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prototxt.errors import Position, WeightsError
from prototxt.words import first_line
from resnet_convert.zoo.card import Card, Digest, StatedFile, inside, text_of

KINDS = {40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""By the number of hexadecimal digits."""
FOLDER = re.compile(r"\$(dl_dir|mo_dir|conv_dir)/")
NAMED = re.compile(r"([^,\[\]()]+)?[\[(]([^\])]*)[\])]")
"""`data[104,117,123]`; the newer zoo writes round brackets."""
FOLLOWED = frozenset(
    "framework input_model input_proto input_shape input output mean_values scale_values scale reverse_input_channels "
    "model_name data_type layout".split()
)


def read_model_yml(path: Path) -> Card | None:
    """What a model.yml states; None for a net of another framework.

    Raises:
        WeightsError: it cannot be read, or is none.
        RequestError: it names a file outside its folder.
    """
    stated = _parsed(path)
    given = dict(_arguments(stated))
    if (_text(stated, "framework") or given.get("framework")) != "caffe" or "input_model" not in given:
        return None
    listed = {file.name: file for file in _files(stated, path)}
    listed = {name: _before_postprocessing(file, stated, path) for name, file in listed.items()}
    place = Position(str(path))
    weights, net = (inside(FOLDER.sub("", given.get(key, "")), place) for key in ("input_model", "input_proto"))
    options, notes = _options(given)
    return Card(
        path,
        path.parent.name,
        _text(stated, "license"),
        listed.get(weights, StatedFile(weights)),
        listed.get(net, StatedFile(net)) if net else None,
        options,
        tuple(notes),
    )


def _parsed(path: Path) -> dict[str, Any]:
    import yaml  # for whom there is one

    try:
        found = yaml.load(text_of(path), yaml.BaseLoader)  # every scalar a string: no date, no octal number
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = Position(str(path), mark.line + 1, mark.column + 1) if mark else Position(str(path))
        raise WeightsError(
            f"is no YAML: {getattr(error, 'problem', '') or first_line(error)}", position=place
        ) from None
    except RecursionError:
        raise WeightsError("is no YAML: nested too deep", position=Position(str(path))) from None
    if not isinstance(found, dict):
        raise WeightsError("is no model.yml: it states no fields", position=Position(str(path)))
    return found


def _text(stated: Mapping[str, Any], key: str) -> str:
    """Empty where anything else stands there: a list may refer to itself, or grow without end as text."""
    found = stated.get(key)
    return found if isinstance(found, str) else ""


def _list(stated: Mapping[str, Any], key: str) -> list[Any]:
    found = stated.get(key)
    return found if isinstance(found, list) else []


def _arguments(stated: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for argument in _list(stated, "model_optimizer_args"):
        if isinstance(argument, str) and argument.startswith("--"):
            name, _, value = argument[2:].partition("=")
            yield name, value.strip().strip("\"'")


def _files(stated: Mapping[str, Any], path: Path) -> Iterator[StatedFile]:
    for file in _list(stated, "files"):
        if not isinstance(file, dict) or not isinstance(file.get("name"), str):
            raise WeightsError("is no model.yml: one of its files has no name", position=Position(str(path)))
        size = file.get("size")
        sized = int(size) if isinstance(size, str) and size.isdecimal() else None
        name = inside(file["name"], Position(str(path)))
        yield StatedFile(name, _digest(file, path), sized, _source(file.get("source")))


def _digest(file: Mapping[str, Any], path: Path) -> Digest | None:
    value = next((file[key].lower() for key in ("checksum", "sha256") if isinstance(file.get(key), str)), "")
    kind = KINDS.get(len(value)) if re.fullmatch("[0-9a-f]+", value) else None
    return Digest(kind, value, Position(str(path))) if kind else None


def _source(source: Any) -> str:
    if isinstance(source, str):
        return source
    if not isinstance(source, dict):
        return ""
    if isinstance(source.get("url"), str):
        return str(source["url"])
    shared = source.get("id")
    return f"https://drive.google.com/uc?id={shared}" if isinstance(shared, str) else ""


def _before_postprocessing(file: StatedFile, stated: Mapping[str, Any], path: Path) -> StatedFile:
    """What the downloader changed has another size and sum than what is published."""
    changed = {
        FOLDER.sub("", _text(each, "file")) for each in _list(stated, "postprocessing") if isinstance(each, dict)
    }
    was_changed = file.name in changed and (path.parent / f"{file.name}.orig").exists()
    return StatedFile(file.name, source=file.source) if was_changed else file


def _options(given: Mapping[str, str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The options of a conversion that say the same, and what of the arguments has none."""
    options, notes = {}, []
    inputs = [name.strip() for name in given.get("input", "").split(",") if name.strip()]
    shapes = [values for _, values in _named(given.get("input_shape", ""))]
    if shapes and len(shapes) == len(inputs):
        options["input_shape"] = tuple(f"{name}={shape}" for name, shape in zip(inputs, shapes, strict=True))
    elif shapes:
        notes.append(f"--input_shape={given['input_shape']} is not followed: which input it is of is not said")
    if given.get("output"):
        options["outputs"] = (given["output"],)
    means, scales = _named(given.get("mean_values", "")), _named(given.get("scale_values", ""))
    if len(means) == 1:
        options["mean"] = (means[0][1],)
    scale = _scale(scales[0][1] if len(scales) == 1 else given.get("scale", "") if not scales else "")
    if scale is not None:
        options["scale"] = (repr(scale),)
    for name, several in (("mean_values", means), ("scale_values", scales)):
        if len(several) > 1 or (name == "scale_values" and several and scale is None):
            notes.append(f"--{name}={given[name]} is not followed: a conversion takes one for one input")
    if "reverse_input_channels" in given:
        options["input_order"] = ("rgb",)
    notes += [f"--{name} is not followed" for name in given if name not in FOLLOWED]
    return options, notes


def _named(text: str) -> list[tuple[str, str]]:
    """`data[1,2],info[3]` as names and values, without blanks."""
    return [(name.strip(), re.sub(r"\s", "", values)) for name, values in NAMED.findall(text)]


def _scale(values: str) -> float | None:
    """The factor; None where there is none, or channels have several."""
    try:
        divisors = {float(value) for value in values.split(",")} if values else set()
    except ValueError:
        return None
    return 1 / divisors.pop() if len(divisors) == 1 and 0.0 not in divisors else None
