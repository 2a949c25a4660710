#!/usr/bin/env python3
"""Fine-tune the embedded ResNet in PyTorch with Caffe's own solver, and draw what happens.

    python examples/finetune.py [--iterations 200] [-o moved_digits]

The net has seen its digits in the middle of the image only. Here it learns digits that are moved by up to two pixels,
from its train_val.prototxt, solver.prototxt and caffemodel and the 1,297 images that the original Caffe trained it on.
Caffe's moving averages lag behind weights that change so fast, so at the end BatchNorm's statistics are computed anew,
as MSRA did. Writes moved_digits.png and moved_digits.caffemodel. Needs
`pip install 'resnet-convert[torch,evaluate]' matplotlib`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

import resnet_convert
from converter.recalibration.recalibrate import recalibrate, write_weights
from resnet_convert import Options, Solver, trainable

DIGITS = Path(__file__).resolve().parent / "digits"
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("-o", dest="output", default="moved_digits", help="name of what is written (%(default)s)")
    arguments = parser.parse_args()
    torch.manual_seed(0)

    net = resnet_convert.load_net(DIGITS / "train_val.prototxt", phase="TRAIN")
    options = Options(input_shapes={"data": (BATCH, 1, 16, 16), "label": (BATCH,)}, outputs=["loss", "fc10"])
    with resnet_convert.open_weights(DIGITS / "digits_resnet.caffemodel") as weights:
        made = trainable(net, weights, options=options)
    solver = Solver(DIGITS / "solver.prototxt", made.module, made.learnables, net=net)

    images, labels = training_images()
    errors = [(0, validation_error(made.module))]
    print(f"before: error {errors[0][1]:.1%} on digits moved by up to two pixels")
    batches, losses = shuffled(images, labels), []
    for iteration in range(1, arguments.iterations + 1):
        done = solver.step(lambda: made.module.objective(made.module(*next(batches))))
        losses.append(done.loss)
        if iteration % 50 == 0 or iteration == arguments.iterations:
            errors.append((iteration, validation_error(made.module)))
            recent = np.mean(losses[-50:])
            print(f"iteration {iteration}: rate {done.rate:g}, loss {recent:.4f}, error {errors[-1][1]:.1%}")

    target = Path(f"{arguments.output}.caffemodel")
    write_with_new_statistics(solver, images, target)
    final = validation_error(resnet_convert.load(DIGITS / "deploy.prototxt", target))
    print(f"with BatchNorm's statistics computed anew: error {final:.1%}")
    draw(losses, errors, final, f"{arguments.output}.png")
    print(f"-> {target}, {arguments.output}.png")


def training_images() -> tuple[torch.Tensor, torch.Tensor]:
    """1297×1×16×16, 0 to 255, and their labels."""
    with np.load(DIGITS / "train.npz") as file:
        return torch.from_numpy(file["pixels"]).float()[:, None], torch.from_numpy(file["labels"]).float()


def moved(images: torch.Tensor, seed: torch.Generator) -> torch.Tensor:
    """What the net is fed: each image moved by -2 to 2 pixels down and right, black coming in, less the mean."""
    wide = torch.nn.functional.pad(images, (2, 2, 2, 2))
    places = torch.randint(0, 5, (len(images), 2), generator=seed).tolist()
    parts = [image[:, y : y + 16, x : x + 16] for image, (y, x) in zip(wide, places, strict=True)]
    return torch.stack(parts) - torch.from_numpy(resnet_convert.load_mean(DIGITS / "mean.binaryproto"))


def shuffled(images: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches without end, each image once before any comes again, moved anew each time."""
    seed = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield moved(images[chosen], seed), labels[chosen]


def validation_error(module: torch.nn.Module) -> float:
    """Top-1 error on the 500 validation images, moved, as Caffe's phase TEST computes it."""
    rows = [line.split() for line in (DIGITS / "val.txt").read_text().splitlines()]
    pixels = [cv2.imread(str(DIGITS / "val" / name), cv2.IMREAD_GRAYSCALE) for name, _ in rows]
    labels = torch.tensor([int(label) for _, label in rows])
    images = moved(torch.from_numpy(np.stack(pixels)).float()[:, None], torch.Generator().manual_seed(1))
    training = module.training
    module.eval()
    with torch.no_grad():
        scores = module(images, labels.float())["fc10"] if training else module(images)
    module.train(training)
    return float((scores.argmax(1) != labels).float().mean())


def write_with_new_statistics(solver: Solver, images: torch.Tensor, target: Path) -> None:
    """The solver's weights with BatchNorm's means and variances over all training images."""
    feeds = [{"data": moved(images, torch.Generator().manual_seed(2)).numpy()}]
    with tempfile.TemporaryDirectory() as folder:
        snapshot, _ = solver.snapshot(Path(folder) / "moved")
        with resnet_convert.open_weights(snapshot) as weights:
            deploy = resnet_convert.load_net(DIGITS / "deploy.prototxt")
            write_weights(recalibrate(deploy, weights, lambda: feeds), target)


def draw(losses: list[float], errors: list[tuple[int, float]], final: float, path: str) -> None:
    """The training loss of each iteration, and the validation error."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
    above.semilogy(range(1, len(losses) + 1), losses, linewidth=1)
    above.set_ylabel("training loss")
    above.set_title("ResNet-digits learns moved digits, with Caffe's solver in PyTorch")
    iterations, shares = zip(*errors, strict=True)
    below.plot(iterations, [100 * share for share in shares], marker="o", label="moving averages")
    below.plot(iterations[-1:], [100 * final], marker="s", linestyle="", label="statistics computed anew")
    below.set_ylim(bottom=0)
    below.set_ylabel("validation error, %")
    below.set_xlabel("iteration")
    below.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
