"""Where the images with their boxes are written: a file for one image, a folder for several."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from prototxt.errors import Position, RequestError
from resnet_convert.classifying.drawing import WRITTEN, drawn, encoded
from resnet_convert.classifying.images import Images, expanded
from resnet_convert.classifying.records import Box
from resnet_convert.guarding import guard
from resnet_convert.requests import ClassificationRequest
from verify.evaluation.records import Pixels
from weights import Outputs


@dataclass(frozen=True)
class Drawings:
    """The files to write.

    Attributes:
        files: one for each image.
        folder: that all of them go into; None for one file by itself.
    """

    files: tuple[Path, ...]
    folder: Path | None = None

    def write(self, outputs: Outputs, index: int, pixels: Pixels, boxes: Iterable[Box]) -> str:
        """Draw boxes on an image and write it; the path that it will have."""
        target = self.files[index]
        if self.folder is None:
            written = outputs.file(target)
        else:
            if outputs.staged(self.folder) == self.folder:
                outputs.folder(self.folder)
            written = outputs.staged(target)
        written.write_bytes(encoded(drawn(pixels, tuple(boxes)), target.suffix.lower()))
        return os.fspath(target)


def drawings_of(request: ClassificationRequest, images: Images) -> Drawings | None:
    """The files that a request asks for, none of them one that is read; None where it asks for none.

    Raises:
        RequestError: an input would be written over, one file for several images, an ending that is not written.
    """
    if request.output is None:
        guard(request)
        return None
    made = _drawings(os.fspath(request.output), [images.item(index).name for index in range(len(images))])
    guard(request, output=made.files, reading=[each for each in expanded(request.images) if isinstance(each, str)])
    return made


def _drawings(output: str, names: list[str]) -> Drawings:
    path = Path(output)
    is_image = path.suffix.lower() in WRITTEN
    if path.is_dir() or output.endswith((os.sep, "/")) or (len(names) > 1 and not is_image):
        return Drawings(tuple(path / name for name in _file_names(names)), path)
    if len(names) > 1:
        raise RequestError(f"{len(names):,} images go into a folder, not into one file", position=Position(output))
    if not is_image:
        raise RequestError(f"expected a file that ends in {', '.join(WRITTEN)}, or a folder", position=Position(output))
    return Drawings((path,))


def _file_names(names: Iterable[str]) -> Iterator[str]:
    """A file's name for each image, all different: `cat.jpg`, `cat-2.jpg`."""
    used: set[str] = set()
    numbers: dict[str, int] = {}
    for name in names:
        path = PurePath(name)
        ending = path.suffix if path.suffix.lower() in WRITTEN else ".png"
        wish = f"{path.stem}{ending}"
        while wish.lower() in used:
            number = numbers[path.stem] = numbers.get(path.stem, 1) + 1
            wish = f"{path.stem}-{number}{ending}"
        used.add(wish.lower())
        yield wish
