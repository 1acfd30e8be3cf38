"""Files written whole or not at all, digests, and the tensors-plus-description container.

Network files, prepared data and checkpoints are all safetensors: plain tensors with a JSON
description in the metadata, and a SHA-256 over both that is checked on every read. No pickle.
Tensors may be written piece by piece and read as maps of the file, so that data of any size pass through.
"""
from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import BufferedReader
    from typing import Any, TypeAlias

    from .annotations import Array, Json, StrPath

    #: Name of a tensor -> (type as numpy names it, shape).
    Shapes: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]

__all__ = ["DEFLATE", "CorruptFile", "NoRoom", "Pieces", "atomic_path", "cache_folder", "canonical_json", "check_kind",
           "check_output", "content_digest", "digests", "read_container", "read_result", "room", "sha256_file", "stored_digest",
           "stored_kind", "write_container", "write_json", "write_text"]

#: numpy's names of types -> those of the safetensors format.
TYPES = {"|b1": "BOOL", "|u1": "U8", "|i1": "I8", "<u2": "U16", "<i2": "I16", "<u4": "U32", "<i4": "I32", "<u8": "U64",
         "<i8": "I64", "<f2": "F16", "<f4": "F32", "<f8": "F64"}
BLOCK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What deflate, the compression of PNG and HDF5, makes of a byte at most: files that say more lie.
DEFLATE = 1032


class NoRoom(OSError):
    """A disk or quota is full; the message says what to do."""


class CorruptFile(ValueError):
    """A file is truncated, altered or of another kind; the message says what to do."""


@dataclass(frozen=True)
class Pieces:
    """A tensor that is made while it is written.

    Members
    -------
    shape : tuple of int
    dtype : numpy dtype
    make : function without arguments -> iterable of arrays, which laid end to end along axis 0 have that shape
    """
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[], Iterable[Array]]

    def __len__(self) -> int:
        return self.shape[0]


@contextmanager
def room(path: StrPath, size: int | None = None) -> Iterator[None]:
    """Say in one sentence that a disk (or quota) is full, when writing ``path`` of ``size`` bytes fails for that reason."""
    try:
        yield
    except NoRoom:
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        need = "" if size is None else f" for its {size / 1e6:,.1f} MB"
        raise NoRoom(error.errno, f"{path} was not written: there is no room{need} ({os.strerror(error.errno)}); free some, or "
                     "put the folder on another disk") from None


def _check_file(path: Path) -> None:
    """ValueError where a file that is to be written would take the place of something else."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} must be a file to write, but is a {'folder' if path.is_dir() else 'device or a pipe'}")


def check_output(path: StrPath, folder: bool = False) -> None:
    """Make the folder that something is to be written in, before any work is done for it.

    Raises
    ------
    ValueError
        If ``path`` cannot be written, or is a folder where a file is wanted, or the other way round.
    NoRoom
        If a disk is full.
    """
    path = Path(path)
    if not folder:
        _check_file(path)
    elif path.exists() and not path.is_dir():
        raise ValueError(f"{path} must be a folder to write into, but is a file")
    for above in path.parents:
        if above.exists() and not above.is_dir():
            raise ValueError(f"{path} cannot be written: {above} is a file, not a folder")
    try:
        with room(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                with tempfile.TemporaryFile(dir=path.parent):
                    pass
    except NoRoom:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def atomic_path(path: StrPath, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, else it is removed. A full disk is told by
    :func:`room`."""
    path = Path(path)
    _check_file(path)
    with room(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``$XDG_CACHE_HOME/spikeproof``, else ``~/.cache/spikeproof``. Not made here.

    Raises
    ------
    RuntimeError
        If the user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeproof"


def write_text(path: StrPath, text: str) -> None:
    """Write text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def canonical_json(value: Json) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: StrPath, value: Json) -> None:
    """Write JSON atomically, indented for readers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_file(path: StrPath) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(paths: Iterable[StrPath]) -> dict[str, str]:
    """{path: SHA-256} of files, and of all files in folders among them, sorted."""
    files = {file for path in map(Path, paths) for file in (path.rglob("*") if path.is_dir() else [path]) if not file.is_dir()}
    return {str(file): sha256_file(file) for file in sorted(files)}


def _header(shapes: Shapes, metadata: str) -> tuple[bytes, dict[str, int], int]:
    """The safetensors header of tensors {name: (type, shape)} -> (bytes, {name: first byte of the file}, size of the file)."""
    # Wide types first, so that all are aligned.
    names = sorted(shapes, key=lambda name: (-np.dtype(shapes[name][0]).itemsize, name))
    entries: dict[str, dict[str, Any]]
    at, entries = 0, {}
    for name in names:
        dtype, shape = shapes[name]
        end = at + np.dtype(dtype).itemsize * prod(shape)
        entries[name] = {"dtype": TYPES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = canonical_json({**entries, "__metadata__": {"spikeproof": metadata}}).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    return (len(text).to_bytes(8, "little") + text, {name: start + entries[name]["data_offsets"][0] for name in names}, start + at)


def _pieces(name: str, tensor: Array | Pieces) -> Iterator[memoryview]:
    """The bytes of a tensor, an array or Pieces, piece by piece."""
    rows = 0
    for piece in [tensor] if isinstance(tensor, np.ndarray) else tensor.make():
        if isinstance(tensor, Pieces) and (piece.dtype != tensor.dtype or piece.shape[1:] != tuple(tensor.shape[1:])):
            raise ValueError(f"a piece of {name} must be {tensor.dtype} of shape [n, {', '.join(map(str, tensor.shape[1:]))}], not "
                             f"{piece.dtype} of shape {list(piece.shape)}")
        rows += piece.shape[0] if piece.ndim else 1
        if piece.size:
            yield np.ascontiguousarray(piece).data
    if tensor.shape and rows != tensor.shape[0]:
        raise ValueError(f"{name} must have {tensor.shape[0]} rows, but {rows} were made")


def _digest(description: Json, shapes: Shapes, tensor_digests: Mapping[str, str]) -> str:
    """SHA-256 of a description and of tensors {name: (type, shape)} with their own digests."""
    total = hashlib.sha256(canonical_json(description).encode())
    for name in sorted(shapes):
        dtype, shape = shapes[name]
        total.update(canonical_json([name, dtype, list(shape), tensor_digests[name]]).encode())
    return total.hexdigest()


def _laid_out(tensors: Mapping[str, Array | Pieces]) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...]]]]:
    """Tensors as they are written, in C order, and what each is: ({name: array or Pieces}, {name: (type, shape)})."""
    tensors = {name: tensor if isinstance(tensor, Pieces) else np.ascontiguousarray(tensor).reshape(np.shape(tensor))
               for name, tensor in tensors.items()}
    return tensors, {name: (np.dtype(tensor.dtype).newbyteorder("<").str, tensor.shape) for name, tensor in tensors.items()}


def write_container(path: StrPath, kind: str, description: Json, tensors: Mapping[str, Array | Pieces]) -> str:
    """Write tensors and a JSON description; equal content gives equal bytes.

    Parameters
    ----------
    path : file to write, whole or not at all
    kind : str
    description : JSON value
    tensors : dict name -> numpy array or Pieces

    Returns
    -------
    str, the digest of both

    Raises
    ------
    OSError
        If the disk has no room: before anything is made.
    ValueError
        If pieces do not give the tensor that was announced.
    """
    tensors, shapes = _laid_out(tensors)
    unknown = "0" * 64                                      # the digest's place: it is known when all is written

    def described(digest: str) -> tuple[bytes, dict[str, int], int]:
        return _header(shapes, canonical_json({"kind": kind, "description": description, "sha256": digest}))
    header, places, size = described(unknown)
    digests = {}
    with atomic_path(path, size) as temporary, open(temporary, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)          # a map of a file that cannot grow would die
        file.write(header)
        for name, place in places.items():
            file.seek(place)
            own = hashlib.sha256()
            for piece in _pieces(name, tensors[name]):
                file.write(piece)
                own.update(piece)
            digests[name] = own.hexdigest()
        digest = _digest(description, shapes, digests)
        file.seek(0)
        file.write(described(digest)[0])
    return digest


def _file_digest(file: BufferedReader, start: int, size: int) -> str:
    """SHA-256 of a part of an open file."""
    total, buffer = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(buffer)
    file.seek(start)
    while size:
        count = file.readinto(view[:min(size, BLOCK)])
        if not count:
            break
        total.update(view[:count])
        size -= count
    return total.hexdigest()


def _require(path: Path, remedy: str = "") -> None:
    """FileNotFoundError or CorruptFile, with a remedy, where there is no file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist{remedy}")
    if not path.is_file():
        raise CorruptFile(f"{path} must be a file, not a {'folder' if path.is_dir() else 'device'}{remedy}")


def read_container(path: StrPath, kind: str, remedy: str, mapped: bool = False) -> tuple[dict[str, Any], dict[str, Array], str]:
    """Read what :func:`write_container` wrote -> (description, tensors, digest).

    Parameters
    ----------
    kind : the kind that the file must have
    remedy : what the user should do about a bad file; it ends the error's sentence
    mapped : bool; give tensors as maps of the file, which cannot be written to: whoever uses a part reads that part, and
        processes share it

    Raises
    ------
    FileNotFoundError
        If there is no file.
    CorruptFile
        If it cannot be read, is of another kind, or does not match its digest.
    """
    path = Path(path)
    _require(path, f": {remedy.removeprefix('delete it and ')}")
    try:
        with safe_open(path, "numpy") as file:              # refuses headers that do not fit the file
            metadata = json.loads((file.metadata() or {}).get("spikeproof", "{}"))
        if metadata.get("kind") != kind:
            raise CorruptFile(f"{path} is not a {kind} file: {remedy}")
        description = metadata["description"]
        if not isinstance(description, dict):
            raise CorruptFile(f"{path} is not a {kind} file: {remedy}")
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(length))
            del entries["__metadata__"]
            names = {theirs: ours for ours, theirs in TYPES.items()}
            shapes = {name: (names[entry["dtype"]], tuple(entry["shape"])) for name, entry in entries.items()}
            tensors: dict[str, Array]
            digests, tensors = {}, {}
            for name, entry in entries.items():
                begin, end = entry["data_offsets"]
                digests[name] = _file_digest(file, 8 + length + begin, end - begin)
                dtype, shape = shapes[name]
                if mapped and end > begin:
                    tensors[name] = np.asarray(np.memmap(file, dtype, "r", 8 + length + begin, shape))
                else:
                    file.seek(8 + length + begin)
                    tensors[name] = np.frombuffer(bytearray(file.read(end - begin)), dtype).reshape(shape)
        digest = _digest(description, shapes, digests)
    except CorruptFile:
        raise
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise CorruptFile(f"{path} is truncated or not a {kind} file: {remedy}") from None
    if digest != metadata.get("sha256"):
        raise CorruptFile(f"{path} was altered after it was written (its digest does not match): {remedy}")
    return description, tensors, digest


def _stored(path: StrPath) -> dict[str, str]:
    """What a container says of itself, its content unread: dict with kind and sha256."""
    _require(Path(path))
    try:
        with safe_open(path, "numpy") as file:
            stored = json.loads(file.metadata()["spikeproof"])
        return {"kind": stored["kind"], "sha256": stored["sha256"]}
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        raise CorruptFile(f"{path} is truncated, or no file of this pipeline: name another, or run its stage again") from None


def stored_digest(path: StrPath) -> str:
    """The digest that a container says it has, its content unread: enough to see that it is another one.

    Raises
    ------
    FileNotFoundError, CorruptFile
        If there is no such file, or it is no container.
    """
    return _stored(path)["sha256"]


def check_kind(path: StrPath, kind: str) -> None:
    """Refuse a file that is of another kind, and so not to be replaced; one of this kind may be cut short, or absent.

    Raises
    ------
    ValueError
        If it is another file.
    """
    if Path(path).exists():
        with open(path, "rb") as file:
            start = file.read(1 << 20)
        if start and kind.encode() not in start:                     # the header names it
            raise ValueError(f"{path} must be a {kind} or not exist, but is another file, which would be replaced")


def stored_kind(path: StrPath) -> str:
    """The kind of a container; raises as :func:`stored_digest`."""
    return _stored(path)["kind"]


def content_digest(description: Json, arrays: Mapping[str, Array]) -> str:
    """The digest that :func:`write_container` would give a file of these (dict name -> array)."""
    arrays, shapes = _laid_out(arrays)
    return _digest(description, shapes, {name: hashlib.sha256(of.tobytes()).hexdigest() for name, of in arrays.items()})


def read_result(path: StrPath) -> Json:
    """A stage's result file -> its JSON value."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise CorruptFile(f"{path} is truncated or no JSON: delete it and run Snakemake again") from None
