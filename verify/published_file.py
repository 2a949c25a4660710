"""Reads `published.toml`: every field of every table is checked, and what is wrong is said with the table's name."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from prototxt.errors import Position, RequestError
from verify.published import DIGESTS, IMAGES, Published, PublishedWeights, letters

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS: Final = frozenset(
    "title dataset top1 top5 variation resize crop crops mirror scales order mean mean_file mean_shape scale scores"
    " blob note source weights like".split()
)
_OWN: Final = frozenset({"top1", "top5", "variation", "like"})
_CHANNELS: Final = {"bgr": 3, "rgb": 3, "grey": 1}


def load_published(path: str | os.PathLike[str]) -> dict[str, Published]:
    """Such a file, checked.

    Raises:
        RequestError: it cannot be read, is no TOML, or a table in it makes no sense; names the table.
    """
    place = Position(os.fspath(path))
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, ValueError) as fault:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise RequestError(f"cannot be read: {fault}", position=place) from fault
    merged: dict[str, dict[str, Any]] = {}
    entries = {}
    for name, table in tables.items():
        try:
            merged[name] = _merged(table, merged)
            entries[name] = _Fields(merged[name]).published(name)
        except _Fault as fault:
            raise RequestError(f"[{name}]: {fault}", position=place) from fault
    spelt: dict[str, str] = {}
    for name in entries:
        other = spelt.setdefault(letters(name), name)
        if other != name:
            raise RequestError(f"[{name}]: the name differs from {other!r} in hyphens only", position=place)
    return entries


class _Fault(ValueError):  # noqa: N818 (what is at fault, not an error of its own)
    """What is wrong with a table, in words."""


def _merged(table: object, above: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A table with what it takes from the one that it is like."""
    if not isinstance(table, dict):
        raise _Fault("expected a table")
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise _Fault(f"unknown field {unknown[0]!r}; expected one of {', '.join(sorted(_KEYS))}")
    if "like" not in table:
        return table
    if table["like"] not in above:
        raise _Fault(f"like: no table above is called {table['like']!r}")
    left = _OWN | {"weights"} if "title" in table else _OWN
    return {key: value for key, value in above[table["like"]].items() if key not in left} | table


class _Fields:
    """Reads the fields of a table and checks them."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.table = table

    def published(self, name: str) -> Published:
        """All of them."""
        dataset, resize = self.text("dataset"), self.text("resize")
        if dataset not in IMAGES:
            raise _Fault(f"dataset: {dataset!r} is not one of {', '.join(IMAGES)}")
        sized = re.fullmatch(r"none|shorter (?P<shorter>[1-9]\d*)|warp (?P<h>[1-9]\d*)x(?P<w>[1-9]\d*)", resize)
        if not sized:
            raise _Fault(f"resize: {resize!r} is not 'none', 'shorter S' or 'warp HxW'")
        figures = {key: self.percent(key) for key in ("top1", "top5") if key in self.table}
        if not figures:
            raise _Fault("neither top1 nor top5 is given")
        stated = self.percent("variation") if "variation" in self.table else Decimal(0)
        half = max(Decimal((0, (5,), int(value.as_tuple().exponent) - 1)) for value in figures.values())
        return Published(
            name=name,
            title=self.text("title"),
            dataset=dataset,
            images=IMAGES[dataset],
            top1=_share(figures.get("top1")),
            top5=_share(figures.get("top5")),
            variation=float((stated + half) / 100),
            source=self.text("source"),
            shorter=int(sized["shorter"] or 0),
            warp=(int(sized["h"] or 0), int(sized["w"] or 0)),
            crop=self.whole("crop"),
            mirror=self.flag("mirror"),
            scales=self.sizes("scales"),
            scores=self.text("scores", required=False),
            blob=self.text("blob", required="scores" in self.table),
            note=self.text("note", required=False),
            weights=self.weights(),
            **self.settings(),
        )

    def settings(self) -> dict[str, Any]:
        """Crops and what is done to pixels, which must go together."""
        crops, order = self.table.get("crops"), self.table.get("order")
        if crops not in (1, 10) or (crops == 10 and not self.whole("crop")):
            raise _Fault(f"crops: expected 1, or 10 with a size to crop, not {crops!r}")
        if order not in _CHANNELS:
            raise _Fault(f"order: {order!r} is not one of {', '.join(_CHANNELS)}")
        mean, shape = self.table.get("mean", []), self.sizes("mean_shape")
        numbers = isinstance(mean, list) and all(type(value) in (int, float) and 0 <= value <= 255 for value in mean)
        if not numbers or len(mean) not in (0, _CHANNELS[order]):
            raise _Fault(f"mean: expected {_CHANNELS[order]} values from 0 to 255, not {mean!r}")
        file = self.text("mean_file", required=False)
        if (len(shape), bool(file)) not in ((0, False), (3, True)) or (file and mean):
            raise _Fault("mean_file and mean_shape (channels, height, width) go together, and not with mean")
        if shape and shape[0] != _CHANNELS[order]:
            raise _Fault(f"mean_shape: expected {_CHANNELS[order]} channels, not {shape[0]}")
        scale = self.table.get("scale", 1.0)
        if type(scale) not in (int, float) or not 0 < scale < float("inf"):
            raise _Fault(f"scale: expected a positive number, not {scale!r}")
        values = tuple(float(value) for value in mean)
        made = {"crops": crops, "order": order, "mean": values, "mean_file": file, "mean_shape": shape}
        return made | {"scale": float(scale)}

    def text(self, key: str, *, required: bool = True) -> str:
        """A string; empty only where it may be."""
        value = self.table.get(key, "")
        if not isinstance(value, str) or (required and not value.strip()):
            raise _Fault(f"{key}: expected text")
        return value

    def percent(self, key: str) -> Decimal:
        """A figure in percent, as it was printed."""
        value = self.table[key]
        if not isinstance(value, str) or not re.fullmatch(r"\d{1,3}(\.\d{1,9})?", value, re.ASCII):
            raise _Fault(f'{key}: expected a figure as text, such as "24.7", not {value!r}')
        number = Decimal(value)
        if number > 100:
            raise _Fault(f"{key}: {value} is more than 100 %")
        return number

    def flag(self, key: str) -> bool:
        """A boolean, false where the field is absent."""
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            raise _Fault(f"{key}: expected true or false, not {value!r}")
        return value

    def whole(self, key: str) -> int:
        """A whole number from 0."""
        value = self.table.get(key)
        if type(value) is not int or value < 0:
            raise _Fault(f"{key}: expected a whole number, not {value!r}")
        return value

    def sizes(self, key: str) -> tuple[int, ...]:
        """Whole numbers from 1; none where the field is absent."""
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(type(each) is int and each > 0 for each in value):
            raise _Fault(f"{key}: expected a list of sizes, not {value!r}")
        return tuple(value)

    def weights(self) -> PublishedWeights:
        """What is known of the file."""
        table = self.table.get("weights", {})
        if not isinstance(table, dict) or not set(table) <= {"file", "bytes", *DIGESTS}:
            raise _Fault(f"weights: expected a table of file, bytes and {', '.join(DIGESTS)}")
        inner = _Fields(table)
        digests = {kind: inner.text(kind) for kind in DIGESTS if kind in table}
        for kind, digest in digests.items():
            if not re.fullmatch(f"[0-9a-f]{{{hashlib.new(kind, usedforsecurity=False).digest_size * 2}}}", digest):
                raise _Fault(f"weights: {digest!r} is no {kind}")
        return PublishedWeights(
            inner.text("file", required=False), inner.whole("bytes") if "bytes" in table else 0, digests
        )


def _share(percent: Decimal | None) -> float | None:
    return None if percent is None else float(percent / 100)
