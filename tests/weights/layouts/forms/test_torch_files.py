"""PyTorch's files: what `torch.save` writes is read by `weights_only` alone; what is damaged or hostile is an error."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prototxt.errors import RequestError, WeightsError
from tests.weights.layouts.forms.damage import assert_changes_are_errors_or_numbers, assert_cuts_are_errors
from weights.layouts import held, layout
from weights.layouts.files import is_array_file, open_arrays, read_state
from weights.layouts.forms.torch_file import write_torch

torch = pytest.importorskip("torch")
Module = torch.nn.Module

FORMS = {"zip": True, "legacy": False}


def state(form: str = "zip") -> dict[str, Any]:
    """Tensors of every kind; the older form knows no float8."""
    generator = torch.Generator().manual_seed(4)
    whole = torch.randn(7, 11, generator=generator)
    eighth = {"eighth": torch.tensor([1.5, -0.25]).to(torch.float8_e4m3fn)} if form == "zip" else {}
    return eighth | {
        "a.weight": torch.randn(4, 3, 2, generator=generator),
        "turned": whole.t(),
        "cut": whole[2:5, 1:9:3],
        "shared": whole,
        "double": torch.randn(5, generator=generator, dtype=torch.float64),
        "half": torch.tensor([0.5, -2.25]).half(),
        "brain": torch.tensor([1.5, -3.0, 2.0**-120]).bfloat16(),
        "count": torch.tensor(2**40 + 1),
        "yes": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "spread": torch.tensor([3.0]).expand(6, 2),
        "learnt": torch.nn.Parameter(torch.ones(2, 3)),
        "größe/漢": torch.ones(1),
    }


def saved(path: Path, content: Any, form: str = "zip") -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=FORMS[form])
    return path


def expected(tensor: Any) -> np.ndarray[Any, Any]:
    return np.array(tensor.tolist(), np.float64).reshape(tuple(tensor.shape))


def assert_holds(path: Path, tensors: dict[str, Any]) -> None:
    found = read_state(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].shape == tuple(tensor.shape), name
        assert np.array_equal(found[name].astype(np.float64), expected(tensor)), name


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_every_kind_have_their_numbers(form: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", state(form), form)
    assert is_array_file(path)
    assert_holds(path, state(form))
    found = read_state(path)
    kinds = {"double": "float64", "half": "float16", "brain": "float32", "count": "int64", "yes": "bool"}
    assert {name: str(found[name].dtype) for name in kinds} == kinds
    assert found.get("eighth", found["brain"]).dtype == np.float32
    with open_arrays(path) as arrays:
        assert all(array.array().dtype == np.float32 for array in arrays.values())


def nested(*keys: str) -> Callable[[Any], Any]:
    def around(content: Any) -> Any:
        for key in reversed(keys):
            content = {"epoch": 3, key: content, "arch": "resnet50"}
        return content

    return around


AROUND: dict[str, Callable[[Any], Any]] = {
    "lightning": nested("state_dict"),
    "detectron2": nested("model"),
    "mmengine": lambda content: {"meta": {"epoch": 9, "seed": 1}, "state_dict": OrderedDict(content)},
    "twice": nested("model", "state_dict"),
    "any name": nested("my_weights"),
    "training": lambda content: {
        "optimizer": {"state": {0: {"step": torch.ones(1)}}, "lr": 0.1},
        **nested("net")(content),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", AROUND)
def test_a_state_dict_is_found_where_checkpoints_have_it(kind: str, form: str, tmp_path: Path) -> None:
    assert_holds(saved(tmp_path / "w.ckpt", AROUND[kind](state(form)), form), state(form))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefixes_of_wrappers_are_taken_off_where_all_names_have_them(prefix: str, tmp_path: Path) -> None:
    wrapped = {prefix + name: tensor for name, tensor in state().items()}
    assert_holds(saved(tmp_path / "all.pth", wrapped), state())
    assert_holds(saved(tmp_path / "averaged.pth", {"n_averaged": torch.tensor(3), **wrapped}), state())
    some = {**wrapped, "other": torch.ones(2)}
    assert_holds(saved(tmp_path / "some.pth", some), some)


def test_what_is_no_array_is_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path / "w.pth", {**state(), "epoch": 3, "note": "x"})
    assert_holds(path, state())
    assert f"{path}: warning: left out, since they are no arrays: 'epoch', 'note'" in caplog.text


def test_of_two_state_dicts_the_usual_one_is_read_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path / "w.pth", {"state_dict_ema": {"w": torch.zeros(2)}, "state_dict": {"w": torch.ones(2)}})
    assert_holds(path, {"w": torch.ones(2)})
    assert "read is 'state_dict'; it holds 'state_dict_ema' as well" in caplog.text


class Evil:
    """Makes a file when a pickle of it is followed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_that_a_file_says_is_run(form: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"w": torch.ones(2), "x": Evil(tmp_path / "mark")}, form)
    with pytest.raises(
        WeightsError, match=r"w.pth: error: holds (posix|nt)\.system, which torch.load\(weights_only=True\)"
    ):
        read_state(path)
    assert not (tmp_path / "mark").exists()


class Net(Module):  # type: ignore[misc, valid-type]
    """A module that somebody saved whole."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), "holds one array; expected a state dict, arrays by their names"),
        ([torch.ones(3)], "holds a list; expected a state dict"),
        ({"epoch": 3}, "holds no arrays; expected one state dict"),
        ({"g": {"w": torch.ones(2)}, "d": {"w": torch.ones(2)}}, "holds several state dicts, 'g', 'd'; expected one"),
        ({"w": torch.ones(2, 3).to_sparse()}, r"'w' is torch.sparse_coo; expected a tensor with numbers"),
        ({"w": torch.ones(2, device="meta")}, "'w' is meta; expected a tensor with numbers"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "'w' holds complex64 values; expected numbers"),
        ({"w": torch.ones(1).expand(40_000, 30_000)}, "'w' needs 4,800,000,000 bytes, but 4 are stored"),
        ({"w": torch.ones(1).expand(*[1] * 40)}, "'w' is 1×.*, more than Caffe can hold"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_is_no_state_dict_is_said(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        read_state(saved(tmp_path / "w.pth", content))


def test_a_whole_module_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds .*Net, which .* does not read.*save model.state_dict\(\) alone"):
        read_state(saved(tmp_path / "w.pth", Net()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_is_refused_with_advice(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 3), torch.ones(1, 2)), tmp_path / "w.pt")
    with pytest.raises(
        WeightsError, match=r"is a TorchScript archive, which is code; save the module's state_dict\(\)"
    ):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_breaks_off_is_one_error(form: str, tmp_path: Path) -> None:
    data = saved(tmp_path / "whole.pth", {"w": torch.ones(5, 7), "v": torch.ones(3)}, form).read_bytes()
    assert_cuts_are_errors(tmp_path / "w.pth", data, {*range(16, len(data), 29), len(data) - 1})


@pytest.mark.parametrize("form", FORMS)
def test_changed_bytes_give_numbers_or_one_error(form: str, tmp_path: Path) -> None:
    data = saved(tmp_path / "whole.pth", {"model": state(form)}, form).read_bytes()
    assert_changes_are_errors_or_numbers(tmp_path / "w.pth", data, 2)


def test_an_archive_whose_members_are_one_and_the_same_is_refused(tmp_path: Path) -> None:
    """Each of a thousand names stands for the same bytes."""
    path = saved(tmp_path / "w.pth", {"w": torch.ones(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        [stored] = [info for info in archive.infolist() if info.filename.endswith("data/0")]
        for number in range(1000):
            twin = zipfile.ZipInfo(f"w/data/{number + 1}")
            twin.header_offset, twin.CRC = stored.header_offset, stored.CRC
            twin.file_size = twin.compress_size = stored.file_size
            archive.filelist.append(twin)
        archive.NameToInfo["x"], archive._didModify = stored, True  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=r"unpacks to 4,\d{3},\d{3} bytes, but \d\d,\d{3} are stored"):
        read_state(path)


def test_an_archive_packed_anew_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name, values in (("fine", rng.standard_normal(5000)), ("bomb", np.zeros(3_000_000))):
        path = saved(tmp_path / f"{name}.pth", {"w": torch.from_numpy(values)})
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as new:
            for info in old.infolist():
                new.writestr(info.filename, old.read(info))
    assert read_state(tmp_path / "fine.zip")["w"][7] == np.random.default_rng(3).standard_normal(5000)[7]
    with pytest.raises(WeightsError, match=r"unpacks to 24,00\d,\d{3} bytes, but"):
        read_state(tmp_path / "bomb.zip")


def test_a_written_file_is_what_torch_reads(tmp_path: Path) -> None:
    frozen = np.arange(6, dtype=np.float32).reshape(2, 3)
    frozen.flags.writeable = False
    arrays = {
        "a.weight": held(frozen),
        "turned": held(frozen.T),
        "scalar": held(np.float32(2.5)),
        "e": held(np.zeros((0, 2))),
    }
    write_torch(tmp_path / "w.pth", arrays)
    found = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(found) == list(arrays)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert np.array_equal(tensor.numpy(), arrays[name].array())
    assert found["turned"].tolist() == [[0, 3], [1, 4], [2, 5]]
    first = (tmp_path / "w.pth").read_bytes()
    write_torch(tmp_path / "other.pth", arrays)
    assert (tmp_path / "other.pth").read_bytes() == first


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    from tests.resnet_convert.test_outputs import FULL, files_of_at_most

    for size in (0, 100, 5000):
        with files_of_at_most(size), pytest.raises(RequestError, match=FULL):
            write_torch(tmp_path / "w.pth", {"w": held(np.ones((50, 60), np.float32))})
        assert list(tmp_path.iterdir()) == []


def test_a_missing_torch_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prototxt.errors import MissingDependencyError

    path = saved(tmp_path / "w.pth", state())
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    for call in (lambda: read_state(path), lambda: write_torch(tmp_path / "v.pth", {"w": held([1.0])})):
        with pytest.raises(
            MissingDependencyError, match=r"ing PyTorch's files needs torch, which is not installed: pip"
        ):
            call()
    assert not (tmp_path / "v.pth").exists()
    assert layout("torchvision").name == "torchvision"
