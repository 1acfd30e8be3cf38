"""Memory accounting: the RTL's memories hold exactly the network's bits, word by word."""
import json
import shutil
from pathlib import Path

import numpy as np

from spikeproof.files import CorruptFile, sha256_file

from .export import KINDS, declared_memories
from .plan import CorePlan

__all__ = ["MemoryMismatch", "audit_memories", "check_files", "copy_core", "load_manifest", "load_plan", "read_images",
           "read_words"]


class MemoryMismatch(RuntimeError):
    """A memory's size or contents are not the network's; the message names memory, word and both values."""


def load_manifest(rtl):
    """The manifest of an exported core.

    Raises
    ------
    CorruptFile
        If it is absent or no manifest.
    """
    path = Path(rtl) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(manifest[key], dict) for key in ("memories", "contents", "files")):
            raise KeyError
    except (OSError, ValueError, KeyError, TypeError):
        raise CorruptFile(f"{path} is absent or no manifest of a core: run the generate stage again") from None
    return manifest


def load_plan(rtl, net, digest):
    """The plan with which a core was generated.

    Raises
    ------
    CorruptFile
        If the core is of another network, or the manifest holds no plan of it.
    """
    manifest = load_manifest(rtl)
    if manifest.get("network_sha256") != digest:
        raise CorruptFile(f"{rtl} must hold the core of this network, but was generated from another: run the generate stage again")
    try:
        return CorePlan.from_dict(net, manifest["plan"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{rtl}/manifest.json holds no plan of this network ({error}): run the generate stage again") from None


def copy_core(rtl, work):
    """Copy core.v and its images, for tools that are to run there, into the folder ``work``, made if absent."""
    rtl, work = Path(rtl), Path(work)
    work.mkdir(parents=True, exist_ok=True)
    for file in [rtl / "core.v", *rtl.glob("*.mem")]:
        shutil.copyfile(file, work / file.name)


def read_words(path, width):
    """A memory file in binary, one word of ``width`` bits per line -> list of int.

    Raises
    ------
    CorruptFile
        If a line is not a word of that width.
    """
    try:
        lines = [line for line in Path(path).read_text().split() if not line.startswith(("//", "@"))]
        if any(len(line) != width for line in lines):
            raise ValueError
        return [int(line, 2) for line in lines]
    except (OSError, ValueError):
        raise CorruptFile(f"{path} must hold words of {width} binary digits, one per line: run the generate stage again") from None


def read_images(rtl, manifest):
    """The memory image files -> {path: list of int words}."""
    return {path: read_words(Path(rtl) / memory["image"], memory["width"])
            for path, memory in manifest["memories"].items() if memory["image"]}


def check_files(rtl, manifest):
    """Every file of the core is what ``generate`` wrote, and core.v declares the memories of the manifest and no other.

    Returns
    -------
    dict file name -> SHA-256, computed from the files

    Raises
    ------
    CorruptFile
        If a file was altered, added or removed, or a declared memory is not the manifest's.
    """
    rtl = Path(rtl)
    found = {path.name: sha256_file(path) for path in sorted([rtl / "core.v", *rtl.glob("*.mem")])}
    for name in sorted(found.keys() | manifest["files"].keys()):
        if found.get(name) != manifest["files"].get(name):
            raise CorruptFile(f"{rtl / name} is not what the generate stage wrote: run it again")
    declared = declared_memories((rtl / "core.v").read_text())
    listed = {path: {"width": m["width"], "depth": m["depth"]} for path, m in manifest["memories"].items()}
    if declared != listed:
        path = sorted(name for name in declared.keys() | listed.keys() if declared.get(name) != listed.get(name))[0]
        raise CorruptFile(f"{rtl / 'core.v'} must declare {path} as {listed.get(path)}, not {declared.get(path)}: "
                          "run the generate stage again")
    return found


def _fields(words, count, bits):
    """Packed words [rows] -> int64 [rows, count], lowest field in the low bits."""
    mask = (1 << bits) - 1
    return np.array([[word >> (k * bits) & mask for k in range(count)] for word in words], np.int64)


def _signed(fields, bits):
    return fields - ((fields >> (bits - 1)) << bits)


def _expected(net, plan, kind, name, number, final_membranes):
    """(codes [rows, fields], bits of a field, is signed, codec or None) of one layer's rows in a memory."""
    layer, part = net.by_name[name], plan.layers[plan.index(name)]
    if kind == "weights":
        p = layer.projections[number]
        codes = p.weights.reshape(-1, p.out_channels // part.lanes, part.lanes).transpose(1, 0, 2)
        return codes.reshape(-1, part.lanes), p.codec.bits, False, p.codec
    if kind == "biases":
        return layer.bias.reshape(-1, part.updaters), layer.bias_width, layer.bias_range[0] < 0, None
    if kind == "initials":
        return layer.v_init.reshape(-1, part.updaters), layer.v_init_width, layer.v_init_range[0] < 0, None
    if kind == "thresholds":
        per_row = 1 if layer.theta[0].size == 1 else part.updaters
        return (layer.theta >> layer.theta_shift).reshape(-1, per_row), layer.theta_width, False, None
    final = None if final_membranes is None else final_membranes[name]
    codes = np.zeros(layer.neurons, np.int64) if final is None else np.asarray(final)
    return codes.reshape(-1, part.updaters), layer.neuron.store.bits, layer.neuron.store.lo < 0, None


def _compare(held, codes, bits, signed, codec):
    """Words [(path, row, word)] against codes [rows, fields]; MemoryMismatch at the first difference."""
    fields = _fields([word for _, _, word in held], codes.shape[1], bits)
    if codec is None:
        found = _signed(fields, bits) if signed else fields
    else:
        try:
            found = codec.unpack(fields)
        except ValueError as error:
            raise MemoryMismatch(f"{held[0][0]} holds a word that is no code: {error}") from None
    wrong = np.argwhere(found != codes)
    if len(wrong):
        row, field = wrong[0]
        raise MemoryMismatch(f"{held[row][0]} word {held[row][1]} field {field} must be code {codes[row, field]}, "
                             f"not {found[row, field]} ({len(wrong)} fields differ)")


def audit_memories(plan, manifest, words, final_membranes=None):
    """Compare sizes and contents of all memories with the network.

    Parameters
    ----------
    manifest : dict of :func:`spikeproof_hdl.export.export_core`
    words : {path: list of int}, read from the simulated design or from the images
    final_membranes : {layer: int array [N]}, stored codes after the last image, or None not to compare them

    Returns
    -------
    dict with bits by kind, "total", "buffers", and the number of words compared

    Raises
    ------
    MemoryMismatch
        At the first memory, word and field that differs.
    """
    net = plan.net
    bits = dict.fromkeys((*KINDS, "buffers"), 0)
    banks = {}
    for path, memory in manifest["memories"].items():
        bits[memory["kind"]] += memory["width"] * memory["depth"]
        banks.setdefault(memory["of"], []).append((memory["bank"], path))
    compared = 0
    for whole, content in manifest["contents"].items():
        paths = [path for _, path in sorted(banks[whole])]
        width = manifest["memories"][paths[0]]["width"]
        parts = [_expected(net, plan, content["kind"], name, number, final_membranes) for name, number in content["layers"]]
        rows, fields = sum(len(codes) for codes, *_ in parts), parts[0][0].shape[1]
        depth = sum(manifest["memories"][path]["depth"] for path in paths)
        if (depth, width) != (rows, fields * parts[0][1]):
            raise MemoryMismatch(f"{whole} must have {rows} words of {fields * parts[0][1]} bits, not {depth} of {width}")
        if content["kind"] == "membranes" and final_membranes is None:
            continue
        held = [(path, row, word) for path in paths for row, word in enumerate(words[path])]
        if len(held) != rows:
            raise MemoryMismatch(f"{whole} must hold {rows} words, not {len(held)}")
        at = 0
        for codes, field_bits, signed, codec in parts:
            _compare(held[at:at + len(codes)], codes, field_bits, signed, codec)
            at += len(codes)
        compared += rows
    total = net.memory_bits()
    for kind in KINDS:
        if bits[kind] != total[kind]:
            raise MemoryMismatch(f"the RTL's {kind} memories must hold {total[kind]} bits, not {bits[kind]}")
    return {**{kind: bits[kind] for kind in KINDS}, "total": sum(bits[kind] for kind in KINDS),
            "buffers": bits["buffers"], "words_compared": compared}
