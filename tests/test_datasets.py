"""Readers on files of one's own making: events to the bit, boxes, damaged files in one sentence each, memory that does not grow."""
import gzip
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from native_files import (
    WRITERS,
    aedat2,
    aedat3,
    cifar_record,
    dat,
    events40,
    idx,
    recording,
)

from spikeproof.cli import main
from spikeproof.datasets import event_files, moving_shapes
from spikeproof.datasets.base import PARTS, PreparedData, limited, load_prepared, save_prepared
from spikeproof.datasets.events import BinOptions, bin_events
from spikeproof.datasets.sources import Sources
from spikeproof.entries import make, parse_entry
from spikeproof.files import CorruptFile, Pieces
from spikeproof.model_files import build
from spikeproof.projections import InputSpec
from spikeproof.training import accuracy, fit
from spikeproof.training_options import TrainingOptions


def prepared(tmp_path, kind, **changes):
    """A dataset written by its writer, prepared and read back."""
    entry = {**WRITERS[kind](tmp_path, np.random.default_rng(1)), **changes}
    return again(tmp_path, entry)


def again(tmp_path, entry):
    data = make("datasets", entry).prepare(Sources(tmp_path, download=False))
    save_prepared(tmp_path / "data.safetensors", data)
    return load_prepared(tmp_path / "data.safetensors")[0]


@pytest.mark.parametrize("encode, read, size", [
    (events40, event_files.read_events40, (34, 34)), (aedat2, event_files.read_aedat2, (128, 128)),
    (aedat3, event_files.read_aedat3, (128, 128)), (lambda e: dat(e, 240, 304), event_files.read_dat, (240, 304)),
    (lambda e: dat(e, 240, 304, 1), event_files.read_dat, (240, 256))])
def test_events_come_back_as_they_were_written(tmp_path, encode, read, size):
    events = recording(np.random.default_rng(0), *size, 2000)
    (tmp_path / "file").write_bytes(encode(events))
    found = event_files.check_events(read(tmp_path / "file"), "file", size)
    assert [tuple(int(v) for v in event) for event in zip(*found)] == events


def test_times_beyond_31_bits(tmp_path):
    (tmp_path / "file").write_bytes(aedat3([(5, 1, 2, 1), (7, 3, 4, 0)], overflow=1))
    assert event_files.read_aedat3(tmp_path / "file").t.tolist() == [(1 << 31) + 5, (1 << 31) + 7]


def test_events40_leaves_out_marks(tmp_path):
    (tmp_path / "file").write_bytes(events40([(1, 2, 3, 1), (2, 0, 240, 0), (3, 4, 5, 0)]))
    assert event_files.read_events40(tmp_path / "file").t.tolist() == [1, 3]


@pytest.mark.parametrize("binning, bits, size, polarity", [("steps", 1, None, "separate"), ("steps", 4, [5, 7], "merged"),
                                                           ("time", 2, [4, 4], "separate"), ("time", 8, None, "merged")])
@pytest.mark.parametrize("duration, step_us", [(300_000, 40_000), (13, 2)])      # many events on the edges of windows
def test_binning_is_that_of_a_plain_loop(binning, bits, size, polarity, duration, step_us):
    options = BinOptions(steps=5, binning=binning, step_us=step_us, bits=bits, size=size, polarity=polarity)
    events = recording(np.random.default_rng(2), 12, 20, 3000 if duration > 13 else 200, duration)
    height, width = size or (12, 20)
    channels = 1 if polarity == "merged" else 2
    expected = np.zeros((5, height, width, channels), int)
    first, last = events[0][0], events[-1][0]
    for t, x, y, p in events:
        step = (t - first) // step_us if binning == "time" else (t - first) * 5 // (last - first + 1)
        if step < 5:
            expected[step, y * height // 12, x * width // 20, 0 if channels == 1 else p] += 1
    array = event_files.Events(*(np.array(column, kind) for column, kind in zip(zip(*events), ("i8", "u2", "u2", "u1"))))
    found = bin_events(array, options, (12, 20))
    assert np.array_equal(found, np.minimum(expected, (1 << bits) - 1))


def test_rate_code_fires_in_proportion(tmp_path):
    (tmp_path / "mnist").mkdir()
    WRITERS["fashion_mnist"](tmp_path, np.random.default_rng(0))
    images = np.repeat(np.linspace(0, 255, 28).astype(np.uint8)[None, None], 28, 1).repeat(100, 0)
    (tmp_path / "fashion_mnist" / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    data = again(tmp_path, {"kind": "fashion_mnist", "official": False, "encoding": "rate", "steps": 8})
    rates = data.frames["train"][:].mean((0, 1, 2, 4))
    assert np.allclose(rates, images[0, 0] / 255, atol=0.02) and rates[0] == 0 and rates[-1] == 1
    data = again(tmp_path, {"kind": "fashion_mnist", "official": False, "encoding": "rate", "steps": 8, "max_rate": 0.25})
    rates = data.frames["train"][:].mean((0, 1, 2, 4))
    assert np.allclose(rates, images[0, 0] / 1020, atol=0.02) and rates[0] == 0


def test_codes_of_one_bit_take_one_bit(tmp_path):
    spec, rng = InputSpec((3, 3, 1)), np.random.default_rng(0)
    frames = {part: rng.integers(0, 2, (n, 5, 3, 3, 1), np.uint8) for part, n in (("train", 7), ("validation", 2), ("test", 3))}
    about = {"name": "", "source": "", "licence": "", "split": "", "images": 12}
    save_prepared(tmp_path / "data", PreparedData(spec, 5, 2, frames, {part: np.zeros(len(of), int) for part, of in frames.items()},
                                                  about))
    data, _ = load_prepared(tmp_path / "data")
    for part, of in frames.items():
        held = data.frames[part]
        assert held.packed.nbytes == len(of) * 6 and held.shape == of.shape                # 45 bits in 6 bytes
        assert np.array_equal(held, of) and np.array_equal(held[1], of[1]) and np.array_equal(held[[1, 0]], of[[1, 0]])
    kept = limited(data, 2).frames["train"]
    assert np.array_equal(kept, frames["train"][[0, 3]])


def test_direct_code_is_the_nearest(tmp_path):
    data = prepared(tmp_path, "mnist", bits=3)
    raw = np.frombuffer(gzip.decompress((tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    expected = np.floor(raw.astype(float) * 7 / 255 + 0.5).astype(int).reshape(30, 28, 28, 1)
    assert np.array_equal(data.frames["test"], expected)


def test_parts_are_disjoint_stratified_and_seeded(tmp_path):
    options = {"train_images": 50, "test_images": 20, "validation": 0.2}
    one, two = (prepared(tmp_path / str(seed), "mnist", **options, split_seed=seed) for seed in (0, 1))
    assert [len(one.labels[part]) for part in PARTS] == [40, 10, 20]
    whole = np.concatenate([one.frames[part] for part in PARTS]).reshape(70, -1)
    assert len(np.unique(whole, axis=0)) == 70
    for part, count in zip(PARTS, (4, 1, 2)):
        assert np.bincount(one.labels[part]).tolist() == [count] * 10
    assert not np.array_equal(one.frames["train"], two.frames["train"])
    assert "train 40, validation 10, test 20" in one.about["split"]


def test_cifar_pixels_stand_where_they_belong(tmp_path):
    data = prepared(tmp_path, "cifar100")
    image = np.zeros((32, 32, 3), np.uint8)
    image[3, 5] = (10, 20, 30)
    (tmp_path / "cifar100/cifar-100-binary/test.bin").write_bytes(cifar_record([7, 93], image) * 2)
    data = again(tmp_path, {"kind": "cifar100", "official": False})
    assert data.labels["test"].tolist() == [93, 93] and np.array_equal(data.frames["test"][0], image)


def test_gen1_boxes_are_filtered_cut_and_scaled(tmp_path):
    data = prepared(tmp_path, "gen1")
    boxes, frames = data.boxes["validation"], data.frames["validation"]
    # Of 250 ms to 1.75 s those above half a second; at 1 s the box over the edge too; a quarter of the sensor's size.
    assert len(frames) == 5 and frames.shape[1:] == (4, 60, 76, 2)
    assert boxes.of(0).tolist() == [[3.25, 5.0, 15.0, 10.0, 1.0]]
    assert boxes.of(1).tolist() == [[3.5, 5.0, 15.0, 10.0, 0.0], [72.5, 50.0, 3.5, 10.0, 1.0]]
    raw = event_files.read_dat(next((tmp_path / "gen1/val").glob("*.dat")))
    for n, end in enumerate((750_000, 1_000_000)):
        own = raw.between(end - 200_000, end)
        expected = np.zeros((4, 60, 76, 2), int)
        for t, x, y, p in zip(*own):
            expected[int(t - end + 200_000) // 50_000, int(y) // 4, int(x) // 4, int(p)] = 1
        assert np.array_equal(frames[n], expected)


def test_gen1_reads_older_names_of_fields(tmp_path):
    one = prepared(tmp_path, "gen1")
    for path in (tmp_path / "gen1").rglob("*_bbox.npy"):
        rows = np.load(path)
        rows.dtype.names = ("ts", *rows.dtype.names[1:7], "confidence")
        np.save(path, rows)
    two = again(tmp_path, {"kind": "gen1", "steps": 4, "step_us": 50_000, "size": [60, 76]})
    assert all(np.array_equal(one.boxes[part].rows, two.boxes[part].rows) for part in PARTS)


def test_moving_shapes_have_their_boxes_where_the_events_are(tmp_path):
    options = {"kind": "moving_shapes", "task": "detection", "train": 6, "validation": 6, "test": 40, "noise": 0.0, "objects": 1}
    data = again(tmp_path, options)
    parsed = parse_entry("datasets", options, "x")
    for k in range(40):
        left, top, width, height, kind = data.boxes["test"].of(k)[0]
        events, _ = moving_shapes.simulate((2, k, k % 3), parsed)
        assert kind == k % 3
        late = events.between(events.t[-1] - 5000, events.t[-1] + 1)
        assert late.x.min() >= left - 3 and late.x.max() < left + width + 3
        assert late.y.min() >= top - 3 and late.y.max() < top + height + 3


def test_moving_shapes_can_be_learnt(tmp_path):
    """A small convolutional network is far above chance (a third)."""
    data = again(tmp_path, {"kind": "moving_shapes", "validation": 100, "test": 300})
    torch.manual_seed(0)
    chain = {"architecture": {"kind": "feedforward", "layers": "8C5s2-16C3s2-3"}, "neuron": {"kind": "lif"}}
    model = build(chain, data.input, data.steps, data.classes)
    fit(model, data, TrainingOptions(epochs=6, batch_size=32, learning_rate=0.004), 0, say=lambda text: None)
    assert accuracy(model, data, "test") > 0.7


def test_npz_of_codes_and_of_pixels(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (30, 5, 4, 4, 2)), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x_train=x[:24], y_train=y[:24], x_test=x[24:], y_test=y[24:])
    entry = {"kind": "folder", "path": str(tmp_path / "a.npz"), "shape": [4, 4, 2], "classes": 3, "encoding": "codes", "bits": 2,
             "constant": False, "steps": 5, "validation": 0.25}
    data = again(tmp_path, entry)
    assert np.array_equal(data.frames["test"], x[24:]) and not data.input.constant and data.input.bits == 2
    np.savez(tmp_path / "b.npz", x=rng.integers(0, 256, (60, 4, 4)).astype(np.uint8), y=np.arange(60) % 3)
    data = again(tmp_path, {"kind": "folder", "path": str(tmp_path / "b.npz"), "shape": [4, 4, 1], "classes": 3})
    assert [len(data.labels[part]) for part in PARTS] == [43, 5, 12] and "drawn by seed 0" in data.about["split"]


MNIST, CIFAR = "mnist/train-images-idx3-ubyte.gz", "cifar10/cifar-10-batches-bin/data_batch_1.bin"


def started(tmp_path):
    """A long prepare with two workers, in the middle of its work."""
    entry = '{"kind": "moving_shapes", "train": 100000, "side": 64}'
    process = subprocess.Popen([sys.executable, "-m", "spikeproof", "prepare", "--threads", "2", "--config", entry, "--out",
                                str(tmp_path / "x.safetensors")], stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'hdl'}"})
    while not list(tmp_path.iterdir()):
        time.sleep(0.1)
    time.sleep(2)
    return process


def test_told_to_end_leaves_nothing_behind(tmp_path):
    """SIGTERM in the middle: no file, no process."""
    process = started(tmp_path)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in error and list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_workers_end_with_a_killed_parent(tmp_path):
    process = started(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker lives on")


def test_official_counts_are_checked(tmp_path):
    WRITERS["cifar10"](tmp_path, np.random.default_rng(1))
    with pytest.raises(FileNotFoundError, match="data_batch_2.bin is missing"):
        make("datasets", {"kind": "cifar10"}).prepare(Sources(tmp_path, download=False))
    for kind, count, there in (("n_cars", "7482 recordings", 10), ("n_caltech101", "8709 recordings", 505),
                               ("dvs128_gesture", "1176 gestures", 22), ("n_mnist", "60000 recordings", 100)):
        WRITERS[kind](tmp_path, np.random.default_rng(1))
        with pytest.raises(CorruptFile, match=f"must have {count}.*, not {there}; set `official: false`"):
            make("datasets", {"kind": kind}).prepare(Sources(tmp_path, download=False))
    entry = WRITERS["imagenet"](tmp_path, np.random.default_rng(1))
    with pytest.raises(CorruptFile, match="must have 1281167 images, not 18"):
        make("datasets", {**entry, "official": True}).prepare(Sources(tmp_path, download=False))


def test_command_says_it_in_one_line(tmp_path, capsys):
    assert main(["prepare", "--offline", "--data-dir", str(tmp_path), "--config", '{"kind": "mnist"}', "--out",
                 str(tmp_path / "x.safetensors")]) == 2
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0 and err.startswith("spikeproof prepare: error: ") and "put it at" in err


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the disk that is full: the system refuses in the same place."""
    WRITERS["mnist"](tmp_path, np.random.default_rng(0))
    code = textwrap.dedent(f"""
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        from spikeproof.cli import main
        sys.exit(main(["prepare", "--offline", "--data-dir", {str(tmp_path)!r}, "--config",
                       '{{"kind": "mnist", "official": false}}', "--out", {str(tmp_path / "out" / "x.safetensors")!r}]))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'hdl'}"})
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "x.safetensors was not written: there is no room for its 0.1 MB" in line and "free some" in line
    assert "prepare test" not in done.stderr                            # known before anything is made
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_data(tmp_path):
    """Four times the samples, written and read by batches: the peak of anonymous memory stays where it was.

    The C library is told to give each freed batch back, so that the peak is what is in use and not what it keeps for later.
    """
    code = textwrap.dedent("""
        import sys, numpy as np
        from spikeproof.datasets.base import PreparedData, load_prepared, save_prepared
        from spikeproof.files import Pieces
        from spikeproof.projections import InputSpec
        from spikeproof.convert import batches
        path, count = sys.argv[1], int(sys.argv[2])
        spec = InputSpec((128, 128, 3), 8, True)
        def pieces(n):
            return Pieces((n, 128, 128, 3), np.dtype(np.uint8), lambda: (
                np.full((50, 128, 128, 3), k, np.uint8) for k in range(n // 50)))
        n = {"train": count, "validation": 50, "test": 50}
        data = PreparedData(spec, 2, 2, {p: pieces(n[p]) for p in n}, {p: np.arange(n[p]) % 2 for p in n}, {"name": "x"})
        def own():
            return sum(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
        save_prepared(path, data)
        data, _ = load_prepared(path)
        most = own()
        for x in batches(data.frames["train"], True, batch=50):
            most = max(most, own())
        print(most)
    """)
    peaks = []
    for count in (2000, 8000):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{count}"), str(count)], capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'hdl'}",
                                   "MALLOC_MMAP_THRESHOLD_": "1000000"})
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout))
    assert (tmp_path / "8000").stat().st_size > 390e6
    assert peaks[1] < peaks[0] + 30_000, peaks                           # kB; there are 295,000 more of data


@pytest.mark.parametrize("labels, frames, sentence", [
    ([0, 1, 3, 1], [1, 2, 3, 1], "labels of the train part must be 0 to 2, not 3"),
    ([0, 1, -1, 1], [1, 2, 3, 1], "labels of the train part must be 0 to 2, not -1"),
    ([0, 1, 1], [1, 2, 3, 1], "must have a label for each of its 4 samples, not 3"),
    ([0, 1, 2, 1], [1, 2, 4, 1], "codes of the train part must be 0 to 3, not 1 or 4"), ([], [], "must have at least one sample")])
def test_prepared_data_that_do_not_fit_are_refused(tmp_path, labels, frames, sentence):
    good = np.ones((2, 1, 1, 1), np.uint8)
    data = PreparedData(InputSpec((1, 1, 1), 2, True), 1, 3,
                        {"train": np.array(frames, np.uint8).reshape(-1, 1, 1, 1), "validation": good, "test": good},
                        {"train": np.array(labels, np.int64), "validation": np.zeros(2, int), "test": np.zeros(2, int)}, {})
    with pytest.raises(ValueError, match=sentence):
        save_prepared(tmp_path / "x", data)
    assert not any(tmp_path.iterdir())


def test_pieces_that_do_not_fit_are_refused(tmp_path):
    from spikeproof.files import write_container
    for made, sentence in (([np.zeros((2, 3), np.uint8)], "must have 4 rows, but 2 were made"),
                           ([np.zeros((4, 2), np.uint8)], "a piece of a must be uint8 of shape"),
                           ([np.zeros((4, 3), np.int8)], "not int8 of shape")):
        with pytest.raises(ValueError, match=sentence):
            write_container(tmp_path / "x", "k", {}, {"a": Pieces((4, 3), np.dtype(np.uint8), lambda made=made: made)})
    assert not any(tmp_path.iterdir())


def test_a_changed_byte_is_noticed(tmp_path):
    prepared(tmp_path, "mnist")
    path = tmp_path / "data.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptFile, match="was altered after it was written"):
        load_prepared(path)


def test_digits_are_those_of_scikit_learn():
    """Read from its file, without importing it."""
    from sklearn.datasets import load_digits

    from spikeproof.datasets.digits import Digits
    bunch, data = load_digits(), Digits(Digits.Options(kind="digits", bits=8)).prepare()
    images, labels = (np.concatenate(list(of.values())) for of in (data.frames, data.labels))
    theirs = sorted((int(label), image.tobytes()) for label, image in
                    zip(bunch.target, (bunch.images * 255 / 16 + 0.5).astype(np.uint8)))
    assert len(images) == 1797 and [label for label, _ in theirs] == sorted(labels.tolist())
    assert theirs == sorted((int(label), image.tobytes()) for label, image in zip(labels, images))
