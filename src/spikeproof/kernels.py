"""Builds the kernels of ``templates`` and calls their functions.

``neurons``: all time steps of a layer's neurons in one pass over memory. NumPy's and torch's operations pass over memory once each,
a dozen times a step. Where they cannot be built, or ``SPIKEPROOF_KERNELS=0`` says so, callers compute the same with NumPy's or
torch's operations. ``convolutions``: those of :mod:`spikeproof.winograd`, where a training asks for them.

A library is built by the C++ compiler (``CXX``, else g++) when something first wants it, in a few seconds, and kept in
``$XDG_CACHE_HOME/spikeproof`` (``~/.cache/spikeproof``), one for each source, compiler and processor.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from .files import cache_folder

__all__ = ["call", "complaint", "library", "needed", "processor"]

TEMPLATES = Path(__file__).parent / "templates"
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-fwrapv", "-fopenmp", "-shared", "-fPIC")
# Sums and products of neurons are rounded one by one, as torch's are: what may not be joined gives the same bits everywhere.
OWN_FLAGS = {"neurons": ("-ffp-contract=off",), "convolutions": ("-ffp-contract=fast",)}


def processor() -> str:
    """What ``-march=native`` looks at."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _source(name: str) -> Path:
    return TEMPLATES / f"{name}.cpp"


def _build(name: str, compiler: list[str], folder: Path, key: str) -> Path:
    """Compile into a folder, whole or not at all -> the file, which has its digest in its name."""
    handle, work = tempfile.mkstemp(suffix=".so", dir=folder)
    os.close(handle)
    try:
        subprocess.run([*compiler, *FLAGS, *OWN_FLAGS[name], "-o", work, str(_source(name))], check=True, capture_output=True,
                       text=True)
        path = folder / f"{key}-{_digest(Path(work).read_bytes())}.so"
        os.replace(work, path)
    except BaseException:
        os.unlink(work)
        raise
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _kept(folder: Path, key: str) -> Path | None:
    """What was built before, unless it is not any more what was written."""
    return next((path for path in folder.glob(f"{key}-*.so") if path.stem == f"{key}-{_digest(path.read_bytes())}"), None)


@cache
def _found(name: str) -> tuple[ctypes.CDLL | None, str]:
    """(the kernels, built where they are not yet, or None; why there are none, or "" where they are unwanted)."""
    if os.environ.get("SPIKEPROOF_KERNELS", "").lower() in ("0", "no", "off", "false"):
        return None, ""
    given = os.environ.get("CXX") or "g++"
    try:
        compiler = shlex.split(given)
        version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, text=True).stdout
        told = [_source(name).read_text(), given, version, *FLAGS, *OWN_FLAGS[name], processor()]
        key = f"{name}-{_digest(chr(10).join(told).encode())}"
        try:
            base = cache_folder()
            base.mkdir(parents=True, exist_ok=True)
            return ctypes.CDLL(str(_kept(base, key) or _build(name, compiler, base, key))), ""
        except (OSError, RuntimeError):                              # no home to write to: for this process alone
            with tempfile.TemporaryDirectory() as own:
                return ctypes.CDLL(str(_build(name, compiler, Path(own), key))), ""
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        why = error.stderr.strip().splitlines()[-1] if isinstance(error, subprocess.CalledProcessError) and error.stderr else error
        return None, f"{given} does not build their kernels ({why})"


def library(name: str = "neurons") -> ctypes.CDLL | None:
    """The kernels, or None where they cannot be built or must not be used."""
    return _found(name)[0]


def complaint() -> str:
    """A sentence on why those of neurons could not be built, for who waits for a training; empty where they are or need not be."""
    why = _found("neurons")[1]
    return f"neurons are computed by torch's own operations, which takes longer: {why}" if why else ""


def needed(name: str) -> ctypes.CDLL:
    """The kernels.

    Raises
    ------
    RuntimeError
        Where they cannot be built or must not be used, which says why.
    """
    found, why = _found(name)
    if found is None:
        raise RuntimeError(why or f"SPIKEPROOF_KERNELS={os.environ['SPIKEPROOF_KERNELS']} forbids their kernels")
    return found


def _kind(x: object) -> type[ctypes._SimpleCData[Any]]:
    """What C gets of an argument: a number, or a place in memory."""
    return ctypes.c_long if isinstance(x, int) else ctypes.c_double if isinstance(x, float) else ctypes.c_void_p


def _place(x: Any) -> Any:
    """Where a tensor, a structure or an array lies."""
    if hasattr(x, "data_ptr"):
        return x.data_ptr()
    return ctypes.byref(x) if isinstance(x, ctypes.Structure) else x.ctypes.data


def call(found: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a function of the library with arrays or tensors (contiguous, of the types that the source declares), None, ints,
    floats and structures."""
    called = getattr(found, function)
    if called.argtypes is None:
        called.argtypes = [*map(_kind, arguments)]
    called(*[x if x is None or isinstance(x, (int, float)) else _place(x) for x in arguments])
