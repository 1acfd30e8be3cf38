"""The readers on the publishers' bytes, against what is known of them: counts, labels, means, ranges of events.

The files are large and not ours to hand out: the environment variable SPIKEPROOF_TEST_DATA names their folder.
"""
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import not_run

from spikeproof import integer
from spikeproof.convert import check_equal, to_spec
from spikeproof.datasets.base import PARTS, load_prepared, save_prepared
from spikeproof.datasets.event_files import check_events, read_aedat3, read_events40
from spikeproof.datasets.sources import Sources
from spikeproof.entries import make
from spikeproof.model_files import build
from spikeproof.models import CodeNetwork


@pytest.fixture(scope="module")
def real():
    folder = os.environ.get("SPIKEPROOF_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        not_run("SPIKEPROOF_TEST_DATA must name a folder with the datasets' own files")
    return Path(folder)


def prepare(tmp_path, data_dir, **entry):
    save_prepared(tmp_path / "data.safetensors", make("datasets", entry).prepare(Sources(data_dir, download=False, workers=2)))
    return load_prepared(tmp_path / "data.safetensors")[0]


def whole(data, *parts):
    return (np.concatenate([data.frames[part] for part in parts]), np.concatenate([data.labels[part] for part in parts]))


@pytest.mark.parametrize("kind, mean, sd, counts", [
    ("mnist", 0.1307, 0.3081, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    ("fashion_mnist", 0.2860, 0.3530, [6000] * 10)])
def test_mnist_and_fashion_mnist(real, tmp_path, kind, mean, sd, counts):
    """Published counts, and the means and deviations that everybody normalises with; the files' digests are checked too."""
    data = prepare(tmp_path, real, kind=kind)
    frames, labels = whole(data, "train", "validation")
    assert frames.shape == (60000, 28, 28, 1) and data.frames["test"].shape == (10000, 28, 28, 1)
    assert np.bincount(labels).tolist() == counts
    assert frames.mean() / 255 == pytest.approx(mean, abs=5e-5) and frames.std() / 255 == pytest.approx(sd, abs=5e-5)
    assert "official" in data.about["split"]
    first = {"mnist": [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], "fashion_mnist": [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]}
    assert data.labels["test"][:10].tolist() == first[kind]


def test_cifar10_binary(real, tmp_path):
    """The first 4000 training images of the binary version, in two files of ours."""
    data = prepare(tmp_path, real, kind="cifar10", official=False)
    frames, _ = whole(data, *PARTS)
    assert len(frames) == 4000 and len(data.labels["test"]) == 600 and np.bincount(data.labels["test"]).tolist() == [60] * 10
    assert np.allclose(frames.mean((0, 1, 2)) / 255, (0.491, 0.482, 0.444), atol=1e-3)
    assert np.allclose(frames.std((0, 1, 2)) / 255, (0.246, 0.243, 0.261), atol=2e-3)
    assert frames[0, 0, 0].tolist() == [59, 62, 63] or (frames[:, 0, 0] == (59, 62, 63)).all(1).any()    # its first image
    assert "not the published ones" in data.about["split"]
    # Neighbouring rows and columns are alike, which they are not where planes or axes are mixed up.
    smooth = frames.astype(int)
    assert abs(np.diff(smooth, axis=1)).mean() < 20 and abs(np.diff(smooth, axis=2)).mean() < 20


def test_folder_of_real_pictures(real, tmp_path):
    """All of CIFAR-10 as JPEG, its official split, unpacked from its archive."""
    from spikeproof.datasets.sources import unpack
    unpack(real / "cifar10_jpeg" / "CIFAR-10-images.tar.xz", tmp_path)
    folder = next(path.parent for path in tmp_path.rglob("train") if path.is_dir())
    data = prepare(tmp_path, tmp_path, kind="folder", path=str(folder), shape=[32, 32, 3], classes=10, validation=0.1)
    assert [len(data.labels[part]) for part in PARTS] == [45000, 5000, 10000]
    assert np.bincount(data.labels["test"]).tolist() == [1000] * 10
    assert np.allclose(data.frames["train"][::50].mean((0, 1, 2)) / 255, (0.491, 0.482, 0.447), atol=0.01)


def test_n_mnist(real, tmp_path):
    """1000 + 100 recordings: labels, ranges and counts of events, and that the frames show MNIST's digits."""
    from spikeproof.datasets.sources import unpack
    unpack(real / "n_mnist" / "N-MNIST-subset.tar.xz", tmp_path)
    (tmp_path / "N-MNIST-subset").rename(tmp_path / "n_mnist")
    data = prepare(tmp_path, tmp_path, kind="n_mnist", official=False, steps=3, bits=8, polarity="merged")
    frames, labels = whole(data, "train", "validation")
    assert np.bincount(labels).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert np.bincount(data.labels["test"]).tolist() == [8, 14, 8, 11, 14, 7, 10, 15, 2, 11]
    counts, last = [], 0
    for path in sorted((tmp_path / "n_mnist" / "Train").rglob("*.bin")) + sorted((tmp_path / "n_mnist" / "Test").rglob("*.bin")):
        events = check_events(read_events40(path), path, (34, 34))
        counts.append(len(events.t))
        last = max(last, events.t[-1])
    assert len(counts) == 1100 and min(counts) == 1069 and max(counts) == 7152 and round(np.mean(counts)) == 4108
    assert last == 336_040
    # Nothing is lost where counts do not saturate.
    assert frames.sum(dtype=int) + data.frames["test"][:].sum(dtype=int) == sum(counts)


def test_n_mnist_shows_the_digits_of_mnist(real, tmp_path):
    """Recording n of a test digit shows image n of MNIST's test part: the frames correlate."""
    images = prepare(tmp_path, real, kind="mnist").frames["test"]
    correlations = []
    for path in sorted((real / "n_mnist" / "sample" / "Test").rglob("*.bin")):
        events = read_events40(path)
        frame = np.zeros((34, 34))
        np.add.at(frame, (events.y, events.x), 1)
        image = images[int(path.stem) - 1, ..., 0].astype(float)
        best = max(np.corrcoef(frame[dy:dy + 28, dx:dx + 28].ravel(), image.ravel())[0, 1] for dy in range(7) for dx in range(7))
        correlations.append(best)
    assert len(correlations) == 10 and min(correlations) > 0.4 and np.mean(correlations) > 0.6


def gesture_folder(real, tmp_path):
    """The clips laid out as the publisher's data: two users to train on, one to test; returns where they came from."""
    folder = tmp_path / "dvs128_gesture" / "DvsGesture"
    folder.mkdir(parents=True)
    source = real / "dvs_gesture" / "reencoded_aedat31"
    for user, part in (("user01_led", "train"), ("user02_led", "train"), ("user24_led", "test")):
        shutil.copy(source / "user_clips.aedat", folder / f"{user}.aedat")
        shutil.copy(source / "user_clips_labels.csv", folder / f"{user}_labels.csv")
        with open(folder / f"trials_to_{part}.txt", "a") as file:
            file.write(f"{user}.aedat\n")
    return source


def test_dvs_gesture(real, tmp_path):
    """Real events in a file that was encoded anew as AEDAT 3.1, cut by its labels: the same as in the clips that it was made of."""
    source = gesture_folder(real, tmp_path)
    with open(source / "user_clips_labels.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["1", "2", "3", "8"]
    recording = check_events(read_aedat3(source / "user_clips.aedat"), source, (128, 128))
    total = 0
    for row in rows:
        begin, end = int(row["startTime_usec"]), int(row["endTime_usec"])
        own, clip = recording.between(begin, end), read_events40(real / "dvs_gesture" / "bs2_clips" / f"{row['class']}.bs2")
        assert all(np.array_equal(a, b) for a, b in zip((own.t - begin, *own[1:]), (clip.t, *clip[1:])))
        total += len(clip.t)
    assert len(recording.t) == total
    data = prepare(tmp_path, tmp_path, kind="dvs128_gesture", official=False, bits=8, validation=0.5)
    assert sorted(set(data.labels["test"])) == [0, 1, 2, 7] and data.frames["test"].shape == (4, 16, 128, 128, 2)
    assert data.classes == 11 and (data.frames["test"][:].sum((1, 2, 3, 4)) > 50_000).all()


def test_dvs_gesture_goes_through_local_losses_to_integers(real, tmp_path):
    """The supervised network of Q-SpiNN, small, on the real clips: two steps of training, in full precision and in 16 bits."""
    gesture_folder(real, tmp_path)
    data = prepare(tmp_path, tmp_path, kind="dvs128_gesture", official=False, size=[32, 32], steps=20, validation=0.5)
    chain = {"architecture": {"kind": "feedforward", "layers": "4C7-MP2-6C7-6C7-MP2-11", "norm": False},
             "neuron": {"kind": "synaptic", "tau_m": 3.8, "tau_s": 1.8, "reset": "soft", "readout": "sum", "filter_input": True}}
    model = build(chain, data.input, data.steps, data.classes)
    training = {"epochs": 1, "batch_size": 2, "optimizer": "adamax", "surrogate": "sigmoid", "surrogate_width": 0.25}
    method = make("pretraining", {"kind": "decolle", "training": training})
    assert np.isfinite(method.train(model, data, say=lambda text: None)[-1]["loss"])
    quantizer = make("quantizers", {"kind": "fixed_point", "bits": 16, "membrane": {"bits": 16, "output_bits": 24},
                                    "thresholds": {"bits": 16}, "leak": {"bits": 16}, "training": training})
    codes, history = method.train_codes(CodeNetwork.from_float(model, quantizer), model, data, quantizer.method(),
                                        say=lambda text: None)
    net = to_spec(codes)
    assert len(history) == 1 and check_equal(codes, net, data.frames["test"]) > 0
    assert sum(int(spikes.sum()) for spikes in integer.run(net, data.frames["test"]).spikes.values()) > 100


def test_clips_of_dvs_gesture_have_the_known_sizes(real):
    counts = [len(check_events(read_events40(path), path, (128, 128)).t) for path in (real / "dvs_gesture/bs2_clips").glob("*.bs2")]
    assert len(counts) == 10 and min(counts) == 63_471 and max(counts) == 181_179


def test_speech_commands(real, tmp_path):
    """2020 real clips, the lists of their split, and that a linear classifier tells words by the cepstra."""
    from sklearn.linear_model import RidgeClassifier

    from spikeproof.datasets.sources import unpack
    unpack(real / "speech_commands" / "speech_commands_v0.02_subset.tar.xz", tmp_path)
    (tmp_path / "speech_commands_v0.02").rename(tmp_path / "speech")
    (tmp_path / "speech_commands").mkdir()
    shutil.move(tmp_path / "speech", tmp_path / "speech_commands" / "speech_commands_v0.02")
    data = prepare(tmp_path, tmp_path, kind="speech_commands", official=False)
    assert data.input.shape == (48, 10, 1) and data.classes == 35
    # 60 clips of silence are no word.
    listed = {part: (tmp_path / "speech_commands/speech_commands_v0.02" / name).read_text().split()
              for part, name in (("validation", "validation_list.txt"), ("test", "testing_list.txt"))}
    for part, names in listed.items():
        assert len(data.labels[part]) == sum(not name.startswith("_silence_") for name in names)
    assert sum(len(data.labels[part]) for part in PARTS) == 1960
    words = np.bincount(np.concatenate([data.labels[part] for part in PARTS]), minlength=35)
    assert sorted(words)[-10:] == [180] * 10 and words.sum() == 1960
    x = {part: data.frames[part].reshape(len(data.labels[part]), -1).astype(float) / 255 for part in PARTS}
    ten = np.flatnonzero(words == 180)
    keep = {part: np.isin(data.labels[part], ten) for part in PARTS}
    model = RidgeClassifier(alpha=10).fit(x["train"][keep["train"]], data.labels["train"][keep["train"]])
    assert model.score(x["test"][keep["test"]], data.labels["test"][keep["test"]]) > 0.35      # chance is a tenth
