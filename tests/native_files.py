"""Small datasets in the publishers' formats, encoded here from the formats' descriptions, byte by byte and without the
program's readers. For CIFAR-100, ImageNet, CIFAR10-DVS, N-Caltech101, N-CARS and Gen1 no real file is at hand, so these files are
all that their readers are tested on; the other formats are tested on real files too (test_real_data.py).
"""
import gzip
import struct
import wave

import numpy as np
from PIL import Image

#: name -> function of (data folder, numpy Generator) that writes a dataset and gives its configuration entry.
WRITERS = {}
PER_CLASS = 10


def writer(function):
    WRITERS[function.__name__] = function
    return function


def idx(values):
    """Array of bytes -> an IDX file's bytes."""
    values = np.asarray(values, np.uint8)
    return b"\0\0\x08" + bytes([values.ndim]) + b"".join(struct.pack(">I", n) for n in values.shape) + values.tobytes()


def _idx_dataset(at, rng):
    at.mkdir(parents=True)
    for part, count in (("train", 10 * PER_CLASS), ("t10k", 30)):
        labels = np.arange(count) % 10
        (at / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
        (at / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(rng.integers(0, 256, (count, 28, 28)))))


@writer
def mnist(root, rng):
    _idx_dataset(root / "mnist", rng)
    return {"kind": "mnist", "official": False}


@writer
def fashion_mnist(root, rng):
    _idx_dataset(root / "fashion_mnist", rng)
    return {"kind": "fashion_mnist", "official": False, "encoding": "rate", "steps": 3}


def cifar_record(labels, image):
    """Label bytes and an image [32, 32, 3] -> one record: red, green and blue planes."""
    planes = b"".join(bytes(int(v) for v in image[:, :, c].ravel()) for c in range(3))
    return bytes(labels) + planes


@writer
def cifar10(root, rng):
    at = root / "cifar10" / "cifar-10-batches-bin"
    at.mkdir(parents=True)
    for name, count in (("data_batch_1.bin", 60), ("data_batch_3.bin", 40), ("test_batch.bin", 20)):
        (at / name).write_bytes(b"".join(cifar_record([k % 10], rng.integers(0, 256, (32, 32, 3))) for k in range(count)))
    return {"kind": "cifar10", "official": False}


@writer
def cifar100(root, rng):
    at = root / "cifar100" / "cifar-100-binary"
    at.mkdir(parents=True)
    for name, count in (("train.bin", 100 * PER_CLASS), ("test.bin", 200)):
        (at / name).write_bytes(b"".join(cifar_record([k % 20, k % 100], rng.integers(0, 256, (32, 32, 3))) for k in range(count)))
    return {"kind": "cifar100", "official": False}


@writer
def imagenet(root, rng):
    for part in ("train", "val"):
        for name in ("n01440764", "n02102040", "n03000684"):
            folder = root / "imagenet" / part / name
            folder.mkdir(parents=True)
            for k in range(6):
                size = (rng.integers(20, 60), rng.integers(20, 60), 3)
                Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"{name}_{k}.JPEG")
    return {"kind": "imagenet", "official": False, "classes": 3, "size": 16, "resize": 18, "validation": 0.2}


@writer
def folder(root, rng):
    for part, count in (("train", PER_CLASS), ("test", 3)):
        for name in ("cats", "dogs"):
            at = root / "pets" / part / name
            at.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8)).save(at / f"{k}.png")
    return {"kind": "folder", "path": str(root / "pets"), "shape": [8, 9, 3], "classes": 2}


def sound(path, samples, rate=16000, channels=1):
    """Write 16-bit samples as a WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


WORDS = ("backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off on one right "
         "seven sheila six stop three tree two up visual wow yes zero").split()


@writer
def speech_commands(root, rng):
    at, lists = root / "speech_commands" / "speech_commands_v0.02", {"validation_list.txt": [], "testing_list.txt": []}
    for number, word in enumerate(WORDS):
        (at / word).mkdir(parents=True)
        for k in range(4):
            t = np.arange(16000 if k else 12000) / 16000              # clips may be shorter than a second
            tone = 8000 * np.sin(2 * np.pi * (100 + 40 * number) * t) + rng.normal(0, 500, len(t))
            sound(at / word / f"{k:08x}_nohash_0.wav", tone)
        lists["validation_list.txt"].append(f"{word}/{2:08x}_nohash_0.wav")
        lists["testing_list.txt"].append(f"{word}/{3:08x}_nohash_0.wav")
    (at / "_background_noise_").mkdir()
    sound(at / "_background_noise_" / "hum.wav", rng.normal(0, 100, 40000))
    for name, lines in lists.items():
        (at / name).write_text("\n".join(lines) + "\n")
    return {"kind": "speech_commands", "official": False}


def recording(rng, height, width, count=400, duration=300_000):
    """Random events: list of (t, x, y, p), in the order of time; the corners are among them."""
    t = sorted(int(v) for v in rng.integers(0, duration, count))
    events = [(when, int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(2))) for when in t]
    events[0], events[-1] = (t[0], 0, 0, 1), (t[-1], width - 1, height - 1, 0)
    return events


def events40(events):
    """N-MNIST's and N-Caltech101's format: x, y, then a bit of polarity and 23 of time."""
    return b"".join(bytes([x, y]) + struct.pack(">I", p << 23 | t)[1:] for t, x, y, p in events)


@writer
def n_mnist(root, rng):
    for part, count in (("Train", PER_CLASS), ("Test", 3)):
        for digit in range(10):
            at = root / "n_mnist" / part / str(digit)
            at.mkdir(parents=True)
            for k in range(count):
                (at / f"{k:05d}.bin").write_bytes(events40(recording(rng, 34, 34)))
    return {"kind": "n_mnist", "official": False}


@writer
def n_caltech101(root, rng):
    names = ["BACKGROUND_Google", *(f"object_{k:03d}" for k in range(100))]
    for name in names:
        at = root / "n_caltech101" / "Caltech101" / name
        at.mkdir(parents=True)
        for k in range(5):
            (at / f"image_{k:04d}.bin").write_bytes(events40(recording(rng, 180, 240, 50)))
    return {"kind": "n_caltech101", "official": False, "size": [30, 40], "validation": 0.25}


def aedat2(events):
    """AEDAT 2.0 of a DVS128: x counts from the right, y from below, bit 0 is 0 for "on"; one special event at the end."""
    words = [((127 - y) << 8 | (127 - x) << 1 | (1 - p), t) for t, x, y, p in events] + [(1 << 15, events[-1][0])]
    head = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
    return head + b"".join(struct.pack(">II", address, t) for address, t in words)


@writer
def cifar10_dvs(root, rng):
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    for name in names:
        at = root / "cifar10_dvs" / name
        at.mkdir(parents=True)
        for k in range(PER_CLASS):
            (at / f"cifar10_{name}_{k}.aedat").write_bytes(aedat2(recording(rng, 128, 128)))
    return {"kind": "cifar10_dvs", "official": False, "size": [48, 48], "validation": 0.25}


def aedat3(events, packet=150, overflow=0):
    """AEDAT 3.1: packets of polarity events, one packet of another type and one event that is not valid among them."""
    out = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2017-01-01 00:00:00\r\n#!END-HEADER\r\n"
    for at in range(0, len(events), packet):
        part = events[at:at + packet]
        body = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in part)
        body += struct.pack("<II", 5 << 17 | 5 << 2, part[-1][0])
        out += struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, len(part) + 1, len(part) + 1, len(part)) + body
        out += struct.pack("<HHIIIIII", 3, 1, 36, 4, overflow, 1, 1, 1) + bytes(36)
    return out


@writer
def dvs128_gesture(root, rng):
    at = root / "dvs128_gesture" / "DvsGesture"
    at.mkdir(parents=True)
    for user, part in (("user01_led", "train"), ("user02_lab", "train"), ("user24_led", "test")):
        (at / f"{user}.aedat").write_bytes(aedat3(recording(rng, 128, 128, 6000, 12_000_000)))
        rows = [f"{k + 1},{1_000_000 * k + 100_000},{1_000_000 * k + 900_000}" for k in range(11)]
        (at / f"{user}_labels.csv").write_text("class,startTime_usec,endTime_usec\n" + "\n".join(rows) + "\n")
        with open(at / f"trials_to_{part}.txt", "a") as file:
            file.write(f"{user}.aedat\n")
    return {"kind": "dvs128_gesture", "official": False, "validation": 0.5}


def dat(events, height, width, version=2):
    """Prophesee's DAT of change events; version 2, or the older layout without a version line."""
    head = f"% Data file containing CD events.\n% Version {version}\n% Height {height}\n% Width {width}\n" if version == 2 else \
        "% Data file containing CD events.\n"
    x_bits, y_bits = (14, 14) if version == 2 else (9, 8)
    return head.encode() + b"\x0c\x08" + b"".join(
        struct.pack("<II", t, p << (x_bits + y_bits) | y << x_bits | x) for t, x, y, p in events)


@writer
def n_cars(root, rng):
    for part, count in (("train", PER_CLASS), ("test", 3)):
        for name in ("cars", "background"):
            at = root / "n_cars" / f"n-cars_{part}" / part / name
            at.mkdir(parents=True)
            for k in range(count):
                (at / f"obj_{k:06d}_td.dat").write_bytes(dat(recording(rng, 100, 120, duration=100_000), 240, 304))
    return {"kind": "n_cars", "official": False}


BOX = np.dtype([("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("w", "<f4"), ("h", "<f4"), ("class_id", "<u4"), ("track_id", "<u4"),
                ("class_confidence", "<f4")])


@writer
def gen1(root, rng):
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        at = root / "gen1" / part
        at.mkdir(parents=True)
        for k in range(count):
            events = recording(rng, 240, 304, 5000, 2_000_000)
            for edge in range(50_000, 2_000_000, 50_000):                # on the edges of windows
                events += [(edge - 1, edge // 50_000, 1, 1), (edge, edge // 50_000, 5, 1)]
            (at / f"17-03-30_{k}_td.dat").write_bytes(dat(sorted(events), 240, 304))
            rows = [(250_000 * n, 10 + n, 20, 60, 40, n % 2, n, 1.0) for n in range(1, 8)]
            rows.append((1_000_000, 290, 200, 50, 60, 1, 99, 1.0))       # over the edge: cut to 14 x 40
            rows.append((1_000_000, 5, 5, 8, 50, 0, 98, 1.0))            # too narrow: left out
            np.save(at / f"17-03-30_{k}_bbox.npy", np.array(rows, BOX))
    return {"kind": "gen1", "steps": 4, "step_us": 50_000, "size": [60, 76]}


@writer
def digits(root, rng):
    return {"kind": "digits"}


@writer
def moving_shapes(root, rng):
    return {"kind": "moving_shapes", "train": 12, "validation": 6, "test": 6, "side": 24}
