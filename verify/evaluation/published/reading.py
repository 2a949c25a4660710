"""Reads `published.toml`, which is shipped with this package and therefore not checked here; the tests check it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from verify.evaluation.published.figure import DIGESTS, IMAGES, Published, PublishedWeights

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OWN: Final = frozenset({"top1", "top5", "variation", "like"})
"""What a table does not take from the one that it is like."""


def load_published(path: str | os.PathLike[str]) -> dict[str, Published]:
    """What the tables of such a file say, by their names and in their order."""
    with open(path, "rb") as file:
        tables: dict[str, dict[str, Any]] = tomllib.load(file)
    for name, table in tables.items():
        if "like" in table:
            left = _OWN | {"weights"} if "title" in table else _OWN
            taken = {key: value for key, value in tables[table["like"]].items() if key not in left}
            tables[name] = taken | table
    return {name: _published(name, table) for name, table in tables.items()}


def _published(name: str, table: Mapping[str, Any]) -> Published:
    same: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
        if key not in (*_OWN, "resize", "mean", "scale", "weights")
    }
    how, _, size = table["resize"].partition(" ")
    figures = {key: Decimal(table[key]) for key in ("top1", "top5") if key in table}
    half = max(Decimal((0, (5,), int(value.as_tuple().exponent) - 1)) for value in figures.values())
    return Published(
        name=name,
        images=IMAGES[table["dataset"]],
        top1=_share(figures.get("top1")),
        top5=_share(figures.get("top5")),
        variation=float((Decimal(table.get("variation", 0)) + half) / 100),
        shorter=int(size) if how == "shorter" else 0,
        warp=_height_and_width(size) if how == "warp" else (0, 0),
        mean=tuple(map(float, table.get("mean", ()))),
        scale=float(table.get("scale", 1)),
        weights=_weights(table.get("weights", {})),
        **same,
    )


def _height_and_width(size: str) -> tuple[int, int]:
    height, width = map(int, size.split("x"))
    return height, width


def _weights(table: Mapping[str, Any]) -> PublishedWeights:
    digests = {kind: table[kind] for kind in DIGESTS if kind in table}
    return PublishedWeights(table.get("file", ""), table.get("bytes", 0), digests)


def _share(percent: Decimal | None) -> float | None:
    return None if percent is None else float(percent / 100)
