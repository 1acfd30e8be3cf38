"""Files of NIR (Neuromorphic Intermediate Representation; Pedersen et al., 2024), and the sidecars that say what they leave open.

NIR describes neurons in continuous time. What it leaves open, a :class:`Dialect` says: the time step, how it turns constants into
factors, whether a neuron must be above its threshold or at it, where it is reset to.
"""
from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .files import DEFLATE, sha256_file, write_json
from .spec import check_choice

if TYPE_CHECKING:
    from typing import Any

    import nir

    from .annotations import StrPath

__all__ = ["DIALECTS", "Dialect", "ImportRefused", "read_nir", "read_sidecar", "sidecar_of", "write_sidecar"]

#: How many bytes a graph may hold.
MOST = 1 << 30


class ImportRefused(ValueError):
    """What NIR leaves open and nobody said, or what the integer contract cannot say; one sentence."""


@dataclass(frozen=True)
class Dialect:
    """How a graph is meant, beside what it says. None: not known.

    Members
    -------
    dt : time step, in the unit of the graph's time constants
    decay : "euler" (factor 1 - dt / tau) or "exponential" (e^(-dt / tau))
    gain : what multiplies the input of a leaky neuron: "euler" (R dt / tau), "exponential" (R (1 - e^(-dt / tau))) or "none" (R)
    fires : ">" or ">="
    reset : "soft" (the threshold is subtracted) or "hard" (to 0), in the step of the spike
    """
    dt: float | None = None
    decay: str | None = None
    gain: str | None = None
    fires: str | None = None
    reset: str | None = None

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "decay": ("euler", "exponential"), "gain": ("euler", "exponential", "none"), "fires": (">", ">="),
        "reset": ("soft", "hard")}

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            if getattr(self, name) is not None:
                check_choice(name, getattr(self, name), choices)
        if self.dt is not None and not (isinstance(self.dt, int | float) and 0 < self.dt < math.inf):
            raise ValueError(f"dt must be a number above 0, not {self.dt!r}")

    def over(self, other: Dialect) -> Dialect:
        """What this one knows, and of the rest what the other one knows."""
        return replace(other, **{name: value for name, value in asdict(self).items() if value is not None})


#: How libraries write NIR and what their neurons do, read in their code (snnTorch 1.0, norse 1.1, sinabs 3.1). snnTorch's
#: reset_mechanism is not in its files.
DIALECTS = {
    "snntorch": Dialect(1e-4, "euler", "euler", ">", None),
    "norse": Dialect(1e-3, "euler", "euler", ">", "hard"),
    "sinabs": Dialect(1.0, "exponential", "none", ">=", "soft"),
}


def read_nir(path: StrPath) -> nir.NIRGraph:
    """NIR file -> nir.NIRGraph.

    Raises
    ------
    FileNotFoundError, ImportRefused
        If the file is absent, or no NIR graph.
    """
    import nir
    with open(path, "rb"):
        pass
    try:
        _check_file(path)
        graph = nir.read(path, type_check=False)                     # of shapes, which sinabs leaves open; maps are checked here
    except Exception as error:                                       # whatever a file can do to its reader
        why = " ".join(str(error).split())
        if "type_check" in why:                                      # an option of graphs alone
            raise ImportRefused(f"{path} must hold a graph with an Input and an Output, not a single node") from None
        raise ImportRefused(f"{path} is no NIR graph that can be read ({why})") from None
    if not isinstance(graph, nir.NIRGraph):
        raise ImportRefused(f"{path} must hold a graph with an Input and an Output, not a single node")
    return graph


def _check_file(path: StrPath) -> None:
    """ValueError where an HDF5 file points out of itself, or says that it holds more than it can."""
    import h5py
    total = 0
    with h5py.File(path, "r") as file:
        seen: set[int]
        todo, seen = [file], set()
        while todo:
            group = todo.pop()
            at = h5py.h5o.get_info(group.id).addr
            if at in seen:
                raise ValueError("a group stands in it twice")
            seen.add(at)
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name!r} is a link to elsewhere")
                item = group[name]
                if isinstance(item, h5py.Group):
                    todo.append(item)
                    continue
                if item.is_virtual or item.external:
                    raise ValueError(f"the values of {name!r} are in another file")
                says, stored = item.size * item.dtype.itemsize if item.shape is not None else 0, item.id.get_storage_size()
                if says > DEFLATE * stored and item.shape:
                    raise ValueError(f"{name!r} says that it has {says:,} bytes, which the {stored:,} that are stored cannot be")
                total += says
                if total > MOST:
                    raise ValueError(f"it holds more than {MOST:,} bytes")


def sidecar_of(path: StrPath) -> Path:
    """Where the sidecar of a NIR file lies."""
    return Path(f"{path}.json")


def read_sidecar(path: StrPath) -> tuple[Dialect, dict[str, Any] | None]:
    """(Dialect, description of an integer network or None) in the sidecar of a NIR file, or (Dialect(), None) where there is none.

    Raises
    ------
    ImportRefused
        If the sidecar is not readable, or belongs to another graph.
    """
    if not sidecar_of(path).exists():
        return Dialect(), None
    try:
        given = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
        absent = {"nir_sha256", "dialect"} - set(given if isinstance(given, dict) else ())
        if absent:
            raise ValueError(f"it has no {min(absent)}")
        digest, said = given["nir_sha256"], given["dialect"]
        known = [field.name for field in fields(Dialect)]
        if not isinstance(said, dict) or set(said) - set(known):
            raise ValueError(f"dialect must have keys of {', '.join(known)}, not {said!r}")
        dialect = Dialect(**said)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImportRefused(f"{sidecar_of(path)} is no sidecar that can be read ({' '.join(str(error).split())})") from None
    if digest != sha256_file(path):
        raise ImportRefused(f"{sidecar_of(path)} belongs to another graph: its SHA-256 is not that of {path}")
    return dialect, given.get("network")


def write_sidecar(path: StrPath, dialect: Dialect, network: dict[str, Any] | None = None) -> None:
    """Write the sidecar of a NIR file, tied to it by its digest; ``network`` describes an integer network (netfile.describe)."""
    write_json(sidecar_of(path), {"nir_sha256": sha256_file(path), "dialect": asdict(dialect), "network": network})
