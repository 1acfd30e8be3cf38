"""Files from strangers: whatever they hold, readers give a sentence or the content, and take no more memory than that needs.

Files that once did harm are kept in tests/corpus/ and read again by every run.
"""
import gzip
import json
import resource
import struct
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_files import aedat2, aedat3, dat, events40, recording
from test_nir import affine, graph, lif

from spikeproof.datasets.base import load_prepared, save_prepared
from spikeproof.datasets.cifar import read_cifar
from spikeproof.datasets.digits import Digits
from spikeproof.datasets.event_files import read_aedat2, read_aedat3, read_dat, read_events40
from spikeproof.datasets.folder import Folder
from spikeproof.datasets.gen1 import read_boxes
from spikeproof.datasets.idx import read_idx
from spikeproof.datasets.pictures import read_picture
from spikeproof.datasets.sources import Sources, unpack
from spikeproof.datasets.speech_commands import SpeechCommands, read_clip
from spikeproof.entries import read_yaml
from spikeproof.files import CorruptFile, read_container, write_container
from spikeproof.grids import _rows
from spikeproof.model_files import build, load_model, save_model
from spikeproof.netfile import load_network, save_network
from spikeproof.nir_files import Dialect, read_nir, read_sidecar, sidecar_of, write_sidecar
from spikeproof.nir_import import import_graph
from spikeproof.projections import InputSpec

CORPUS = Path(__file__).parent / "corpus"
#: What a reader may raise: sentences.
REFUSALS = (ValueError, OSError)
#: Bytes that a reader may take at most, beside some times the file's size.
MEMORY = 64 << 20
FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHAIN = {"architecture": {"kind": "feedforward", "layers": "4C3-AP2-10"}, "neuron": {"kind": "lif"},
         "pretraining": {"kind": "surrogate"}}


def _measured(reader, path):
    """(what a reader gives or how it refuses, bytes that it took at most)."""
    tracemalloc.start()
    try:
        found = reader(path)
    except REFUSALS as error:
        assert str(error), "a refusal must say something"
        found = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found, peak


def take(reader, path):
    """What a reader makes of a file: its value, or the sentence of its refusal; anything else fails the test."""
    found, peak = _measured(reader, path)
    most = MEMORY + 40 * path.stat().st_size
    if peak >= most:                                                # once more: the first time modules may be imported as well
        found, peak = _measured(reader, path)
    assert peak < most, f"{peak:,} bytes for a file of {path.stat().st_size:,}"
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A good file for every reader: {name: (path, reader)}."""
    at = tmp_path_factory.mktemp("whole")
    data = Digits(Digits.Options(kind="digits", steps=2)).prepare(None)
    save_prepared(at / "data", data)
    model = build(CHAIN, data.input, 2, 10)
    save_model(at / "float", model, CHAIN, 10)
    from spikeproof.convert import to_spec
    from spikeproof.entries import make
    from spikeproof.models import CodeNetwork
    quantizer = {"kind": "int", "bits": 4}
    coded = CodeNetwork.from_float(model, make("quantizers", quantizer))
    save_model(at / "codes", coded, {**CHAIN, "quantizer": quantizer}, 10)
    save_network(at / "network", to_spec(coded.eval()))
    nir.write(at / "nir", graph(w=affine(), lif=lif(3)))
    (at / "idx").write_bytes(struct.pack(">I3I", 2051, 3, 4, 5) + bytes(60))
    (at / "idx.gz").write_bytes(gzip.compress((at / "idx").read_bytes(), mtime=0))
    rng = np.random.default_rng(0)
    events = recording(rng, 34, 34)
    for name, text in (("events40", events40(events)), ("aedat2", aedat2(events)), ("aedat3", aedat3(events)),
                       ("dat", dat(events, 240, 304))):
        (at / name).write_bytes(text)
    boxes = np.zeros(5, [("t", "<u8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "u1")])
    np.save(at / "boxes.npy", boxes)
    from PIL import Image
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(at / "picture.png")
    import soundfile
    soundfile.write(at / "clip.wav", np.zeros(1600, np.float32), 16000)
    speech = SpeechCommands.Options(kind="speech_commands")
    (at / "cifar.bin").write_bytes(rng.integers(0, 10, 4 * 3073).astype(np.uint8).tobytes())
    np.savez_compressed(at / "arrays.npz", x=rng.integers(0, 255, (20, 4, 4, 1)).astype(np.uint8), y=np.arange(20) % 2)
    (at / "table.csv").write_text("quantizer.bits,quantizer\n3,int4\n,ternary\n")
    (at / "study.yaml").write_text("title: A\nruns: {a: {quantizer: float}}\nseeds: [0, 1]\n")
    graph_of_sidecar = at / "beside.nir"
    graph_of_sidecar.write_bytes((at / "nir").read_bytes())
    write_sidecar(graph_of_sidecar, Dialect(1e-4, "euler", "euler", ">=", "soft"))
    (at / "sidecar").write_bytes(sidecar_of(graph_of_sidecar).read_bytes())

    def read_beside(path):
        sidecar_of(graph_of_sidecar).write_bytes(path.read_bytes())
        return read_sidecar(graph_of_sidecar)

    def read_arrays(path):
        options = Folder.Options(kind="folder", path=str(path), shape=[4, 4, 1], classes=2, bits=4, steps=2)
        return Folder(options).prepare(Sources(at, False, say=lambda said: None))
    readers = {"data": load_prepared, "float": load_model, "codes": load_model, "network": load_network,
               "nir": lambda path: import_graph(read_nir(path), Dialect(1e-4, "euler", "euler", ">=", "soft")),
               "idx": lambda path: read_idx(path, 3),
               "idx.gz": lambda path: read_idx(path, 3), "events40": read_events40, "aedat2": read_aedat2, "aedat3": read_aedat3,
               "dat": read_dat, "boxes.npy": read_boxes, "picture.png": lambda path: read_picture(path, (8, 8, 1)),
               "clip.wav": lambda path: read_clip(path, speech), "cifar.bin": lambda path: read_cifar(path, 1, 10),
               "arrays.npz": read_arrays, "table.csv": _rows, "study.yaml": read_yaml, "sidecar": read_beside}
    for name, reader in readers.items():
        reader(at / name)                                           # they are good
    return {name: (at / name, reader) for name, reader in readers.items()}


NAMES = ["data", "float", "codes", "network", "nir", "idx", "idx.gz", "events40", "aedat2", "aedat3", "dat", "boxes.npy",
         "picture.png", "clip.wav", "cifar.bin", "arrays.npz", "table.csv", "study.yaml", "sidecar"]
BYTES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "insert", "number"]),
                           st.integers(0, 255)), min_size=1, max_size=4)


def damaged(raw, changes):
    """Bytes with changes: (place as a share, what, value)."""
    raw = bytearray(raw)
    for place, what, value in changes:
        at = int(place * len(raw))
        if what == "set" and raw:
            raw[at] = value
        elif what == "cut":
            del raw[at:]
        elif what == "insert":
            raw[at:at] = bytes([value]) * (value + 1)
        elif what == "number":                                      # a size or an offset that is far off
            raw[at:at + 8] = struct.pack("<Q", (1 << 56) - 1 - value)[:len(raw[at:at + 8])]
    return bytes(raw)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes(whole, tmp_path, name):
    path, reader = whole[name]
    raw, refused = path.read_bytes(), 0

    @FUZZ
    @given(BYTES)
    def fuzz(changes):
        nonlocal refused
        bad = tmp_path / name
        bad.write_bytes(damaged(raw, changes))
        found = take(reader, bad)
        refused += isinstance(found, Exception)
        if name in ("data", "float", "codes", "network") and bad.read_bytes() != raw:
            assert isinstance(found, CorruptFile)                   # the digest sees every change
    fuzz()
    assert refused or name in ("events40", "table.csv", "study.yaml")       # changes that mattered were seen


JSON = st.recursive(st.none() | st.booleans() | st.integers(-(1 << 40), 1 << 40) | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(max_size=5) | st.sampled_from(["../../out", "input", "conv1"]),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
                    max_leaves=5)


def places(value, path=()):
    """Paths of all values within a JSON value."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        found += places(held, (*path, key))
    return found


def changed(value, path, new):
    """A JSON value with what stands at a path replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("name, kind", [("data", "spikeproof prepared data"), ("float", "spikeproof model"),
                                        ("codes", "spikeproof model"), ("network", "spikeproof network")])
def test_lying_descriptions(whole, tmp_path, name, kind):
    """A stranger can write any description with a right digest: it must describe what is there, or be refused."""
    path, reader = whole[name]
    description, tensors, _ = read_container(path, kind, "")

    @FUZZ
    @given(st.sampled_from(places(description)), JSON)
    def fuzz(at, new):
        bad = tmp_path / name
        write_container(bad, kind, changed(description, at, new), tensors)
        take(reader, bad)
    fuzz()


@pytest.mark.parametrize("lie, sentence", [
    (lambda d: d["input"].update(shape=[1 << 20, 1 << 20, 1]), "must have at most 67,108,864 values"),
    (lambda d: d["input"].update(shape=[8192, 8192, 1]), "it tells of has 939,524,171 numbers, and the file has 969"),
    (lambda d: d["chain"]["architecture"].update(layers="99999C3-AP2-10"), "the network that it tells of has "),
    (lambda d: d.update(classes=1 << 40), "layers must end in 1099511627776"),
    (lambda d: d.update(steps=1 << 33), "steps must be an integer from 1 to 4096"),
    (lambda d: d["chain"].update(architecture={"kind": "resnet", "width": 4096, "blocks": [10_000] * 6}), "blocks.0 must be less")])
def test_a_model_that_says_it_is_huge(whole, tmp_path, lie, sentence):
    path, _ = whole["float"]
    description, tensors, _ = read_container(path, "spikeproof model", "")
    description = json.loads(json.dumps(description))
    lie(description)
    write_container(tmp_path / "model", "spikeproof model", description, tensors)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = take(load_model, tmp_path / "model")
    assert isinstance(found, CorruptFile) and sentence in str(found)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000          # kB; torch's own memory counts here


def test_an_input_that_no_memory_holds():
    with pytest.raises(ValueError, match="must have at most 67,108,864 values"):
        InputSpec((1 << 14, 1 << 14, 1))


def test_nir_files_that_point_elsewhere_or_lie(tmp_path):
    """Links to other files, values kept in other files, sizes that the file cannot have, groups within themselves."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours" * 100)
    tricks = {
        "a link": lambda file: file["node/nodes"].__setitem__("x", h5py.ExternalLink(str(secret), "/")),
        "a soft link": lambda file: file["node/nodes"].__setitem__("x", h5py.SoftLink("/node")),
        "external values": lambda file: file["node"].create_dataset("x", (100,), "u1", external=[(str(secret), 0, 100)]),
        "a size": lambda file: file["node"].create_dataset("x", (1 << 40,), "f4", chunks=(1 << 16,)),
        "a circle": lambda file: file["node/nodes"].__setitem__("x", file["node"])}
    for name, trick in tricks.items():
        path = tmp_path / f"{name.replace(' ', '-')}.nir"
        nir.write(path, graph(w=affine(), lif=lif(3)))
        with h5py.File(path, "a") as file:
            trick(file)
        found = take(read_nir, path)
        assert isinstance(found, ValueError) and "is no NIR graph that can be read" in str(found), (name, found)


def test_a_bomb_of_zeros(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">I3I", 2051, 1, 4, 5))
        for _ in range(64):
            file.write(bytes(1 << 22))                              # 256 MB where 20 values are announced
    found = take(lambda path: read_idx(path, 3), path)
    assert "must have 1 x 4 x 5 values, but has more" in str(found)
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">I3I", 2051, *[0xFFFFFFFF] * 3))
    assert "must have at most 1,073,741,824 values" in str(take(lambda path: read_idx(path, 3), path))


@pytest.mark.parametrize("name", ["../out", "/tmp/spikeproof-out", "a/../../out"])
def test_archives_stay_in_their_folder(tmp_path, name):
    import io
    import tarfile
    for kind in ("zip", "tar"):
        path, into = tmp_path / f"a.{kind}", tmp_path / "deep" / kind
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr(name, "out")
        else:
            with tarfile.open(path, "w") as file:
                member = tarfile.TarInfo(name)
                member.size = 3
                file.addfile(member, io.BytesIO(b"out"))
        try:
            unpack(path, into)
        except CorruptFile:
            pass
        inside = (tmp_path / "deep" / "zip", tmp_path / "deep" / "tar")
        outside = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix not in (".zip", ".tar")
                   and not any(folder in p.parents for folder in inside)]
        assert not outside and not Path("/tmp/spikeproof-out").exists()


def test_no_pickle_is_loaded(tmp_path):
    """Arrays of objects would run code when they are read."""
    np.save(tmp_path / "boxes.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert isinstance(take(read_boxes, tmp_path / "boxes.npy"), CorruptFile)
    for path in sorted((Path(__file__).parents[1] / "src").rglob("*.py")):
        text = path.read_text()
        assert "pickle.load" not in text and "torch.load(" not in text and "allow_pickle=True" not in text, path
        assert "np.load(" not in text or "allow_pickle=False" in text, path


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus(whole, path):
    _, reader = whole[path.parent.name]
    assert isinstance(take(reader, path), Exception)


def test_the_corpus_is_there():
    assert len(list(CORPUS.glob("*/*"))) >= 5
