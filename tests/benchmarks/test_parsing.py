"""The benchmark of parsing: what it reads, and that it sees where two readings differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import parsing
from prototxt.caffe_pb2 import NetParameter
from prototxt.scan import Field, Lines, scan
from tests.benchmarks.test_corpus import make_corpus

NET = 'name: "n"\nlayer { name: "a" type: "ReLU" bottom: "x" top: "y" }'


@pytest.mark.parametrize(
    ("text", "usual"), [(NET, 1), (NET.replace('"x"', '["x"]'), 0), (NET + " foo: 1", 0), (NET + "\udcff", 0)]
)
def test_texts_of_every_kind_are_read_alike(text: str, usual: int) -> None:
    reading = parsing.Reading()
    assert parsing.read_both(text, NetParameter, reading) == ""
    assert (reading.texts, reading.usual, reading.characters) == (1, usual, len(text))


def test_a_reading_that_differs_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(text: str, cls: type[NetParameter], path: str) -> tuple[NetParameter, Field, Lines]:
        return NetParameter(name="n"), *scan(text, "")

    monkeypatch.setattr(parsing, "parse", other)
    assert parsing.read_both('name: "n"', NetParameter, parsing.Reading()) == ""
    assert parsing.read_both('name: "m"', NetParameter, parsing.Reading()) == "the messages differ"
    assert parsing.read_both("name: n", NetParameter, parsing.Reading()) == "read by one, refused by the other"


def test_places_differ_by_a_column_within_a_layer() -> None:
    assert parsing.same_places(scan("a { b: 1 }", ""), scan("a { b: 1 }", ""))
    assert not parsing.same_places(scan("a { b: 1 }", ""), scan("a { b : 1}", ""))
    assert not parsing.same_places(scan("a { b: 1 }", ""), scan("a { b: 1 } c: 2", ""))


def test_the_command_tells_what_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus(tmp_path, {"a.prototxt": NET * 100, "b.prototxt": "layer { name: ['a'] }"})
    monkeypatch.setattr("sys.argv", ["parsing", "--corpus", str(tmp_path)])
    parsing.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| net | 2 | 0 | ")  # a name given a hundred times is no usual net
    assert lines[3].startswith("| solver | 1 | 1 | ")
    assert lines[-1].endswith("; 0 texts read otherwise")
