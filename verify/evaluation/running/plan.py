"""Which images a run scores, and in which batches: fixed beforehand, whoever works on them and in whatever order.

A batch is always the same images in the same places, so an interrupted run, another number of workers or another
machine gives the same numbers: a runtime may round differently in a batch of another size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prototxt.errors import CaffeModelError, Position, RequestError
from verify.engines.engine import Array
from verify.evaluation.records import Decoded, ImageFault, Item, Source
from verify.evaluation.running.results import RESULT, BatchResult, assess
from verify.evaluation.running.scorers import Scorer
from verify.evaluation.running.transform import Room, Transform

UNKNOWN_SIZE = (512, 512)
"""Height and width that an image of unknown size is taken to have."""


class UnfitImageError(RequestError):
    """A whole image on which the model fails; `image` is its name and `size` the height and width that were fed."""

    image: str = ""
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Plan:
    """Images, what is done to them, and how they are divided.

    Attributes:
        source: the data set.
        transforms: from image to input; the scores of several (scales) are averaged.
        indices: of the images that are scored, in order.
        batch: images in a batch.
        keep_scores: whether a batch's scores are kept beside its results.
    """

    source: Source
    transforms: tuple[Transform, ...]
    indices: npt.NDArray[np.int64]
    batch: int
    keep_scores: bool = False

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-len(self.indices) // self.batch)

    @property
    def image_bytes(self) -> int:
        """About how much memory an image's inputs take."""
        sizes = [transform.crop or UNKNOWN_SIZE for transform in self.transforms]
        views = zip(self.transforms, sizes, strict=True)
        return sum(4 * each.views * each.channels * height * width for each, (height, width) in views)

    def images(self, batch: int) -> list[int]:
        """Indices of a batch's images."""
        start = batch * self.batch
        return [int(index) for index in self.indices[start : start + self.batch]]

    def read(self, batch: int, rooms: Sequence[Room] = ()) -> Loaded:
        """Read, decode and preprocess a batch; what cannot be read is left out and named.

        Args:
            batch: its number.
            rooms: one for each transform: where the inputs are put, good until they are used again.

        Raises:
            RequestError: an image whose size does not go with the net's input, with its name.
        """
        loaded = Loaded(batch)
        loaded.whole = self.transforms[0].crop is None
        pixels: list[Decoded] = []
        for index in self.images(batch):
            try:
                decoded = self.source.read(index, color=self.transforms[0].color)
            except ImageFault as error:
                loaded.skipped.append((index, str(error)))
                continue
            for kind in decoded.kinds:
                loaded.kinds[kind] = loaded.kinds.get(kind, 0) + 1
            loaded.indices.append(index)
            loaded.items.append(self.source.item(index))
            pixels.append(decoded)
        try:
            places = rooms or [Room() for _ in self.transforms]
            loaded.inputs = [_inputs(each, pixels, room) for each, room in zip(self.transforms, places, strict=True)]
        except RequestError as error:
            raise self._refusal(loaded.items, pixels, error) from None
        return loaded

    def _refusal(self, items: Sequence[Item], pixels: Sequence[Decoded], error: RequestError) -> RequestError:
        """The error with the name of the first image that a transform refuses."""
        for item, decoded in zip(items, pixels, strict=True):
            try:
                for transform in self.transforms:
                    transform.apply(decoded.pixels)
            except RequestError as own:
                return RequestError(f"{item.name}: {own.message}", position=Position(self.source.where))
        return error

    def fingerprint(self) -> str:
        """Tells two plans apart: other images, labels, order, batches or preprocessing."""
        digest = hashlib.sha256(f"{self.batch}|{len(self.indices)}".encode())
        for transform in self.transforms:
            digest.update(str(transform).encode())
            if transform.mean is not None:
                digest.update(np.ascontiguousarray(transform.mean).tobytes())
        for item in self._items():
            digest.update(f"{item.name}\0{item.label}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _items(self) -> Iterator[Item]:
        return (self.source.item(int(index)) for index in self.indices)


class Loaded:
    """A batch that was read: indices and items of its images, and their inputs."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.indices: list[int] = []
        self.items: list[Item] = []
        self.inputs: list[list[Array]] = []  # by transform
        self.whole = False  # whether each image has an array of its own
        self.skipped: list[tuple[int, str]] = []
        self.kinds: dict[str, int] = {}


def score(loaded: Loaded, scorer: Scorer, *, keep_scores: bool = False) -> BatchResult:
    """Score a batch that was read; the scores of an image's views are averaged."""
    return result(loaded, scores_of(loaded, scorer), keep_scores=keep_scores)


def scores_of(loaded: Loaded, scorer: Scorer) -> Array:
    """The scores of a batch, N×K; 0×0 where no image could be read."""
    if not loaded.indices:
        return np.zeros((0, 0), np.float32)
    views = [_scores(inputs, loaded.items, scorer, whole=loaded.whole) for inputs in loaded.inputs]
    return views[0][:, 0] if len(views) == 1 and views[0].shape[1] == 1 else _average(views)


def result(loaded: Loaded, scores: Array, *, keep_scores: bool = False) -> BatchResult:
    """What became of a batch, by its scores N×K."""
    skipped = tuple(loaded.skipped)
    if not loaded.indices:
        return BatchResult(loaded.batch, 0, np.zeros(0, RESULT), skipped, loaded.kinds)
    results = assess(loaded.indices, [item.label for item in loaded.items], scores)
    kept = scores if keep_scores else None
    return BatchResult(loaded.batch, scores.shape[1], results, skipped, loaded.kinds, kept)


def _scores(inputs: Sequence[Array], items: Sequence[Item], scorer: Scorer, *, whole: bool) -> Array:
    """N×V×K."""
    if whole:
        scores = np.concatenate([_scores_of(item, part, scorer) for item, part in zip(items, inputs, strict=True)])
    else:
        scores = np.concatenate([scorer.scores(part) for part in inputs])
    return scores.reshape(len(items), -1, scores.shape[1])


def _scores_of(item: Item, views: Array, scorer: Scorer) -> Array:
    """V×K, of one image."""
    try:
        return scorer.scores(views)
    except CaffeModelError as error:
        height, width = views.shape[2:]
        unfit = UnfitImageError(f"{item.name} at {height}×{width}: {error.message}", position=error.position)
        unfit.layer, unfit.layer_type = error.layer, error.layer_type
        unfit.image, unfit.size = item.name, (height, width)
        raise unfit from error


def _inputs(transform: Transform, pixels: Sequence[Decoded], room: Room) -> list[Array]:
    """One array for all images, or one for each where their sizes differ."""
    if transform.crop is None:
        return [transform.apply(decoded.pixels) for decoded in pixels]
    return [transform.apply_to_all([decoded.pixels for decoded in pixels], room)] if pixels else []


def _average(views: Sequence[Array]) -> Array:
    """Scores N×K from one N×V×K or several: the mean over all views."""
    mean: Array = np.concatenate(views, axis=1).mean(axis=1, dtype=np.float64).astype(np.float32)
    return mean


def choose(images: int, limit: int | None, seed: int) -> npt.NDArray[np.int64]:
    """The images to score: all, or a sample of `limit`, always the same for a seed, in the order of the data set.

    A sample, not the first ones: data sets are often sorted by class.
    """
    if limit is None or limit >= images:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, limit, replace=False))
