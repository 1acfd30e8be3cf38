"""Files of datasets that are damaged, incomplete or do not fit: one sentence, and nothing is left."""
import gzip
import shutil

import numpy as np
import pytest
from native_files import (
    WRITERS,
    aedat3,
    events40,
    sound,
)
from test_datasets import CIFAR, MNIST, again, prepared

from spikeproof.datasets.base import PARTS, save_prepared
from spikeproof.datasets.sources import Sources
from spikeproof.entries import make
from spikeproof.files import CorruptFile


def flat_index(tmp_path, name, change):
    """Rewrite a gzipped IDX file."""
    path = tmp_path / "mnist" / name
    path.write_bytes(gzip.compress(change(bytearray(gzip.decompress(path.read_bytes())))))


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def replaced(at, value):
    def change(raw):
        raw[at] = value
        return raw
    return change


EVENTS = "n_mnist/Train/3/00004.bin"
SPEECH = "speech_commands/speech_commands_v0.02"
#: kind, what is done to its files, the sentence.
DAMAGE = {
    "truncated gz": ("mnist", lambda at: cut(at / MNIST, 5000), r"train-images-idx3-ubyte.gz is truncated or damaged \(.*\): "),
    "no gz": ("mnist", lambda at: (at / MNIST).write_bytes(b"<html>not found</html>"),
              r"train-images-idx3-ubyte.gz must begin with the magic number 2051, not 1013478509: it is not the file"),
    "wrong magic": ("mnist", lambda at: shutil.copy(at / "mnist/t10k-labels-idx1-ubyte.gz", at / MNIST),
                    r"must begin with the magic number 2051, not 2049"),
    "too few values": ("mnist", lambda at: flat_index(at, "t10k-images-idx3-ubyte.gz", lambda raw: raw[:-3]),
                       r"must have 30 x 28 x 28 values, but has 23517"),
    "label out of range": ("mnist", lambda at: flat_index(at, "t10k-labels-idx1-ubyte.gz", replaced(8 + 4, 11)),
                           r"must have labels 0 to 9, not 11 at position 4"),
    "labels missing": ("mnist", lambda at: (at / "mnist/t10k-labels-idx1-ubyte.gz").unlink(),
                       r"t10k-labels-idx1-ubyte.gz is missing, and downloads are switched off: get it from https://yann.lecun.com"),
    "cifar cut": ("cifar10", lambda at: cut(at / CIFAR, 5000), r"data_batch_1.bin must have records of 3073 bytes, but has 5000"),
    "cifar label": ("cifar10", lambda at: (at / CIFAR).write_bytes(replaced(3073 * 2, 200)(bytearray((at / CIFAR).read_bytes()))),
                    r"data_batch_1.bin must have labels 0 to 9, not 200 in record 2"),
    "no picture": ("folder", lambda at: (at / "pets/train/cats/3.png").write_bytes(b"GIF89a"), r"3.png is no whole image"),
    "cut picture": ("folder", lambda at: cut(at / "pets/train/cats/3.png", 150), r"3.png is no whole image"),
    "a class without files": ("folder", lambda at: shutil.rmtree(at / "pets/test/dogs"), r"dogs is missing: it must have those of"),
    "split file": ("speech_commands", lambda at: (at / SPEECH / "testing_list.txt").unlink(),
                   r"testing_list.txt is missing: it must name the clips of the test part"),
    "no wav": ("speech_commands", lambda at: (at / SPEECH / "bird/00000001_nohash_0.wav").write_text("?"),
               r"00000001_nohash_0.wav is no whole WAV file"),
    "wav of another rate": ("speech_commands", lambda at: sound(
        at / SPEECH / "bird/00000001_nohash_0.wav", range(100), 8000),
        r"must have one channel at 16000 Hz, not 1 at 8000 Hz"),
    "half an event": ("n_mnist", lambda at: cut(at / EVENTS, 502), r"00004.bin must have 5 bytes an event, but has 502"),
    "an empty recording": ("n_mnist", lambda at: cut(at / EVENTS, 0), r"00004.bin has no events: get the file again, or leave"),
    "outside the sensor": ("n_mnist", lambda at: (at / EVENTS).write_bytes(events40([(1, 2, 3, 1), (2, 34, 3, 0)])),
                           r"00004.bin: event 1 is at x 34, y 3, outside the sensor of 34 x 34"),
    "out of order": ("n_mnist", lambda at: (at / EVENTS).write_bytes(events40([(1, 2, 3, 1), (9, 2, 3, 1), (5, 2, 3, 0)])),
                     r"00004.bin: event 2 at 5 us comes after one at 9 us; events must be in the order of time"),
    "another aedat": ("cifar10_dvs", lambda at: shutil.copy(at / "cifar10_dvs/cat/cifar10_cat_1.aedat", at / "x") and (
        at / "cifar10_dvs/cat/cifar10_cat_1.aedat").write_bytes(aedat3([(1, 2, 3, 1)])),
        r"cifar10_cat_1.aedat must begin with #!AER-DAT2.0, not b'#!AER-DAT3.1'"),
    "a cut packet": ("dvs128_gesture", lambda at: cut(at / "dvs128_gesture/DvsGesture/user01_led.aedat", 20_000),
                     r"user01_led.aedat: the packet at byte \d+ is cut short or damaged"),
    "split of recordings": ("dvs128_gesture", lambda at: (at / "dvs128_gesture/DvsGesture/trials_to_test.txt").unlink(),
                            r"trials_to_test.txt is missing: it must name the recordings of the test part"),
    "a gesture too many": ("dvs128_gesture", lambda at: (at / "dvs128_gesture/DvsGesture/user01_led_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n12,5,9\n"), r"line 2 must have a class of 1 to 11, not 12"),
    "a gesture without events": ("dvs128_gesture", lambda at: (at / "dvs128_gesture/DvsGesture/user01_led_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n1,90000000,90000005\n"), r"user01_led.aedat, 90000000 to 90000005 us has no events"),
    "no dat": ("n_cars", lambda at: (at / "n_cars/n-cars_test/test/cars/obj_000001_td.dat").write_bytes(bytes(80)),
               r"obj_000001_td.dat must begin with lines of %"),
    "a cut dat": ("n_cars", lambda at: cut(at / "n_cars/n-cars_test/test/cars/obj_000001_td.dat", 500),
                  r"obj_000001_td.dat must have 8 bytes an event after its header"),
    "no boxes": ("gen1", lambda at: (at / "gen1/val/17-03-30_0_bbox.npy").unlink(), r"_bbox.npy is missing: it must hold"),
    "other boxes": ("gen1", lambda at: np.save(at / "gen1/val/17-03-30_0_bbox.npy", np.zeros((3, 5))), r"no whole array of boxes"),
    "too few classes": ("imagenet", lambda at: shutil.rmtree(at / "imagenet/train/n02102040"), r"train must have 3 classes, not 2"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_sentence_and_leaves_nothing(name, tmp_path, capsys):
    kind, damage, sentence = DAMAGE[name]
    entry = WRITERS[kind](tmp_path, np.random.default_rng(1))
    damage(tmp_path)
    with pytest.raises((CorruptFile, FileNotFoundError), match=sentence) as error:
        save_prepared(tmp_path / "out" / "data.safetensors", make("datasets", entry).prepare(Sources(tmp_path, download=False)))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("arrays, sentence", [
    ({"x": np.zeros((9, 4, 4)), "y": np.arange(9) % 3}, r"x must be integers \[n, 4, 4, 1\], not float64"),
    ({"x": np.zeros((9, 4, 4), int), "z": np.arange(9)}, r"must have arrays x_train, .*; y is missing among x, z"),
    ({"x": np.full((9, 4, 4), 256), "y": np.arange(9) % 3}, r"x must be 0 to 255, not 256 to 256"),
    ({"x": np.zeros((9, 4, 4), int), "y": np.arange(9)}, r"y must be 0 to 2, not 0 to 8"),
    ({"x": np.zeros((9, 4, 4), int), "y": np.arange(8) % 3}, r"y must be 9 integers, one for each sample"),
    ({"x": np.array([{}] * 9), "y": np.arange(9) % 3}, r"is no whole .npz file of plain arrays \(.*allow_pickle=False")])
def test_npz_that_does_not_fit(tmp_path, arrays, sentence):
    np.savez(tmp_path / "a.npz", **arrays)
    entry = {"kind": "folder", "path": str(tmp_path / "a.npz"), "shape": [4, 4, 1], "classes": 3}
    with pytest.raises(CorruptFile, match=sentence):
        make("datasets", entry).prepare(None)


def test_folder_without_its_test_part_is_refused(tmp_path):
    entry = WRITERS["folder"](tmp_path, np.random.default_rng(0))
    (tmp_path / "pets" / "test").rename(tmp_path / "pets" / "val")
    with pytest.raises(FileNotFoundError, match="test is missing beside train: a folder must have both, or classes only"):
        make("datasets", entry).prepare(None)


def test_hidden_files_are_left_out(tmp_path):
    entry = WRITERS["folder"](tmp_path, np.random.default_rng(0))
    cats = tmp_path / "pets" / "train" / "cats"
    for place in (cats / "._3.png", cats / ".checkpoints" / "3.png", tmp_path / "pets" / "train" / "__MACOSX" / "3.png"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"not a picture")
    assert again(tmp_path, entry).about["images"] == 26


@pytest.mark.parametrize("pixels, mode", [(np.full((8, 9), 40_000, np.uint16), "I;16"), (np.full((8, 9), 0.5, np.float32), "F")])
def test_pictures_of_more_than_8_bits_are_refused(tmp_path, pixels, mode):
    from PIL import Image
    entry = WRITERS["folder"](tmp_path, np.random.default_rng(0))
    Image.fromarray(pixels).save(tmp_path / "pets" / "train" / "cats" / "x.tiff")
    with pytest.raises(CorruptFile, match=f"x.tiff must have 8 bits a channel, not pixels of mode '{mode}'"):
        again(tmp_path, entry)


@pytest.mark.parametrize("changes, sentence", [
    ({"shape": [8, 9, 4]}, "shape must have 1 channel .* or 3 .* not 4"), ({"resize": 8}, "resize must be at least 9"),
    ({"train_images": 30}, "train_images must be at most 20, the samples there are, not 30"),
    ({"validation": 0.99}, "validation must leave samples for training, but 0.99 of 20 leaves none"),
    ({"classes": 3}, "must have 3 classes, not 2")])
def test_options_that_do_not_fit_the_folder(tmp_path, changes, sentence):
    entry = WRITERS["folder"](tmp_path, np.random.default_rng(0))
    with pytest.raises(ValueError, match=sentence):
        make("datasets", {**entry, **changes}).prepare(None)


def test_validation_of_small_classes_is_drawn_over_all(tmp_path):
    data = prepared(tmp_path, "folder", train_images=6, validation=0.1)
    assert [len(data.labels[part]) for part in PARTS] == [5, 1, 6] and np.bincount(data.labels["test"]).tolist() == [3, 3]


def test_own_files_are_not_called_official(tmp_path):
    for kind in ("mnist", "cifar10", "n_mnist", "n_cars", "dvs128_gesture", "imagenet"):
        assert prepared(tmp_path / kind, kind).about["split"].startswith("that of the files, which are not the published ones;")
