"""Builds ``templates/neurons.cpp`` and calls its functions: all time steps of a layer's neurons in one pass over memory.

NumPy's and torch's operations pass over memory once each, a dozen times a step, which takes a training more time than its
convolutions. The library is built by the C++ compiler (``CXX``, else g++) when something first wants it, in a few seconds, and
kept in ``$XDG_CACHE_HOME/spikeproof`` (``~/.cache/spikeproof``), one for each source, compiler and processor. Where it cannot be
built, or ``SPIKEPROOF_KERNELS=0`` says so, callers compute the same with NumPy's or torch's operations.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["call", "library"]

SOURCE = Path(__file__).parent / "templates/neurons.cpp"
# Sums and products are rounded one by one, as torch's are: what the compiler may not join gives the same bits everywhere.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fwrapv", "-fopenmp",
         "-shared", "-fPIC")


def _processor() -> str:
    """What ``-march=native`` looks at."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    return platform.processor()


def _build(compiler: str, to: Path) -> None:
    """Compile into a file, whole or not at all."""
    handle, work = tempfile.mkstemp(suffix=".so", dir=to.parent)
    os.close(handle)
    try:
        subprocess.run([compiler, *FLAGS, "-o", work, str(SOURCE)], check=True, capture_output=True, text=True)
        os.replace(work, to)
    except BaseException:
        os.unlink(work)
        raise


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, built where they are not yet; None where they cannot be or must not, which is told once on the error stream."""
    if os.environ.get("SPIKEPROOF_KERNELS") == "0":
        return None
    compiler = os.environ.get("CXX") or "g++"
    try:
        version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
        key = hashlib.sha256("\n".join([SOURCE.read_text(), compiler, version, *FLAGS, _processor()]).encode()).hexdigest()[:24]
        try:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeproof"
            base.mkdir(parents=True, exist_ok=True)
            path = base / f"neurons-{key}.so"
            if not path.exists():
                _build(compiler, path)
            return ctypes.CDLL(str(path))
        except (OSError, RuntimeError):                              # no home to write to: for this process alone
            with tempfile.TemporaryDirectory() as own:
                path = Path(own) / "neurons.so"
                _build(compiler, path)
                return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        told = error.stderr.strip().splitlines()[-1] if isinstance(error, subprocess.CalledProcessError) and error.stderr else error
        print(f"neurons are computed by NumPy's and torch's own operations, which takes longer: {compiler} does not build kernels "
              f"({told})", file=sys.stderr)
        return None


def _argument(x: Any) -> Any:
    """What a function of the library is given: of an array or a tensor its place in memory, of a number a long or a double."""
    if x is None or hasattr(x, "data_ptr"):
        return ctypes.c_void_p(None if x is None else x.data_ptr())
    if hasattr(x, "ctypes"):
        return ctypes.c_void_p(x.ctypes.data)
    if isinstance(x, ctypes.Structure):
        return ctypes.byref(x)
    return ctypes.c_double(x) if isinstance(x, float) else ctypes.c_long(x)


def call(found: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call a function of the library with arrays or tensors (contiguous, of the types that the source declares), None, ints,
    floats and structures."""
    found[function](*map(_argument, arguments))
