"""The words that messages share."""

from __future__ import annotations

import errno
import os

import pytest

from prototxt.words import (
    cut,
    few,
    first_line,
    format_shape,
    listed,
    named,
    nearest,
    plural,
    quoted,
    reason,
    shortened,
    unreadable,
)


def test_shapes_are_sizes_between_crosses() -> None:
    assert format_shape((64, 3, 7, 5)) == "64×3×7×5"
    assert format_shape([]) == "scalar"


def test_one_thing_is_no_plural() -> None:
    assert [plural(count, "layer") for count in (0, 1, 2, 2048)] == ["0 layers", "1 layer", "2 layers", "2,048 layers"]


def test_the_last_of_a_list_is_joined_by_a_word() -> None:
    assert [listed(list("abc")[:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed(("AVE", "MAX"), "or") == "AVE or MAX"


def test_of_many_the_first_are_named_and_the_rest_are_counted() -> None:
    assert few(["a", "b", "c"], 3) == "a, b, c"
    assert few(["a", "b", "c"], 1) == "a and 2 more"
    assert named(["a", "b"]) == "'a', 'b'"
    assert named([f"l{i}" for i in range(2000)]) == "'l0', 'l1', 'l2', 'l3' and 1,996 more"


def test_an_exception_is_its_first_line_or_else_its_type() -> None:
    assert first_line(RuntimeError("\n bad node \nstack: 1\nstack: 2")) == "bad node "
    assert first_line(MemoryError()) == "MemoryError"


def test_the_reason_of_an_error_of_the_system_has_no_number_and_no_file() -> None:
    fault = OSError(errno.EACCES, os.strerror(errno.EACCES), "net.prototxt")
    assert reason(fault) == "Permission denied"
    assert unreadable(fault) == "cannot be read: Permission denied"
    assert unreadable(OSError("broken pipe\nin h5py")) == "cannot be read: broken pipe"
    assert unreadable(ValueError("embedded null byte")) == "cannot be read: embedded null byte"


@pytest.mark.parametrize("most", range(1, 12))
def test_a_long_text_keeps_both_its_ends(most: int) -> None:
    text = "0123456789A"
    made = cut(text, most)
    head, mark, tail = made.partition("…")
    assert len(made) == most
    assert text.startswith(head)
    assert text.endswith(tail)
    assert bool(mark) == (most < 11)
    assert len(head) - len(tail) in ((0, 1) if mark else (11,))


def test_names_from_a_file_are_cut_as_they_are_shown() -> None:
    assert shortened("res2a\x1b[31m", 60) == r"res2a\x1b[31m"
    assert shortened("ab" * 10**6 + "\x07", 7) == r"aba…x07"
    assert len(shortened("\x1b" * 100)) == 60


def test_a_value_keeps_its_own_quotes() -> None:
    assert [quoted(value) for value in ("MAX", '"a b"', "'c'")] == ["'MAX'", '"a b"', "'c'"]


def test_the_nearest_word_comes_first() -> None:
    assert nearest("conv", ["cow", "conv1", "convolve"], 2) == ["conv1", "convolve"]
    assert nearest("xyz", ["conv1"]) == []
