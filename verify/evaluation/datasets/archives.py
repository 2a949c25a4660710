"""Archives as stores: an index of places, made once; then each file is one read at its place, nothing is written.

tar     as it is. A compressed one has no places to jump to, so it is decompressed once, into a temporary file without
        a name: in every process that reads, which the notes say
zip     each file decompressed when it is read (stored and deflated ones, as every zip tool writes), checksum included
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import IO, Any, Final

import numpy as np

from prototxt.errors import Position, RequestError
from prototxt.words import plural, unreadable
from verify.evaluation.datasets.decoding import LARGEST_FILE
from verify.evaluation.datasets.stores import SharedFile, hidden, too_large
from verify.evaluation.records import ImageFault

_COMPRESSED: Final[dict[bytes, Callable[..., Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_FOREIGN: Final = {
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
}
_DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,  # a chain of headers that each announce another
    NotImplementedError,
)
EXPANSION: Final = 100
ALWAYS_EXPANDED: Final = 256 << 20
"""A compressed tar may make so many bytes, and so many times its own: pixels as they are make ten times."""

_ZIP_LOCAL: Final = struct.Struct("<4s5H3I2H")


class Decompressed(SharedFile):
    """A gzip, bzip2 or xz file, read as what is in it; that lies in a temporary file without a name."""

    def open(self) -> int:
        with open(self.path, "rb") as file:
            head = file.read(6)
        (expand,) = (opener for magic, opener in _COMPRESSED.items() if head.startswith(magic))
        with tempfile.TemporaryFile(prefix="resnet-convert-") as target:
            left = ALWAYS_EXPANDED + EXPANSION * os.path.getsize(self.path)
            with expand(self.path, "rb") as source:
                while left >= 0 and (piece := source.read(1 << 20)):
                    left -= target.write(piece)
            if left < 0:
                raise tarfile.ReadError(f"it expands to more than {EXPANSION} times its size")
            target.flush()
            return os.dup(target.fileno())


class TarStore:
    """The files in a tar; the last of several with one name, as when it is unpacked. Symbolic links are left out."""

    def __init__(self, path: str, *, compressed: bool) -> None:
        """Index the archive.

        Raises:
            RequestError: it is damaged, cut short or no tar, or there is no room for the temporary file.
        """
        self.where = path
        self.file = Decompressed(path) if compressed else SharedFile(path)
        try:
            with os.fdopen(os.dup(self.file.descriptor()), "rb") as file:
                file.seek(0)
                entries, self.folders, repeated, links = _index_tar(file)
                size = os.fstat(file.fileno()).st_size
        except _DAMAGE as fault:
            raise _damaged(path, "tar", fault) from fault
        except OSError as fault:
            raise _unreadable(path, fault, temporary=compressed) from fault
        if any(offset + length > size for offset, length in entries.values()):
            raise RequestError("the archive is cut short", position=Position(path))
        self.names = sorted(entries)
        self._places = np.array([entries[name] for name in self.names], np.int64).reshape(-1, 2)
        self.notes = tuple(_tar_notes(path, size if compressed else 0, repeated, links))

    def extent(self, place: int) -> tuple[int, int]:
        """Where in `file` the bytes of `names[place]` begin, and how many they are."""
        offset, size = self._places[place].tolist()
        return offset, size

    def read(self, place: int) -> bytes:
        offset, size = self.extent(place)
        if size > LARGEST_FILE:
            raise ImageFault(too_large(size))
        return _read(self.file, offset, size)


class ZipStore:
    """The files in a zip."""

    def __init__(self, path: str) -> None:
        """Index the archive.

        Raises:
            RequestError: it is damaged or encrypted.
        """
        self.where = path
        self.file = SharedFile(path)
        try:
            with zipfile.ZipFile(path) as archive:
                infos = {_clean(info.filename): info for info in archive.infolist()}
                repeated = len(archive.infolist()) - len(infos)
        except _DAMAGE as fault:
            raise _damaged(path, "zip", fault) from fault
        except OSError as fault:
            raise _unreadable(path, fault) from fault
        folders = [name for name, info in infos.items() if info.filename.endswith("/")]
        files = {name: infos[name] for name in infos.keys() - folders if name and not hidden(name)}
        self.names = sorted(files)
        self.folders = _folders([*files, *(f"{name}/" for name in folders)])
        chosen = [files[name] for name in self.names]
        if any(info.flag_bits & 1 for info in chosen):
            raise RequestError("the archive is encrypted; unpack it first", position=Position(path))
        self._places = np.array(
            [(i.header_offset, i.compress_size, i.file_size, i.CRC, i.compress_type) for i in chosen], np.int64
        ).reshape(-1, 5)
        self.notes = (_repeated(repeated),) if repeated else ()

    def read(self, place: int) -> bytes:
        offset, packed, size, checksum, method = self._places[place].tolist()
        if max(size, packed) > LARGEST_FILE:
            raise ImageFault(too_large(max(size, packed)))
        head = _read(self.file, offset, _ZIP_LOCAL.size)
        magic, *_, name_length, extra_length = _ZIP_LOCAL.unpack(head)
        if magic != b"PK\3\4":
            raise ImageFault("the archive is damaged there")
        data = _read(self.file, offset + _ZIP_LOCAL.size + name_length + extra_length, packed)
        if method == zipfile.ZIP_DEFLATED:
            data = _inflate(data, size)
        elif method != zipfile.ZIP_STORED:
            raise ImageFault(f"it is compressed by method {method} of zip, which is not read here")
        if len(data) != size or zlib.crc32(data) != checksum:
            raise ImageFault("its checksum is wrong, so the archive is damaged there")
        return data


def open_archive(path: str, head: bytes) -> TarStore | ZipStore | None:
    """The store, by the file's first bytes; None where it is no archive.

    Args:
        path: of a regular file.
        head: at least 263 bytes from its start, where it has them.

    Raises:
        RequestError: an archive of a kind that is not read, or a damaged one.
    """
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise RequestError(f"is {kind}; unpack it, or make a .tar of it", position=Position(path))
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return ZipStore(path)
    if head.startswith(tuple(_COMPRESSED)):
        return TarStore(path, compressed=True)
    if head[257:262] == b"ustar" or path.lower().endswith(".tar"):
        return TarStore(path, compressed=False)
    return None


def _index_tar(file: IO[bytes]) -> tuple[dict[str, tuple[int, int]], list[str], int, int]:
    """Offset and size by name, folders, and how many names came again and how many links were left out."""
    entries: dict[str, tuple[int, int]] = {}
    folders: list[str] = []
    repeated = links = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        before = -1
        while (member := archive.next()) is not None:
            if archive.offset <= before:  # a size below 0 leads back, and on for ever
                raise tarfile.ReadError(f"it goes back at byte {before}")
            before = archive.offset
            vars(archive)["members"] = []  # else the library keeps an object for each
            name = _clean(member.name)
            if not name or hidden(name):
                continue
            if member.isdir():
                folders.append(f"{name}/")
            elif member.isreg() and not member.issparse():
                repeated += name in entries
                entries[name] = (member.offset_data, member.size)
            elif member.islnk() and _clean(member.linkname) in entries:
                entries[name] = entries[_clean(member.linkname)]
            else:
                links += 1
        _check_end(file, archive.offset)
    return entries, _folders([*entries, *folders]), repeated, links


def _check_end(file: IO[bytes], offset: int) -> None:
    """A tar ends with blocks of zeros; the library also stops, without a word, where it cannot read on.

    Raises:
        tarfile.ReadError: it stopped before the end.
    """
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it does not go on at byte {offset}, and has no end mark there")


def _tar_notes(path: str, expanded: int, repeated: int, left_out: int) -> Iterable[str]:
    if expanded:
        yield (
            f"{os.path.basename(path)} is compressed, so every process that reads it first decompresses it into a "
            f"temporary file of {max(expanded >> 20, 1)} MB; a plain .tar spares that"
        )
    if repeated:
        yield _repeated(repeated)
    if left_out:
        yield f"left out {plural(left_out, 'file')} of the archive: links, or no regular files"


def _repeated(count: int) -> str:
    return f"{plural(count, 'name')} more than once in the archive; the last file counts"


def _folders(names: Iterable[str]) -> list[str]:
    """Every folder above the names, sorted; a name with a `/` at its end is itself a folder."""
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found and not hidden(f"{folder}/"):
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return sorted(found)


def _clean(name: str) -> str:
    """An archive's name for a file without `./` before it and `/` after it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name.rstrip("/")


def _inflate(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-15).decompress(data, max(size, 1))
    except zlib.error as fault:
        raise ImageFault("the archive is damaged there") from fault


def _read(file: SharedFile, offset: int, size: int) -> bytes:
    try:
        data = file.read(offset, size)
    except (OSError, OverflowError) as fault:
        raise ImageFault(f"the archive {unreadable(fault)}") from fault
    if len(data) < size:
        raise ImageFault("the archive is cut short there")
    return data


def _damaged(path: str, kind: str, fault: BaseException) -> RequestError:
    return RequestError(f"is no {kind} archive, or a damaged one: {fault}", position=Position(path))


def _unreadable(path: str, fault: OSError, *, temporary: bool = False) -> RequestError:
    hint = f" (it is decompressed into {tempfile.gettempdir()}; TMPDIR names another place)" if temporary else ""
    return RequestError(unreadable(fault) + hint, position=Position(path))
