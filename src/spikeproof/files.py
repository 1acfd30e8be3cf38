"""Files written whole or not at all, digests, and the tensors-plus-description container.

Network files, prepared data and checkpoints are all safetensors: plain tensors with a JSON
description in the metadata, and a SHA-256 over both that is checked on every read. No pickle.
"""
import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

__all__ = ["CorruptFile", "atomic_path", "canonical_json", "read_container", "sha256_file",
           "write_container", "write_json", "write_text"]


class CorruptFile(ValueError):
    """A file is truncated, altered or of another kind; the message says what to do."""


@contextmanager
def atomic_path(path):
    """Yield a temporary path beside ``path``; on success it replaces ``path``, else it is removed."""
    path = Path(path)
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


def write_text(path, text):
    """Write text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def canonical_json(value):
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path, value):
    """Write JSON atomically, indented for readers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_file(path):
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(description, tensors):
    total = hashlib.sha256(canonical_json(description).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(canonical_json([name, array.dtype.str, list(array.shape)]).encode())
        total.update(array.data if array.size else b"")
    return total.hexdigest()


def write_container(path, kind, description, tensors):
    """Write tensors (dict of numpy arrays) and a JSON description; returns the digest of both."""
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    digest = _digest(description, tensors)
    # One metadata key: safetensors writes several in random order, and equal content shall give equal bytes.
    metadata = canonical_json({"kind": kind, "description": description, "sha256": digest})
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"spikeproof": metadata})
    return digest


def read_container(path, kind, remedy):
    """Read what :func:`write_container` wrote -> (description, tensors, digest).

    Parameters
    ----------
    kind : the kind that the file must have
    remedy : what the user should do about a bad file; it ends the error's sentence

    Raises
    ------
    FileNotFoundError
        If there is no file.
    CorruptFile
        If it cannot be read, is of another kind, or does not match its digest.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {remedy}")
    try:
        with safe_open(path, "numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("spikeproof", "{}"))
            if metadata.get("kind") != kind:
                raise CorruptFile(f"{path} is not a {kind} file: {remedy}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        description = metadata["description"]
    except (SafetensorError, AttributeError, KeyError, TypeError, json.JSONDecodeError):
        raise CorruptFile(f"{path} is truncated or not a {kind} file: {remedy}") from None
    digest = _digest(description, tensors)
    if digest != metadata.get("sha256"):
        raise CorruptFile(f"{path} was altered after it was written (its digest does not match): {remedy}")
    return description, tensors, digest
