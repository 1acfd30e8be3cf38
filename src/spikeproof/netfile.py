"""``network.safetensors``: an integer network on disk.

Tensors of codes (``<layer>.theta``, ``<layer>.bias``, ``<layer>.v_init``, ``<layer>.<k>.weights`` for projection k)
in the narrowest integer type, the rest of the description as JSON in the metadata, and a SHA-256
over both.
"""
from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from .codecs import parse_codec
from .files import CorruptFile, content_digest, read_container, write_container
from .network import LayerSpec, NetworkSpec
from .projections import InputSpec, Projection
from .spec import Lateral, NeuronSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .annotations import Array, StrPath

__all__ = ["VERSION", "describe", "load_network", "network_digest", "rebuild", "save_network"]

KIND = "spikeproof network"
VERSION = 4
REMEDY = "run the export stage again"


def _narrow(array: Array) -> Array:
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if info.min <= array.min() and array.max() <= info.max:
            return array.astype(dtype)
    return array


def describe(net: NetworkSpec) -> tuple[dict[str, Any], dict[str, Array]]:
    """NetworkSpec -> (JSON description, dict of the tensors that it leaves out)."""
    tensors, layers = {}, []
    for layer in net.layers:
        for part in ("theta", "bias", "v_init"):
            if getattr(layer, part) is not None:
                tensors[f"{layer.name}.{part}"] = _narrow(getattr(layer, part))
        projections = []
        for k, p in enumerate(layer.projections):
            tensors[f"{layer.name}.{k}.weights"] = _narrow(p.weights)
            projections.append({"source": p.source, "codec": p.codec.name, "stride": p.stride, "padding": p.padding,
                                "groups": p.groups, "pool": p.pool, "pool_kind": p.pool_kind, "reads": p.reads})
        layers.append({"name": layer.name, "shape": list(layer.shape), "neuron": asdict(layer.neuron),
                       "gate": layer.gate, "lateral": layer.lateral and asdict(layer.lateral), "theta_shift": layer.theta_shift,
                       "projections": projections})
    description = {"version": VERSION, "steps": net.steps, "readout": net.readout,
                   "input": net.input.to_dict(), "layers": layers}
    return description, tensors


def rebuild(description: dict[str, Any], tensors: Mapping[str, Array]) -> NetworkSpec:
    """The NetworkSpec of what :func:`describe` gave.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they describe no valid network.
    """
    layers = []
    for entry in description["layers"]:
        name = entry["name"]
        projections = tuple(
            Projection(codec=parse_codec(p["codec"]), weights=tensors[f"{name}.{k}.weights"],
                       **{key: value for key, value in p.items() if key != "codec"})
            for k, p in enumerate(entry["projections"]))
        layers.append(LayerSpec(name, tuple(entry["shape"]), projections, NeuronSpec.from_dict(entry["neuron"]),
                                tensors.get(f"{name}.theta"), tensors.get(f"{name}.bias"), entry["gate"],
                                tensors.get(f"{name}.v_init"), entry["lateral"] and Lateral(**entry["lateral"]),
                                entry["theta_shift"]))
    return NetworkSpec(InputSpec.from_dict(description["input"]), tuple(layers), description["steps"], description["readout"])


def network_digest(net: NetworkSpec) -> str:
    """The digest that :func:`save_network` gives its file."""
    return content_digest(*describe(net))


def save_network(path: StrPath, net: NetworkSpec) -> str:
    """Write a NetworkSpec atomically; returns its SHA-256 digest (of content, not of bytes)."""
    return write_container(path, KIND, *describe(net))


def load_network(path: StrPath) -> tuple[NetworkSpec, str]:
    """Read a network file -> (NetworkSpec, digest).

    Raises
    ------
    FileNotFoundError
        If there is no file.
    CorruptFile
        If the file is truncated, altered, of another kind or version, or describes no valid network.
    """
    description, tensors, digest = read_container(path, KIND, REMEDY)
    if description.get("version") != VERSION:
        raise CorruptFile(f"{path} has version {description.get('version')!r}, but this program reads {VERSION}: {REMEDY}")
    try:
        return rebuild(description, tensors), digest
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} describes no valid network ({error}): {REMEDY}") from None
