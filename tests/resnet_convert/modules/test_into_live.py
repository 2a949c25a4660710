"""`port --into` a live module: compiled, scripted, in training, with parameters and buffers that no pass reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import resnet_convert
from tests.resnet_convert.modules.nets import (
    BARE,
    C3,
    NORMED,
    Function,
    assert_same_numbers,
    conv,
    convolved,
    layer,
    norm,
)


def test_what_no_pass_reads_is_named_and_kept(made: Callable[..., tuple[str, str]]) -> None:
    files = made(*BARE)
    module = Function(lambda m, x: m.c(x), c=nn.Conv2d(3, 4, **C3), spare=nn.Linear(2, 2))
    before = module.spare.weight.clone()
    done = resnet_convert.port_into(*files, module)
    assert done.kept == ["spare.weight", "spare.bias"]
    assert torch.equal(done.state_dict["spare.weight"], before)


def test_a_module_in_training_is_run_in_eval_mode_and_left_as_it_was(
    made: Callable[..., tuple[str, str]],
) -> None:
    files = made(*NORMED)
    module = convolved(nn.BatchNorm2d(4), nn.Dropout())
    done = resnet_convert.port_into(*files, module)
    assert done.report is not None
    assert done.report.ok
    assert (module.training, module[1].training) == (True, True)


class Checked(nn.Sequential):
    """One that looks at its numbers, which no tracing follows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.isnan(x).any():
            raise ValueError("not a number")
        made: torch.Tensor = super().forward(x)
        return made


def test_what_torch_export_cannot_follow_is_watched(made: Callable[..., tuple[str, str]]) -> None:
    files = made(
        conv("c", "data"), norm("n", "c"), layer("r", "ReLU", "ns"), layer("p", "Pooling", "r", phrase="kernel_size: 2")
    )
    module = Checked(
        nn.Conv2d(3, 4, **C3, bias=False), nn.BatchNorm2d(4, eps=0.01), nn.ReLU(inplace=True), nn.MaxPool2d(3, 1)
    )
    done = resnet_convert.port_into(*files, module.eval(), patch=True)
    assert done.followed.way == "hooks"
    assert "torch.export: GuardOnDataDependentSymNode" in done.followed.failed
    assert "; torch.fx: TraceError" in done.followed.failed
    assert done.report is not None
    assert done.report.ok, done.report.first_bad
    assert [row.layer for row in done.report.rows] == ["ns", "r", "p"]
    assert [each.advice for each in done.patched] == ["model.3.kernel_size = (2, 2)"]
    assert_same_numbers(files, done)


@pytest.mark.parametrize(
    "made_of",
    [
        lambda m: torch.jit.script(m),
        nn.DataParallel,
        torch.compile,
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.requires_grad_(False),
        nn.SyncBatchNorm.convert_sync_batchnorm,
    ],
    ids=["scripted", "parallel", "compiled", "channels last", "frozen", "synchronised"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TorchScript's own
def test_modules_in_other_clothes(made_of: Callable[[Any], Any], made: Callable[..., tuple[str, str]]) -> None:
    files = made(conv("c", "data"), norm("n", "c"), layer("r", "ReLU", "ns"))
    plainly = convolved(nn.BatchNorm2d(4), nn.ReLU()).eval()
    done = resnet_convert.port_into(*files, made_of(plainly))
    assert done.report is not None
    assert done.report.ok
    assert (done.mismatches, done.kept) == ([], [])
    assert_same_numbers(files, done)


class Scaled(nn.Module):
    """A factor that is in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, **C3)
        self.register_buffer("scale", torch.full((4, 1, 1), 2.0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(x) * self.scale


def test_a_buffer_that_is_in_no_state_dict_gets_nothing(made: Callable[..., tuple[str, str]]) -> None:
    scale = layer("s", "Scale", "c", of="scale_param", phrase="bias_term: true")
    module = Scaled()
    done = resnet_convert.port_into(*made(conv("c", "data"), scale), module)
    assert done.arrays == ["c.weight", "c.bias"]
    assert [str(each) for each in done.mismatches] == ["mul in Scaled: the Caffe net has nothing like it there"]
    assert torch.all(module.scale == 2)
    assert done.report is not None
    assert not done.report.ok
