"""Drawn nets, each as a Caffe net and as a PyTorch module of its own code, with names that say nothing.

A net is a list of steps, which read earlier ones. `caffe_text` and `module` write it in their own ways: what the two
may say differently (whose name is what, a layer or a function, where a bias stands, whether a normalisation is folded)
is drawn for each, and what must be the same is the net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One operation of a net.

    Attributes:
        kind: input, conv, norm, relu, pool, sum, cat, mean, linear.
        reads: places of the steps that it reads.
        shape: of what it makes, without the batch.
        settings: of the kind.
    """

    kind: str
    reads: tuple[int, ...]
    shape: Shape
    settings: dict[str, Any] = field(default_factory=dict)


class Drawing:
    """Steps as they are drawn; each method returns the place of its last one."""

    def __init__(self, random: Random) -> None:
        self.random = random
        size = random.randint(9, 13)
        self.steps = [Step("input", (), (3, size, size + 2))]

    def add(self, kind: str, *reads: int, shape: Shape | None = None, **settings: Any) -> int:
        made = shape or self.steps[reads[0]].shape
        self.steps.append(Step(kind, reads, made, settings))
        return len(self.steps) - 1

    def conv(self, source: int, out: int, kernel: int = 1, stride: int = 1, *, tail: str | None = None) -> int:
        """A convolution that keeps the size but for its stride, and what stands behind it."""
        channels, *size = self.steps[source].shape
        tail = self.random.choice(["", "norm", "norm relu", "relu", "norm relu"]) if tail is None else tail
        groups = channels if channels == out and kernel == 3 and self.random.random() < 0.3 else 1
        settings = {"kernel": kernel, "stride": stride, "pad": kernel // 2, "dilation": 1, "groups": groups}
        shape = (out, *((n - 1) // stride + 1 for n in size))
        at = self.add("conv", source, shape=shape, **settings, bias="norm" not in tail or self.random.random() < 0.3)
        for kind in tail.split():
            at = self.add(kind, at)
        return at

    def pool(self, source: int) -> int:
        method = self.random.choice(["max", "average"])
        return self.add("pool", source, method=method, kernel=3, stride=1, pad=1)

    def shrink(self, source: int) -> int:
        channels, *size = self.steps[source].shape
        if min(size) < 4:
            return self.pool(source)
        shape = (channels, *(-(-(n - 2) // 2) + 1 for n in size))
        return self.add(
            "pool", source, shape=shape, method=self.random.choice(["max", "average"]), kernel=2, stride=2, pad=0
        )

    def plain(self, source: int) -> int:
        stride = 2 if min(self.steps[source].shape[1:]) > 4 and self.random.random() < 0.3 else 1
        return self.conv(source, self.random.choice([4, 5, 6, 8]), self.random.choice([1, 3]), stride)

    def residual(self, source: int) -> int:
        channels = self.steps[source].shape[0]
        inner = self.conv(source, channels, 1, tail="norm relu")
        last = self.conv(inner, channels, 3, tail="norm")
        return self.add("relu", self.add("sum", source, last))

    def dense(self, source: int) -> int:
        for _ in range(self.random.randint(1, 3)):
            inner = self.conv(self.add("relu", self.add("norm", source)), 4, 3, tail="")
            channels = self.steps[source].shape[0] + 4
            source = self.add("cat", source, inner, shape=(channels, *self.steps[source].shape[1:]))
        return source

    def branches(self, source: int) -> int:
        """Two or three branches of equal shapes, side by side or as a sum."""
        ends = []
        for _ in range(self.random.randint(2, 3)):
            at = self.conv(source, 4, 1, tail="relu")
            ends.append(self.conv(at, 4, 3, tail="relu"))
        size = self.steps[source].shape[1:]
        if self.random.random() < 0.6:
            return self.add("cat", *ends, shape=(4 * len(ends), *size))
        return self.add("sum", *ends)

    def deep_branches(self, source: int) -> int:
        """Branches that begin alike and end unlike, as Inception's."""
        one = self.conv(source, 4, 1, tail="relu")
        two = self.conv(self.conv(source, 4, 1, tail="relu"), 4, 3, tail="relu")
        three = self.conv(self.conv(self.conv(source, 4, 1, tail="relu"), 4, 3, tail="relu"), 4, 3, tail="relu")
        four = self.conv(self.pool(source), 4, 1, tail="relu")
        ends = [one, two, three, four]
        self.random.shuffle(ends)
        return self.add("cat", *ends, shape=(16, *self.steps[source].shape[1:]))

    def head(self, source: int) -> int:
        if self.random.random() < 0.5:
            source = self.add("mean", source, shape=(self.steps[source].shape[0], 1, 1))
        hidden = self.add("relu", self.add("linear", source, shape=(7,), bias=True))
        return self.add("linear", hidden, shape=(5,), bias=True)


def drawn(random: Random) -> list[Step]:
    """A net."""
    made = Drawing(random)
    at = made.plain(0)
    kinds: list[Callable[[int], int]] = [
        *(made.plain, made.residual, made.dense, made.branches, made.deep_branches, made.shrink, made.pool)
    ]
    for _ in range(random.randint(2, 5)):
        at = random.choice(kinds)(at)
    if random.random() < 0.7:
        made.head(at)
    return made.steps


PLANTED = ("kernel", "dilation", "method", "rectifier", "bound", "width")


def planted(steps: list[Step], random: Random, among: Sequence[str] = PLANTED) -> tuple[list[Step], int, str] | None:
    """The same net but for one step, where that is, and what was changed; None for a net that offers no place."""
    kinds = list(among)
    random.shuffle(kinds)
    for what in kinds:
        places = [place for place, step in enumerate(steps) if _can(steps, place, step, what)]
        if places:
            place = random.choice(places)
            changed = list(steps)
            changed[place] = _changed(steps[place], what)
            for later in range(place + 1, len(changed) if what == "width" else 0):
                if changed[later].kind == "relu" and place in changed[later].reads:
                    changed[later] = replace(changed[later], shape=changed[place].shape)
            return changed, place, what
    return None


def _can(steps: list[Step], place: int, step: Step, what: str) -> bool:
    if what in ("kernel", "dilation"):
        return step.kind == "conv" and step.settings["kernel"] == 3 and min(steps[step.reads[0]].shape[1:]) > 2
    if what == "method":
        return step.kind == "pool" and step.settings["kernel"] == 3
    if what == "width":
        return step.kind == "linear" and any(place in later.reads for later in steps)
    return step.kind == "relu"


def _changed(step: Step, what: str) -> Step:
    if what == "kernel":
        return replace(step, settings={**step.settings, "kernel": 1, "pad": 0})
    if what == "dilation":
        return replace(step, settings={**step.settings, "dilation": 2, "pad": 2})
    if what == "method":
        return replace(
            step, settings={**step.settings, "method": "max" if step.settings["method"] != "max" else "average"}
        )
    if what == "rectifier":
        return replace(step, kind="none")
    if what == "bound":
        return replace(step, settings={"most": 6.0})
    return replace(step, shape=(9,))


def names(count: int, random: Random) -> list[str]:
    """Different names without a meaning."""
    found = {f"n{random.randint(0, 10**9)}" for _ in range(2 * count)}
    chosen = sorted(found)
    random.shuffle(chosen)
    return chosen[:count]


def caffe_text(steps: list[Step], called: list[str]) -> str:
    """The net as a prototxt; a step's layer has its name, a norm's second layer that name and an s."""
    blobs: list[str] = []
    lines = []
    for step, name in zip(steps, called, strict=True):
        bottoms = [blobs[place] for place in step.reads]
        for own, kind, parameters in _caffe_layers(step, name):
            ends = " ".join([*(f'bottom: "{bottom}"' for bottom in bottoms), f'top: "{own}"'])
            lines.append(f'layer {{ name: "{own}" type: "{kind}" {ends} {parameters} }}')
            bottoms = [own]
        blobs.append(bottoms[0])
    return "\n".join(lines)


def _caffe_layers(step: Step, name: str) -> list[tuple[str, str, str]]:
    s = step.settings
    if step.kind == "input":
        dims = " ".join(f"dim: {n}" for n in (1, *step.shape))
        return [(name, "Input", f"input_param {{ shape {{ {dims} }} }}")]
    if step.kind == "conv":
        filler = 'weight_filler { type: "msra" } bias_filler { type: "uniform" min: -1 max: 1 }'
        return [
            (
                name,
                "Convolution",
                f"convolution_param {{ num_output: {step.shape[0]} kernel_size: {s['kernel']} stride: {s['stride']} "
                f"pad: {s['pad']} dilation: {s['dilation']} group: {s['groups']} "
                f"bias_term: {str(s['bias']).lower()} {filler} }}",
            )
        ]
    if step.kind == "linear":
        filler = 'weight_filler { type: "xavier" } bias_filler { type: "uniform" min: -1 max: 1 }'
        return [(name, "InnerProduct", f"inner_product_param {{ num_output: {step.shape[0]} {filler} }}")]
    if step.kind == "norm":
        scale = 'scale_param { bias_term: true filler { type: "uniform" min: 0.5 max: 2 } }'
        return [(name, "BatchNorm", ""), (f"{name}s", "Scale", scale)]
    if step.kind == "pool":
        method = {"max": "MAX", "average": "AVE"}[s["method"]]
        window = f"kernel_size: {s['kernel']} stride: {s['stride']} pad: {s['pad']}"
        return [(name, "Pooling", f"pooling_param {{ pool: {method} {window} }}")]
    if step.kind == "mean":
        return [(name, "Pooling", "pooling_param { pool: AVE global_pooling: true }")]
    return [(name, {"relu": "ReLU", "sum": "Eltwise", "cat": "Concat"}[step.kind], "")]


class DrawnModule(nn.Module):
    """The net in PyTorch; a step's module, where it has one, has its name."""

    def __init__(self, steps: list[Step], called: list[str], random: Random, *, same_form: bool = False) -> None:
        super().__init__()
        self.steps, self.called = steps, called
        self.inside: dict[int, int] = {}  # a norm that is folded into the sum before it
        self.flip = random.random() < 0.5
        made: list[tuple[str, nn.Module]] = []
        for place, step in enumerate(steps):
            module = self._module(place, step, random, same_form)
            if module is not None:
                made.append((called[place], module))
        random.shuffle(made)
        for name, module in made:
            self.add_module(name, module)

    def _module(self, place: int, step: Step, random: Random, same_form: bool) -> nn.Module | None:
        s = step.settings
        if step.kind == "conv":
            behind = [later for later, each in enumerate(self.steps) if place in each.reads]
            normed = len(behind) == 1 and self.steps[behind[0]].kind == "norm"
            bias = s["bias"]
            if normed and not same_form and random.random() < 0.5:
                bias = not bias
            if normed and not same_form and random.random() < 0.2:
                self.inside[behind[0]], bias = place, True
            channels = self.steps[step.reads[0]].shape[0]
            window = {"stride": s["stride"], "padding": s["pad"], "dilation": s["dilation"], "groups": s["groups"]}
            return nn.Conv2d(channels, step.shape[0], s["kernel"], **window, bias=bias)
        if step.kind == "linear":
            source = self.steps[step.reads[0]].shape
            if self.steps[step.reads[0]].kind == "mean" and random.random() < 0.5:
                return nn.Conv2d(source[0], step.shape[0], 1)
            return nn.Linear(int(torch.Size(source).numel()), step.shape[0])
        if step.kind == "norm" and place not in self.inside:
            return nn.BatchNorm2d(step.shape[0], eps=random.choice([1e-5, 1e-3]) if not same_form else 1e-5)
        if step.kind == "pool":
            pool = nn.MaxPool2d if s["method"] == "max" else nn.AvgPool2d
            return pool(s["kernel"], s["stride"], s["pad"], ceil_mode=random.random() < 0.5 or s["pad"] == 0)
        if step.kind == "mean" and random.random() < 0.5:
            return nn.AdaptiveAvgPool2d(1)
        if step.kind == "relu" and random.random() < 0.5:
            return nn.ReLU6() if "most" in s else nn.ReLU(inplace=random.random() < 0.3 and self._alone(place))
        return None

    def _alone(self, place: int) -> bool:
        """Whether nobody else reads what a step reads."""
        (source,) = self.steps[place].reads
        return sum(source in step.reads for step in self.steps) == 1 and self.steps[source].kind != "input"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: list[torch.Tensor] = []
        for place, step in enumerate(self.steps):
            sources = [made[source] for source in step.reads]
            own = getattr(self, self.called[place], None)
            if step.kind == "input":
                made.append(x)
            elif isinstance(own, nn.Linear):
                flat = sources[0].flatten(1) if self.flip else sources[0].reshape(sources[0].shape[0], -1)
                made.append(own(flat))
            elif own is not None:
                made.append(own(*sources))
            else:
                made.append(self._function(step, sources))
        return made[-1]

    def _function(self, step: Step, sources: list[torch.Tensor]) -> torch.Tensor:
        if step.kind == "relu":
            return functional.relu6(sources[0]) if "most" in step.settings else functional.relu(sources[0])
        if step.kind == "sum":
            total = sources[0]
            for each in sources[1:]:
                total = total + each
            return total
        if step.kind == "cat":
            return torch.cat(sources, 1)
        if step.kind == "mean":
            return sources[0].mean((2, 3), keepdim=True)
        return sources[0]  # a norm that is folded, or what is planted as missing
