"""Where the fields of an upgraded net stand in the file that the user wrote, under their names of today.

An upgrade moves fields: V0 kept `kernelsize` flat in the layer, V1 kept the rates of all blobs in one list, and
an `input` with its `input_dim` stood outside any layer. Errors speak of `convolution_param.kernel_size`, and must still
point at the line where the user can change it.
"""

from __future__ import annotations

from prototxt.errors import Position
from prototxt.scan import Field, Lines

_V0_NAMES = {
    "kernel_size": "kernelsize",
    "bias_term": "biasterm",
    "batch_size": "batchsize",
    "crop_size": "cropsize",
    "mean_file": "meanfile",
    "shuffle": "shuffle_images",
    "fg_threshold": "det_fg_threshold",
    "bg_threshold": "det_bg_threshold",
    "fg_fraction": "det_fg_fraction",
    "context_pad": "det_context_pad",
    "crop_mode": "det_crop_mode",
}
_V1_PARAMS = {"blobs_lr": "lr_mult", "weight_decay": "decay_mult", "blob_share_mode": "share_mode"}
_DIMS_PER_INPUT = 4


class Places:
    """The places of a text's layers and inputs.

    Args:
        path: of the file, for what has no place in it.
        root, lines: what `scan` made of the text; None for a message that came from no text.
    """

    def __init__(self, path: str, root: Field | None = None, lines: Lines | None = None) -> None:
        self.path, self.lines = path, lines
        self._root = root or Field("", 0)
        self._named = {name: self._root.find(name) for name in ("layer", "layers", "input")}

    def where(self, name: str, index: int) -> Position | None:
        """The place of the index-th `layer`, `layers` or `input` of the file; None if there is no such text."""
        entries = self._named[name]
        return self.lines.position(entries[index].offset) if self.lines and index < len(entries) else None

    def written(self, origin: int) -> Field | None:
        """The text that a layer came from: an entry's index, or -1-k for the k-th `input`."""
        if origin < 0:
            return _input_layer(self._root) if self._named["input"] else None
        entries = self._named["layer"] or self._named["layers"]
        return entries[origin] if origin < len(entries) else None

    def position(self, field: Field | None) -> Position:
        """The place of a field; without one, the file."""
        return self.lines.position(field.offset) if self.lines and field else Position(self.path)

    def inside(self, field: Field, path: tuple[str | int, ...]) -> Position:
        """The place of what `path` names within a layer, or of the innermost part of it that is written."""
        entry = _today(field) if field.name == "layers" else field
        outer, found, named = entry, entry, [entry]
        for step in path:
            if isinstance(step, int):
                found = named[step] if -len(named) <= step < len(named) else outer
                continue
            outer = found
            named = found.find(step) or ([] if found is not entry else _flat(entry, step))
            found, named = (named[0], named) if named else (found, [found])
        return self.position(found)


def _flat(entry: Field, name: str) -> list[Field]:
    """V0's field of a name of today; it stood in no section, so the section's name is passed over."""
    return [f for nested in entry.find("layer") for f in nested.find(name) or nested.find(_V0_NAMES.get(name, name))]


def _today(entry: Field) -> Field:
    """A V1 layer's text with its parallel lists as `param` blocks."""
    made = Field(entry.name, entry.offset)
    params: list[Field] = []
    counts: dict[str, int] = {}
    for child in entry.children:
        new = "name" if child.name == "param" else _V1_PARAMS.get(child.name)
        if new is None:
            made.children.append(child)
            continue
        index = counts[new] = counts.get(new, -1) + 1
        if index == len(params):
            params.append(Field("param", child.offset))
        params[index].children.append(Field(new, child.offset, child.value, child.value_offset))
    made.children += params
    return made


def _input_layer(root: Field) -> Field:
    """The net's input fields as the Input layer that they become."""
    names = root.find("input")
    shapes = [Field("shape", shape.offset, children=shape.children) for shape in root.find("input_shape")]
    dims = root.find("input_dim")
    if not shapes:
        for first in range(0, len(dims), _DIMS_PER_INPUT):
            part = [Field("dim", dim.offset) for dim in dims[first : first + _DIMS_PER_INPUT]]
            shapes.append(Field("shape", part[0].offset, children=part))
    param = Field("input_param", shapes[0].offset if shapes else names[0].offset, children=shapes)
    return Field("input", names[0].offset, children=[*(Field("top", name.offset) for name in names), param])
