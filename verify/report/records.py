"""What a comparison found, as plain records.

    max abs error     largest |converted - reference| in the blob
    max rel error     that, as a share of the blob's largest |reference|: the size at which the next layer sees it
    bound             largest max abs error that float32 explains (verify/bounds.py)
    own error, bound  the same for what the layer adds: compared with the reference layer run on the model's own inputs
    share             the larger of error / bound and own error / own bound; up to 1 the blob is within bounds

Only what was found: how it looks is for `report_text` and `report_html`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from verify.picture.records import DrawnNet

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True)
class Row:
    """One blob, as one layer left it.

    Attributes:
        place: of the layer's top among all tops of the net, from 0.
        layer, layer_type, top: which.
        shape: the reference's.
        max_abs, max_rel: see the module's text; inf where the shapes differ or a value is finite on one side only.
        peak: largest |reference|.
        bound: absolute; inf where nothing can be promised (an index near a tie).
        ok: whether it is within its bounds.
        output: whether it is an output of the net.
        worst: index of the value with the largest error, its value in the model and in the reference; None without
            an error.
        fault: what is wrong when it is not a matter of size, in words.
        own_abs, own_bound: what the layer adds to the errors of its inputs, and the most that it may; None where that
            was not measured.
    """

    place: int
    layer: str
    layer_type: str
    top: str
    shape: tuple[int, ...]
    max_abs: float
    max_rel: float
    peak: float
    bound: float
    ok: bool
    output: bool = False
    worst: tuple[tuple[int, ...], float, float] | None = None
    fault: str = ""
    own_abs: float | None = None
    own_bound: float | None = None

    @property
    def share(self) -> float:
        """Error as a share of the bound; of the two errors, the one that has more of its own."""
        return max(self.total_share, self.own_share)

    @property
    def total_share(self) -> float:
        """The error as a share of its bound."""
        return _ratio(self.max_abs, self.bound)

    @property
    def own_share(self) -> float:
        """The layer's own error as a share of its bound, 0 where that was not measured."""
        return 0.0 if self.own_abs is None or self.own_bound is None else _ratio(self.own_abs, self.own_bound)

    @property
    def label(self) -> str:
        """`res2a (Eltwise)`, with the blob's name where that is another."""
        return f"{self.layer} ({self.layer_type})" + (f" blob {self.top!r}" if self.top != self.layer else "")


def _ratio(error: float, bound: float) -> float:
    if error == 0 or math.isinf(bound):
        return 0.0
    return error / bound if bound else math.inf


@dataclass(frozen=True)
class Report:
    """A converted model, or another reader of the Caffe files, beside the reference.

    Attributes:
        net, model: the files' paths.
        engine: what ran the model, with its version.
        inputs: shape of each input.
        feeds: what was fed, in words.
        rows: every blob that both have, in net order.
        shipped: the model's outputs once more, as it runs without any blob made visible; runtimes fuse layers then.
        folded: (layer, top) of the net that the model no longer has.
        notes: what could not be compared, in words.
        seconds: what took how long.
        drawn: the net as a picture of it needs it; of a layer the fact `at` is the place of its first top.
    """

    net: str
    model: str
    engine: str
    inputs: Mapping[str, tuple[int, ...]]
    feeds: str
    rows: tuple[Row, ...]
    shipped: tuple[Row, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    drawn: DrawnNet | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether something was compared and all of it is within its bound."""
        return bool(self.rows or self.shipped) and all(row.ok for row in (*self.rows, *self.shipped))

    @property
    def first_bad(self) -> Row | None:
        """The first blob in net order that is out of its bound: where to look."""
        return next((row for row in (*self.rows, *self.shipped) if not row.ok), None)

    @property
    def worst(self) -> Row | None:
        """The blob with the largest share of its bound."""
        return max((*self.rows, *self.shipped), key=lambda row: row.share, default=None)

    def to_json(self) -> dict[str, Json]:
        """All but the picture, for json.dumps; numbers that JSON does not have (inf, nan) become null."""
        rows: dict[str, Json] = {"rows": [*map(_row, self.rows)], "shipped": [*map(_row, self.shipped)]}
        made = {
            name: rows[name] if name in rows else plain(value) for name, value in vars(self).items() if name != "drawn"
        }
        first, worst = self.first_bad, self.worst
        made["ok"] = self.ok
        made["first_bad"] = [first.layer, first.top] if first else None
        made["worst"] = [worst.layer, worst.top] if worst else None
        return made


def _row(row: Row) -> dict[str, Json]:
    made = {name: plain(value) for name, value in vars(row).items()}
    if row.worst is not None:
        index, model, reference = row.worst
        made["worst"] = {"index": list(index), "model": plain(model), "reference": plain(reference)}
    return {**made, "share": plain(row.share), "own_share": plain(row.own_share)}


def plain(value: object) -> Json:
    """A value for json.dumps: numbers that JSON does not have (inf, nan) become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"{type(value).__name__} in a report")
