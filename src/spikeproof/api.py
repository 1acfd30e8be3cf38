"""The pipeline as a few functions, for programs of one's own: no files, no Snakemake, no command line.

    data = prepare({"kind": "digits"})
    model = train(data, {"kind": "feedforward", "layers": "16C3-AP2-10"})
    coded = quantize(model, {"kind": "int", "bits": 4}, data)
    net = export(coded, data.frames["test"])
    trace = run_integer(net, data.frames["test"])
    generate(net, "core")
    simulate(net, "core", data.frames["test"])

Entries are mappings as in config/config.yaml (config/README.md). Everything is imported when it is called.
"""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .annotations import Array, Entry, Say, StrPath
    from .datasets.base import PreparedData
    from .integer import Trace
    from .models import CodeNetwork, FloatNetwork
    from .network import NetworkSpec

__all__ = ["export", "generate", "load", "prepare", "quantize", "run_integer", "save", "simulate", "train"]


def _is(value: object, kinds: tuple[type, ...], name: str) -> None:
    """TypeError unless an argument is of a kind that is wanted."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be a {wanted}, not a {type(value).__name__}")


def prepare(dataset: Entry, data_dir: StrPath = "data", download: bool = True, say: Say = print) -> PreparedData:
    """Read a dataset's own files, encode and split them.

    Parameters
    ----------
    dataset : dict, entry of ``datasets``
    data_dir : folder that has, or gets, the datasets' files
    download : bool, whether files that are absent may be fetched
    say : function of a sentence

    Returns
    -------
    PreparedData: ``frames`` and ``labels`` by part ("train", "validation", "test"), ``input``, ``steps``, ``classes``. Frames are
        those of a temporary file, which ends with the program: a dataset may be larger than memory.

    Raises
    ------
    ConfigError, ValueError, OSError
        If the entry is not valid, or files are absent or not the publisher's.
    """
    from .datasets.base import load_prepared, save_prepared
    from .datasets.sources import Sources
    from .entries import make
    prepared = make("datasets", dataset).prepare(Sources(data_dir, download, say=say))
    with tempfile.TemporaryDirectory(prefix="spikeproof-") as work:
        path = Path(work) / "data.safetensors"
        save_prepared(path, prepared)
        return load_prepared(path)[0]                                # the map of the file outlives its name


def train(data: PreparedData, architecture: Entry, neuron: Entry | None = None, pretraining: Entry | None = None, seed: int = 0,
          say: Say = print) -> FloatNetwork:
    """Train a spiking network in full precision.

    Parameters
    ----------
    data : PreparedData
    architecture, neuron, pretraining : dict, entries; by default LIF neurons and surrogate gradients
    seed : int, of weights and data order

    Returns
    -------
    FloatNetwork, in evaluation mode; ``history`` is a list of dicts, one per epoch

    Raises
    ------
    ConfigError, ValueError, FloatingPointError
        If entries are not valid or do not fit the data, or the loss diverges.
    """
    from .datasets.base import PreparedData
    from .entries import make
    from .model_files import untrained
    from .models import FloatNetwork
    _is(data, (PreparedData,), "data")
    _is(seed, (int,), "seed")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    chain = {"architecture": architecture, "neuron": neuron or {"kind": "lif"}, "pretraining": pretraining or {"kind": "surrogate"}}
    model = untrained(chain, data, seed)
    assert isinstance(model, FloatNetwork)                           # the chain has no quantizer
    model.history = make("pretraining", chain["pretraining"]).train(model, data, seed=seed, say=say)
    model.chain, model.classes = chain, data.classes
    return model.eval()


def quantize(model: FloatNetwork, quantizer: Entry, data: PreparedData | None = None, seed: int = 0,
             say: Say = print) -> CodeNetwork:
    """A trained network in integer codes.

    Parameters
    ----------
    model : FloatNetwork of :func:`train` or :func:`load`
    quantizer : dict, entry of ``quantizers``
    data : PreparedData to train on in codes, as the entry's ``training`` says; None for quantization after training alone
    seed : int, of the data order

    Returns
    -------
    CodeNetwork, in evaluation mode; it computes the same integers as the network that :func:`export` gives

    Raises
    ------
    ConfigError, ValueError, FloatingPointError
    """
    from .entries import make
    from .models import CodeNetwork, FloatNetwork
    if not isinstance(model, FloatNetwork):
        raise ValueError("the model must be in full precision, not quantized already")
    made = make("quantizers", quantizer)
    history: list[Entry] = []
    coded = CodeNetwork.from_float(model, made)
    if data is not None:
        pretraining = make("pretraining", model.chain["pretraining"])
        coded, history = pretraining.train_codes(coded, model, data, method=made.method(), seed=seed, say=say)
    elif "training" in quantizer:
        say("the quantizer's training is left out: it needs data")
    coded.chain, coded.classes, coded.history = {**model.chain, "quantizer": quantizer}, model.classes, history
    return coded.eval()


def export(model: CodeNetwork, frames: Array | None = None) -> NetworkSpec:
    """The integer network of a quantized one.

    Parameters
    ----------
    model : CodeNetwork
    frames : input codes [B, (T,) H, W, C], on which torch is shown to compute the same integers in every layer, neuron and step;
        None for no such check

    Returns
    -------
    NetworkSpec

    Raises
    ------
    ValueError
        If the integer contract cannot say what the model computes.
    ModelMismatch
        If both differ on some frame.
    """
    from .convert import check_equal, to_spec
    from .models import CodeNetwork, FloatNetwork
    if isinstance(model, FloatNetwork):
        raise ValueError("the model must be in integer codes: quantize it first")
    _is(model, (CodeNetwork,), "the model")
    net = to_spec(model)
    if frames is not None:
        check_equal(model, net, frames)
    return net


def run_integer(net: NetworkSpec, frames: Array) -> Trace:
    """What an integer network computes: see :func:`spikeproof.integer.run`.

    Parameters
    ----------
    net : NetworkSpec
    frames : input codes, [B, H, W, C] for a constant input, else [B, T, H, W, C]

    Returns
    -------
    Trace: ``spikes`` and ``membranes`` (stored codes) by layer, [B, T, N]; ``winner`` [B]; ``score`` [B, classes]
    """
    from .integer import run
    return run(net, frames)


def generate(net: NetworkSpec, folder: StrPath, lanes: int | Sequence[int] = 16, updaters: int = 1,
             fold: bool | Sequence[int] = False, loadable: bool = False) -> Entry:
    """Write the neuron core of a network: ``core.v``, a memory image each, ``manifest.json``.

    Parameters
    ----------
    net : NetworkSpec
    folder : is made, or replaced where it is a core
    lanes : int, neurons that accumulate at once in a layer, at most; or a list, one for each layer
    updaters : int, neurons that are updated in a cycle, per layer
    fold : True where all layers share one engine; or a list, how many neighbouring layers share each
    loadable : bool, whether memories can be written and read at run time

    Returns
    -------
    dict, the manifest: memories with width, depth and place of every tensor

    Raises
    ------
    Unbuildable
        If the core cannot have the network.
    """
    from spikeproof_hdl.export import export_core
    from spikeproof_hdl.plan import CorePlan

    from .netfile import network_digest
    return export_core(CorePlan.of(net, lanes, updaters, fold=fold, loadable=loadable), folder, network=network_digest(net))


def simulate(net: NetworkSpec, folder: StrPath, frames: Array, processes: int = 1) -> Entry:
    """Simulate a generated core in Verilator, and compare every spike, membrane, winner and memory word with the network's.

    Parameters
    ----------
    net : NetworkSpec that the core was generated from
    folder : of the core
    frames : input codes, [B, (T,) H, W, C]
    processes : int, simulations that share the images

    Returns
    -------
    dict: ``images_compared``, ``values_compared``, ``cycles_per_image``, ``latency_cycles``, memory, digests, tools

    Raises
    ------
    CorruptFile
        If the folder holds the core of another network.
    Divergence, MemoryMismatch
        If anything differs; a report is in ``folder``/../divergence.
    MissingTool
        If there is no C++ compiler.
    """
    import tempfile

    from spikeproof_hdl.audit import load_plan
    from spikeproof_hdl.verify import verify

    from .netfile import network_digest
    folder = Path(folder)
    plan = load_plan(folder, net, network_digest(net))
    with tempfile.TemporaryDirectory(prefix="spikeproof-") as work:
        return verify(plan, folder, frames, work, folder.parent / "divergence", None, processes)


def save(path: StrPath, thing: FloatNetwork | CodeNetwork | NetworkSpec | PreparedData) -> str:
    """Write a trained model (FloatNetwork, CodeNetwork), an integer network or prepared data, atomically, with a digest.

    Returns
    -------
    str, the digest

    Raises
    ------
    TypeError
        If it is anything else.
    """
    from .datasets.base import PreparedData, save_prepared
    from .network import NetworkSpec
    if isinstance(thing, NetworkSpec):
        from .netfile import save_network
        return save_network(path, thing)
    if isinstance(thing, PreparedData):
        return save_prepared(path, thing)
    from .model_files import save_model
    from .models import CodeNetwork, FloatNetwork
    _is(thing, (FloatNetwork, CodeNetwork, NetworkSpec, PreparedData), "what is saved")
    return save_model(path, thing, thing.chain, thing.classes)


def load(path: StrPath) -> FloatNetwork | CodeNetwork | NetworkSpec | PreparedData:
    """What a file of the pipeline holds.

    Returns
    -------
    FloatNetwork or CodeNetwork in evaluation mode, NetworkSpec, or PreparedData

    Raises
    ------
    FileNotFoundError, CorruptFile
        If there is no file, or it is of no such kind, truncated or altered.
    """
    from .datasets import base
    from .files import CorruptFile, stored_kind
    from .netfile import KIND, load_network
    kind = stored_kind(path)
    if kind == KIND:
        return load_network(path)[0]
    if kind == base.KIND:
        return base.load_prepared(path)[0]
    from . import model_files
    if kind != model_files.KIND:
        raise CorruptFile(f"{path} must be a model, a network or prepared data, not {kind}")
    model, description = model_files.load_model(path)
    model.chain, model.classes = description["chain"], description["classes"]
    return model
