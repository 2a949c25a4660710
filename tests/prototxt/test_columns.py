"""Tables whose columns stand below each other in a terminal."""

from __future__ import annotations

from prototxt.columns import aligned


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert list(aligned([("layer", "n"), ("conv", "1,024"), ("a", "")], (1,))) == ["layer      n", "conv   1,024", "a"]


def test_wide_characters_take_two_cells_and_marks_none() -> None:
    rows = [("卷积层", "x"), ("ﾃﾞ", "x"), ("ａ", "x"), ("e\u0301a", "x"), ("👍", "x")]
    assert list(aligned(rows)) == ["卷积层  x", "ﾃﾞ      x", "ａ      x", "e\u0301a      x", "👍      x"]
