"""JSON that is nested too deep is a damaged file, as any other that makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from prototxt.errors import RequestError
from prototxt.json_text import read_json
from resnet_convert.batches.conversion import RESULT, _stored
from tests.verify import handmade
from verify.engines.engine import PREPROCESS, TOPS, described_tops
from verify.engines.torch import safetensors_metadata
from verify.evaluation.running.journal import _Damage, _entry
from verify.preprocessing import baked_order, read_preprocessing

DEEP = "[" * 200_000


def test_what_is_nested_too_deep_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        read_json(DEEP)
    assert read_json(b'{"a": [1]}') == {"a": [1]}


def test_a_models_list_of_blobs_may_be_too_deep() -> None:
    with pytest.raises(RequestError, match=r"m\.onnx: error: its metadata .* is not JSON: it is nested too deep"):
        described_tops({TOPS: DEEP}, Path("m.onnx"))


def test_the_preprocessing_that_a_model_names_may_be_too_deep() -> None:
    for read in (baked_order, lambda metadata, path: read_preprocessing(metadata, None, path)):
        with pytest.raises(RequestError, match="makes no sense"):
            read({PREPROCESS: '{"input":' + DEEP}, "m.onnx")


def test_the_header_of_a_safetensors_file_may_be_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(DEEP).to_bytes(8, "little") + DEEP.encode())
    with pytest.raises(RequestError, match="its header is not JSON"):
        safetensors_metadata(path)


def test_a_journal_may_be_too_deep() -> None:
    with pytest.raises(_Damage, match="no line of a journal"):
        _entry(DEEP.encode())


def test_the_result_of_a_batch_may_be_too_deep(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(DEEP)
    assert _stored(tmp_path) is None


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_an_entry_that_is_no_name_is_shown_in_part(form: str, tmp_path: Path) -> None:
    from verify.engines.opening import open_model

    entry: object = 0
    for _ in range(50):
        entry = [entry, "x" * 50]
    if form == "torch":
        pytest.importorskip("torch")
    write = handmade.write_onnx if form == "onnx" else handmade.write_torch
    model = write(tmp_path / "m", tops=[entry] * 5)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="names a blob by") as caught:
        open_model(model)
    assert len(str(caught.value)) < 400
